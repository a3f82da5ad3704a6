"""`kvmgen graph`: the site as a picture. One module a view, one a format."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from kvmgen.graph import dot, mermaid, svg
from kvmgen.graph.compare import compare
from kvmgen.graph.grouping import grouped
from kvmgen.graph.logical import logical
from kvmgen.graph.networks import used_bridges
from kvmgen.graph.physical import physical
from kvmgen.graph.picture import Graph
from kvmgen.model.site import Site

VIEWS: Mapping[str, Callable[[Site, Collection[str]], Graph]] = MappingProxyType(
    {"logical": logical, "physical": physical}
)
"""By name, what makes a picture of some of the site's hosts."""

FORMATS: Mapping[str, Callable[[Graph], str]] = MappingProxyType(
    {"mermaid": mermaid.draw, "svg": svg.draw, "dot": dot.draw}
)
"""By name, what draws a picture."""

MOST_DRAWN = 4
"""How many equal guests or hosts are drawn one by one, unless said otherwise."""


def picture(
    site: Site, view: str, hosts: Collection[str], most: int = MOST_DRAWN, *, before: Site | None = None
) -> Graph:
    """The site in one of the `VIEWS`; more than ``most`` equal guests or hosts are one, each is drawn where it is 0.

    With the site as it was ``before``, what has changed since is marked.
    """
    if before is None:
        return grouped(VIEWS[view](site, hosts), most)
    return grouped(compare(_drawn(before, view, hosts, site), _drawn(site, view, hosts, before)), most)


def without_hosts(site: Site) -> Site:
    """A site of that name before it had anything: all of it is new."""
    return replace(site, hosts={}, networks={}, guests={})


def _drawn(site: Site, view: str, hosts: Collection[str], other: Site) -> Graph:
    """One side of a change: a bridge isn't new because the first guest is on it."""
    return logical(site, hosts, used_bridges(other)) if view == "logical" else VIEWS[view](site, hosts)
