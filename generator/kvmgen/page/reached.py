"""The table of who reaches whom, from the answers about all classes of ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from kvmgen.model.site import Site
from kvmgen.page.grid import End, Grid
from kvmgen.proof import Rendered, rendered
from kvmgen.proof.services import named_services
from kvmgen.reachability.answer import Outcome, Service
from kvmgen.reachability.classes import ends
from kvmgen.reachability.matrix import Cell, Matrix, matrix

MOST_CLASSES = 60
"""A wider table is read by nobody; `kvmgen reach --matrix` tells all of it."""


def grid_of(site: Site, changed: Collection[str], made: Rendered | None = None) -> Grid:
    """Who reaches whom on the services that the site names; where that is too much for a page, on hosts that change.

    Without rows where that is too much as well. Nothing is rendered that has been ``made`` already.
    """
    consumers = (made or rendered(site)).consumers
    known = ends(consumers)
    near = {name for name, end in known.known.items() if end.host in changed or end.kind == "outside"}
    for names, note in ((None, ()), (near, (_NEAR,))):
        if len({end.key for name, end in known.known.items() if names is None or name in names}) <= MOST_CLASSES:
            found = matrix(consumers, named_services(site), known=known, sources=names, targets=names)
            grid = as_grid(found)
            return replace(grid, notes=(*note, *grid.notes))
    return Grid(rows=(), columns=(), cells=(), notes=(_TOO_MANY,))


_NEAR = "Of the hosts that change, and the outside; `kvmgen reach --matrix` tells who reaches whom in the whole site."
_TOO_MANY = "More kinds of ends than a page can show: `kvmgen reach --matrix` tells who reaches whom."


def as_grid(found: Matrix) -> Grid:
    """Classes as rows and columns; in each cell the services that are delivered with their answer."""
    ends = tuple(End(names=tuple(member.name for member in group.members)) for group in found.classes)
    asked: defaultdict[tuple[int, int], list[Cell]] = defaultdict(list)
    for cell in found.cells:
        asked[cell.source, cell.target].append(cell)
    numbers = range(len(ends))
    cells = tuple(
        tuple(_told(asked[one, other]) if (one, other) in asked else None for other in numbers) for one in numbers
    )
    return Grid(rows=ends, columns=ends, cells=cells, notes=(_asked(found.services),))


def _asked(services: Sequence[Service]) -> str:
    told = ", ".join(map(str, services))
    return f"Asked for {told}: what the inventory names, and one of each protocol that it doesn't."


def _told(cells: Iterable[Cell]) -> tuple[str, ...]:
    """The services that get through, together where they are limited alike."""
    by_service: defaultdict[Service, dict[tuple[bool, int], Outcome]] = defaultdict(dict)
    for cell in cells:
        by_service[cell.service][cell.same_host, cell.version] = cell.answer.outcome
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for service, known in by_service.items():
        if _passes(known):
            alike[_limits(known)].append(str(service))
    return tuple(
        f"{'everything asked' if len(several) == len(by_service) > 1 else ', '.join(several)}{limits}"
        for limits, several in alike.items()
    )


def _passes(known: Mapping[tuple[bool, int], Outcome]) -> list[tuple[bool, int]]:
    return [way for way, outcome in known.items() if outcome is Outcome.DELIVERED]


def _limits(known: Mapping[tuple[bool, int], Outcome]) -> str:
    """What a service is limited to: an IP version, or guests of one host, or of two."""
    passing = _passes(known)
    if len(passing) == len(known):
        versions = {version for _, version in known}
        return f" (IPv{min(versions)})" if len(versions) == 1 else ""
    ways = {(same, version) for same, version in passing}
    told = []
    for same in sorted({same for same, _ in ways}, reverse=True):
        versions = {version for near, version in ways if near is same}
        where = "" if len({near for near, _ in known}) == 1 else " on one host" if same else " on two hosts"
        of_both = len({version for near, version in known if near is same}) == len(versions) > 1
        told.append(f"{'' if of_both else f'IPv{min(versions)}'}{where}".strip())
    return f" ({', '.join(told)})" if any(told) else ""
