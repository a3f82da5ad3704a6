"""Questions about many pairs: who reaches whom."""

from __future__ import annotations

from kvmgen.asking import Unanswerable
from kvmgen.asking.services import services_of
from kvmgen.pipeline import Result
from kvmgen.proof import rendered
from kvmgen.proof.services import named_services, unnamed_services
from kvmgen.reachability.classes import Ends, ends
from kvmgen.reachability.matrix import matrix, questions
from kvmgen.report import matrix_data, matrix_text, reached
from kvmgen.value import value


@value
class AskedOfAll:
    """The words of the command where it's about many pairs. No ``sources`` or ``targets`` are all ends."""

    sources: str | None
    targets: str | None
    services: str | None
    versions: tuple[int, ...]


def ask_all(result: Result, asked: AskedOfAll, told: str, *, each: bool = False) -> str:
    """The matrix, told as ``text``, ``json`` or ``csv``; with ``each``, CSV has a line for every pair."""
    assert result.site is not None
    made = rendered(result.site)
    known = ends(made.consumers)
    names = [None if one is None else _ends(known, one) for one in (asked.sources, asked.targets)]
    services = services_of(asked.services) or named_services(result.site)
    services = tuple(service for service in services if set(service.versions) & set(asked.versions))
    _check_size(questions(known, services, names))
    found = matrix(made.consumers, services, sources=names[0], targets=names[1], known=known, versions=asked.versions)
    if told == "json":
        return matrix_data.as_json(found, reached.Places(made, result.sources).inventory)
    if told == "csv":
        return matrix_data.each_as_csv(found, made.places) if each else matrix_data.as_csv(found)
    return matrix_text.as_text(found, () if asked.services else unnamed_services(result.site))


_MOST = 4_000_000
"""Answers that a machine of today has the memory for."""


def _check_size(answers: int) -> None:
    """Refuse what would take hours: machines that all differ."""
    if answers > _MOST:
        message = (
            f"this asks for {answers:,} answers, as so many ends differ from each other: "
            "name whom it is about (FROM, TO), or fewer --services"
        )
        raise Unanswerable(message)


def _ends(known: Ends, names: str) -> list[str]:
    """The ends that a name, or several with commas between them, mean: all interfaces of a guest, or one."""
    found: list[str] = []
    for name in names.split(","):
        fitting = [end.name for end in known.known.values() if name in (end.name, end.owner)]
        if not fitting:
            message = f"there is no guest or host {name}, nor is it `outside`"
            raise Unanswerable(message)
        found += fitting
    return found
