"""From a site to questions about it: the hosts' files as they are rendered, and who the parties are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from kvmgen.artifact import Artifact
from kvmgen.diagnostics import Origin
from kvmgen.model.site import HostView, Site, views
from kvmgen.model.values import Interface
from kvmgen.proof.leases import Leases
from kvmgen.reachability import topology
from kvmgen.reachability.consumers import Consumers
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.place import Places
from kvmgen.reachability.step import Cause
from kvmgen.reachability.topology import Party
from kvmgen.render import render


@dataclass(slots=True)
class Rendered:
    """A site as its hosts will have it; ``artifacts`` are by (host, path)."""

    artifacts: Mapping[tuple[str, str], Artifact]
    consumers: Consumers

    @property
    def places(self) -> Places:
        """The site's attachments."""
        return self.consumers.places


def rendered(site: Site, render_: Callable[[HostView], Iterable[Artifact]] = render) -> Rendered:
    """Render every host, and connect what was rendered; ``render_`` is for whoever has the files already."""
    artifacts: dict[tuple[str, str], Artifact] = {}
    folders = []
    for view in views(site):
        files = list(render_(view))
        artifacts |= {(view.host.name, file.path): file for file in files}
        folders.append(_folder(view, files))
    connected = topology.Site(folders=folders, parties=list(parties(site)), segments=segments(site))
    return Rendered(artifacts, Consumers(Places(connected)))


def _folder(view: HostView, files: list[Artifact]) -> Folder:
    return Folder(
        name=view.host.name,
        platform=view.host.platform,
        files={file.path: file.text for file in files if file.binary is None},
        guest_platforms={guest.name: guest.inside.platform for guest in view.guests if guest.inside is not None},
    )


def parties(site: Site) -> Iterator[Party]:
    """Every interface of every guest, with the addresses that it has or may be leased."""
    leases = Leases(site)
    for guest, nic in site.nics():
        learned: tuple[Interface, ...] = ()
        if nic.addressing.dhcp4:
            learned = (leases.of(guest, nic),)
        routes = nic.addressing.routes
        yield Party(
            name=guest.name,
            nic=nic.name,
            mac=nic.mac,
            addresses=nic.addressing.addresses,
            gateways=tuple(route.via for route in routes if route.to is None),
            hosts=guest.hosts,
            origin=nic.origin,
            learned=learned,
            routes=tuple(route for route in routes if route.to is not None),
        )


def segments(site: Site) -> dict[tuple[str, str], str]:
    """The segment of every bridge, a virtual network's included."""
    found = {(network.host, network.bridge): network.segment for network in site.carried() if network.bridge}
    found |= {(host.name, bridge.name): bridge.segment for host in site.hosts.values() for bridge in host.bridges}
    return found


def origin_of(made: Rendered, host: str, cause: Cause) -> Origin | None:
    """The place in the inventory that a line of a host's file comes from; ``None`` for what is no file of ours."""
    artifact = made.artifacts.get((host, cause.file))
    return None if artifact is None else next(iter(artifact.origins_at(cause.line)), None)
