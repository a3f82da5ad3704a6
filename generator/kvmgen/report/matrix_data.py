"""The matrix for programs: JSON by classes, CSV by classes or by pairs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator

from kvmgen.reachability import tell
from kvmgen.reachability.answer import Answer, Outcome, ends_of
from kvmgen.reachability.matrix import Cell, Group, Matrix, Member, label, relation
from kvmgen.reachability.place import Places
from kvmgen.reachability.step import Cause
from kvmgen.report.printed import as_json as printed

_COLUMNS = ("from", "to", "hosts", "service", "version", "verdict", "file", "line")


def as_json(matrix: Matrix, places: Callable[[str, Cause], str]) -> str:
    """Classes by their members, and what became of packets between them, by the classes' numbers from 0."""
    document = {
        "classes": [[member.name for member in group.members] for group in matrix.classes],
        "services": [str(service) for service in matrix.services],
        "answers": list(_answers(matrix, places)),
    }
    return printed(document)


def _answers(matrix: Matrix, places: Callable[[str, Cause], str]) -> Iterator[dict[str, object]]:
    together: dict[tuple[object, ...], list[Cell]] = {}
    for cell in matrix.cells:
        answer = cell.answer
        key = cell.source, cell.target, cell.same_host, cell.version, answer.outcome, answer.host, answer.cause
        together.setdefault(key, []).append(cell)
    for several in together.values():
        first = several[0]
        answer = first.answer
        stopped = answer.outcome is not Outcome.DELIVERED
        yield {
            "from": first.source,
            "to": first.target,
            "hosts": _hosts(matrix.classes[first.source], first),
            "version": first.version,
            "services": [str(cell.service) for cell in several],
            "verdict": str(answer.outcome),
            "file": _file(answer),
            "line": answer.cause.line if answer.cause and stopped else 0,
            "rule": answer.cause.text if answer.cause and stopped else "",
            "why": answer.why,
            "inventory": places(answer.host, answer.cause) if answer.cause and stopped else "",
        }


def _hosts(group: Group, cell: Cell) -> str:
    return "" if not group.members[0].hosts[0] else "same" if cell.same_host else "other"


def _file(answer: Answer) -> str:
    if answer.cause is None or answer.outcome is Outcome.DELIVERED:
        return ""
    place = tell.in_folder(answer.host, answer.cause)
    return place.removesuffix(f":{answer.cause.line}") if answer.cause.line else place


def as_csv(matrix: Matrix) -> str:
    """A line for each service and IP version between two classes, called by their first members."""
    rows = (
        (
            label(matrix.classes[cell.source]),
            label(matrix.classes[cell.target]),
            _hosts(matrix.classes[cell.source], cell),
            *_row(cell, _file(cell.answer), _line(cell.answer)),
        )
        for cell in matrix.cells
    )
    return _written(rows)


def each_as_csv(matrix: Matrix, places: Places) -> str:
    """A line for each service and IP version between two ends."""
    return _written(_pairs(matrix, places))


def _pairs(matrix: Matrix, places: Places) -> Iterator[tuple[object, ...]]:
    for cell in matrix.cells:
        sources, targets = matrix.classes[cell.source], matrix.classes[cell.target]
        for one in sources.members:
            for other in targets.members:
                if one.owner != other.owner and relation(one, other)[0] is cell.same_host:
                    place = _place_of(cell.answer, one, other, places)
                    yield one.name, other.name, _hosts(sources, cell), *_row(cell, *place)


def _place_of(answer: Answer, one: Member, other: Member, places: Places) -> tuple[str, int | str]:
    """The deciding line in the folder of this pair's host, and in this pair's guest's own file."""
    file, line = _file(answer), _line(answer)
    if answer.cause is None or not file:
        return file, line
    asked = (answer.question.source, one), (answer.question.target, other)
    for name, member in asked:
        for first, own in zip(ends_of(places, name), ends_of(places, member.name), strict=True):
            if first.tap and own.tap and answer.host == first.host and answer.cause.file == first.tap.file:
                return f"{own.host}/{own.tap.file}", own.tap.line
    hosts = (ends_of(places, name)[0].host for name, _ in asked)
    for host, member in zip(hosts, (one, other), strict=True):
        if host == answer.host:
            return file.replace(f"{host}/", f"{member.hosts[0]}/", 1), line
    return file, line


def _line(answer: Answer) -> int | str:
    """The line's number, nothing where there is none."""
    return "" if answer.cause is None or answer.outcome is Outcome.DELIVERED else answer.cause.line or ""


def _row(cell: Cell, file: str, line: int | str) -> tuple[object, ...]:
    return str(cell.service), cell.version, str(cell.answer.outcome), file, line


def _written(rows: Iterator[tuple[object, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(rows)
    return text.getvalue().removesuffix("\n")
