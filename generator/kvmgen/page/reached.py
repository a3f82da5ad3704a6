"""The table of who reaches whom, from the answers about all classes of ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from kvmgen.model.site import Site
from kvmgen.page.grid import End, Grid
from kvmgen.proof import rendered
from kvmgen.proof.services import named_services
from kvmgen.reachability.answer import Outcome, Service
from kvmgen.reachability.matrix import Cell, Matrix, matrix

MOST_CLASSES = 60
"""A wider table is read by nobody; `kvmgen reach --matrix` tells all of it."""


def grid_of(site: Site) -> Grid | None:
    """Who reaches whom in a site, on the services that it names; ``None`` where that is too much for a page."""
    found = matrix(rendered(site).consumers, named_services(site))
    return as_grid(found) if len(found.classes) <= MOST_CLASSES else None


def as_grid(found: Matrix) -> Grid:
    """Classes as rows and columns; in each cell the services that are delivered with their answer."""
    ends = tuple(End(names=tuple(member.name for member in group.members)) for group in found.classes)
    asked: defaultdict[tuple[int, int], list[Cell]] = defaultdict(list)
    for cell in found.cells:
        asked[cell.source, cell.target].append(cell)
    numbers = range(len(ends))
    cells = tuple(tuple(tuple(_told(asked.get((one, other), ()))) for other in numbers) for one in numbers)
    return Grid(rows=ends, columns=ends, cells=cells)


def _told(cells: Iterable[Cell]) -> list[str]:
    """The services that get through, each with what it holds for where that isn't everything."""
    by_service: defaultdict[Service, dict[tuple[bool, int], Outcome]] = defaultdict(dict)
    for cell in cells:
        by_service[cell.service][cell.same_host, cell.version] = cell.answer.outcome
    return [f"{service}{_limits(known)}" for service, known in by_service.items() if _passes(known)]


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
