"""The pictures of a page: the hosts that change, with their marks, and all hosts of the site."""

from __future__ import annotations

from collections.abc import Collection

from kvmgen import graph
from kvmgen.graph.picture import Graph
from kvmgen.model.site import Site

Pictures = tuple[Graph, ...]

MOST_PARTS = 1_500
"""A picture of more nodes and edges helps nobody, and takes long to lay out."""


def pictures(before: Site | None, after: Site, changed: Collection[str]) -> tuple[Pictures, Pictures]:
    """Those of the hosts that change, and those of the whole site where that is more; both views, what fits."""
    known = set(after.hosts) | set(before.hosts if before else ())
    chosen = known & set(changed)
    first = _readable(before, after, chosen) if chosen else ()
    return (first, ()) if chosen == known else (first, _readable(before, after, known))


def _readable(before: Site | None, after: Site, hosts: Collection[str]) -> Pictures:
    made = (graph.picture(after, view, hosts, before=before) for view in graph.VIEWS)
    return tuple(picture for picture in made if len(picture.nodes) + len(picture.edges) <= MOST_PARTS)
