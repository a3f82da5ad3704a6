"""The two sides of a difference: what an inventory says in one revision, and what each host gets from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from kvmgen.artifact import Artifact
from kvmgen.inventory.sources import Sources
from kvmgen.model.site import HostView, Site, leaves_first, views
from kvmgen.proof import Rendered, rendered
from kvmgen.render import render


@dataclass(slots=True)
class HostSide:
    """One host in one revision. Its files are made when they are first asked for."""

    view: HostView
    _artifacts: dict[str, Artifact] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The host's name."""
        return self.view.host.name

    @property
    def platform(self) -> str:
        """Its platform, as the inventory names it."""
        return str(self.view.host.platform)

    @property
    def artifacts(self) -> Mapping[str, Artifact]:
        """Its files by their path in the host's folder, in the order in which they are applied; no manifest."""
        if self._artifacts is None:
            self._artifacts = {artifact.path: artifact for artifact in render(self.view)}
        return self._artifacts

    def filters_of(self, name: str) -> frozenset[str]:
        """A filter and all that it includes, by their names."""
        return frozenset(filter_.name for filter_ in leaves_first(self.view.site.filters, (name,)))


@dataclass(slots=True)
class Side:
    """The inventory in one revision. ``label`` is how reports call it, ``folder`` its way from the repository's top.

    ``sources`` reads the texts where the revision's files lie, which for the older one is a temporary folder.
    """

    label: str
    site: Site
    sources: Sources
    folder: str
    before: bool
    _hosts: dict[str, HostSide] | None = field(default=None, repr=False)
    _made: Rendered | None = field(default=None, repr=False)

    @property
    def hosts(self) -> Mapping[str, HostSide]:
        """The hosts by their names."""
        if self._hosts is None:
            self._hosts = {view.host.name: HostSide(view) for view in views(self.site)}
        return self._hosts

    def made(self, only: Collection[str] | None = None) -> Rendered:
        """The site as its hosts have it, for questions about packets, or as some hosts alone; files are made once."""
        if only is not None:
            return self._rendered(_of_hosts(self.site, only))
        if self._made is None:
            self._made = self._rendered(self.site)
        return self._made

    def _rendered(self, site: Site) -> Rendered:
        return rendered(site, lambda view: self.hosts[view.host.name].artifacts.values())

    def path(self, file: str) -> str:
        """One of the inventory's files as it is seen from the repository's top."""
        return f"{self.folder}/{file}" if self.folder else file

    def text(self, file: str) -> str | None:
        """What one of the inventory's files says; ``None`` where this side hasn't got it."""
        if not self.sources.has(file):
            return None
        return self.sources.source(file).text


def _of_hosts(site: Site, names: Collection[str]) -> Site:
    """The site as if it had these hosts only, with the guests that are at home there."""
    guests = {
        name: replace(guest, hosts=tuple(host for host in guest.hosts if host in names))
        for name, guest in site.guests.items()
        if guest.home in names
    }
    return replace(
        site,
        hosts={name: host for name, host in site.hosts.items() if name in names},
        networks={name: carried for name, carried in site.networks.items() if name in names},
        guests=guests,
    )
