"""The matrix for a terminal: from each class of ends, whom it reaches with what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap

from kvmgen.reachability.answer import Outcome, Service
from kvmgen.reachability.matrix import Cell, Group, Matrix, label
from kvmgen.report.printed import plain

_WHERE = {(True,): "on the same host", (False,): "on other hosts"}
_WIDTH, _WIDE = 40, 100
_FEW = 2

_Fate = tuple[str, ...]


def as_text(matrix: Matrix, unnamed: Sequence[Service] = ()) -> str:
    """One block for each class, a line for each fate of its packets, then what the words mean.

    ``unnamed`` are the services that stand for those that nobody names.
    """
    cells: dict[int, list[Cell]] = {}
    for cell in matrix.cells:
        cells.setdefault(cell.source, []).append(cell)
    lines: list[str] = []
    for source, several in cells.items():
        lines += [f"from {label(matrix.classes[source])}", *_block(matrix, several), ""]
    lines += _legend(matrix, unnamed)
    return "\n".join(map(plain, lines))


def _block(matrix: Matrix, cells: Sequence[Cell]) -> Iterator[str]:
    told: dict[_Fate, list[str]] = {}
    for target, by_place in _by_target(cells).items():
        name = label(matrix.classes[target])
        fates = {together: _fate(several) for together, several in by_place.items()}
        if len(set(fates.values())) == 1:
            told.setdefault(next(iter(fates.values())), []).append(name)
            continue
        for together, fate in fates.items():
            told.setdefault(fate, []).append(f"{name} {_WHERE[together,]}")
    nothing = told.pop((), [])
    for fate, names in told.items():
        yield from _line("; ".join(names), fate)
    if nothing:
        others = "anybody else" if told else "anybody"
        yield from _line("; ".join(nothing) if len(nothing) <= _FEW else others, ("nothing",))


def _line(names: str, fate: _Fate) -> Iterator[str]:
    """Who is reached, and beside that or beneath it with what."""
    shown = wrap(names, _WIDE, initial_indent="  to ", subsequent_indent="     ", break_on_hyphens=False)
    if len(shown) == 1 and len(shown[0]) <= _WIDTH:
        yield f"{shown[0]:{_WIDTH}}  {fate[0]}"
        fate = fate[1:]
    else:
        yield from shown
    yield from (f"{'':{_WIDTH}}  {text}" for text in fate)


def _by_target(cells: Iterable[Cell]) -> Mapping[int, Mapping[bool, Sequence[Cell]]]:
    found: dict[int, dict[bool, list[Cell]]] = {}
    for cell in cells:
        found.setdefault(cell.target, {}).setdefault(cell.same_host, []).append(cell)
    return found


def _fate(cells: Sequence[Cell]) -> _Fate:
    """What gets through, and what only arrives or isn't known, a line each; empty for nothing at all."""
    versions = {cell.version for cell in cells}
    found = []
    for outcome, title in ((Outcome.DELIVERED, ""), (Outcome.ONE_WAY, "one-way: "), (Outcome.UNKNOWN, "unknown: ")):
        by_service: dict[str, set[int]] = {}
        for cell in cells:
            if cell.answer.outcome is outcome:
                by_service.setdefault(str(cell.service), set()).add(cell.version)
        asked = {str(cell.service): cell.service.versions for cell in cells}
        words = [
            service if fitting >= versions.intersection(asked[service]) else f"{service} (IPv{min(fitting)})"
            for service, fitting in by_service.items()
        ]
        if len(words) == len(asked) > _FEW and set(words) == set(asked):
            words = ["all that was asked"]
        if words:
            found.append(title + " ".join(words))
    return tuple(found)


def _legend(matrix: Matrix, unnamed: Sequence[Service]) -> Iterator[str]:
    asked = f"Asked: {' '.join(map(str, matrix.services))}; in IPv4 and IPv6 where both ends have them."
    yield from wrap(asked, _WIDE, break_on_hyphens=False)
    if unnamed:
        yield f"{' and '.join(map(str, unnamed))} stand for the ports that the inventory doesn't name."
    large = [group for group in matrix.classes if len(group.members) > _FEW]
    if large:
        yield "Ends that fare alike stand together:"
        for group in large:
            yield from wrap(
                f"{label(group)}: {_members(group)}",
                _WIDE,
                initial_indent="  ",
                subsequent_indent="    ",
                break_on_hyphens=False,
            )


def _members(group: Group) -> str:
    names = [member.name for member in group.members]
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")


_MOST = 20
