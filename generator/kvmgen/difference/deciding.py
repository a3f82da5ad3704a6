"""Which lines decide of packets that fare otherwise: what stops them, what stopped them, what lets them through now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import field

from kvmgen.difference.model import Place
from kvmgen.proof import Rendered
from kvmgen.reachability.answer import Answer, Outcome
from kvmgen.reachability.classes import End
from kvmgen.reachability.path import Hop
from kvmgen.reachability.step import Cause, Verdict
from kvmgen.value import record, value


@record
class Locate:
    """How lines are found in which something stands, the last word of each being whether in the older revision.

    ``cause`` is of what decided in a host's files; ``end`` of a machine, by its kind and name.
    """

    cause: Callable[[Rendered, str, Cause, bool], Place | None]
    end: Callable[[End, bool], Place | None]


def _in_folder(made: Rendered, host: str, cause: Cause, before: bool) -> Place | None:
    """A cause by its path in the output folder; ``None`` for what no file of a host's says."""
    if not host or not cause.file or ":" in cause.file or (host, cause.file) not in made.artifacts:
        return None
    return Place(file=f"{host}/{cause.file}", line=cause.line, before=before)


IN_FOLDER = Locate(_in_folder, lambda _end, _before: None)
"""For whoever has no inventory at hand."""


@value
class Decided:
    """Who decides: ``cause`` is what stops or stopped it, ``opened_by`` what lets it through now.

    What is equal but for the rules' texts is one: that of IPv4 and of IPv6 differ, and come from one line.
    """

    cause: Place | None = None
    rule: str = field(default="", compare=False)
    opened_by: Place | None = None
    opening_rule: str = field(default="", compare=False)
    unplaced: str = ""
    """The rule where that is all that tells of it."""


@record
class Asked:
    """One revision, its answer, and which of a question's ends it hasn't got."""

    made: Rendered
    answer: Answer | None
    is_before: bool
    missing: tuple[str, ...]


def decided(before: Asked, after: Asked, ends: Iterable[End], locate: Locate) -> Decided:
    """Who decides of a packet that gets through in one of two revisions."""
    if after.answer is None:
        gone = (locate.end(end, True) for end in ends if end.name in after.missing)
        return Decided(cause=next((place for place in gone if place), None))
    if after.answer.outcome is not Outcome.DELIVERED:
        return _stopped(after, locate)
    opening = next(_opening(before, after, locate), None)
    stopped = Decided() if before.answer is None else _stopped(before, locate)
    if opening is None:
        return stopped
    rule = "" if stopped.cause is None else stopped.rule
    return Decided(cause=stopped.cause, rule=rule, opened_by=opening[0], opening_rule=opening[1])


def _stopped(asked: Asked, locate: Locate) -> Decided:
    """Where a packet doesn't get through."""
    assert asked.answer is not None
    cause = asked.answer.cause
    if cause is None:
        return Decided(rule=asked.answer.why, unplaced=asked.answer.why)
    place = locate.cause(asked.made, asked.answer.host, cause, asked.is_before)
    return Decided(cause=place, rule=cause.text, unplaced="" if place else cause.text)


def _opening(before: Asked, after: Asked, locate: Locate) -> Iterator[tuple[Place, str]]:
    """What accepts a packet at the very place where it was stopped; of a new end's, the last of all that accept it.

    Where no line accepts it there, it is the line that stopped it and is gone which matters.
    """
    assert after.answer is not None
    if before.answer is None:
        hops = after.answer.forward[::-1]
        yield from _accepting(after, filter(_is_of_guests, hops), locate)
    else:
        stopped = [(hop.host, hop.step.where) for hop in (*before.answer.forward, *before.answer.back)][-1:]
        ways = (*after.answer.forward, *after.answer.back)
        hops = tuple(hop for hop in ways if (hop.host, hop.step.where) in stopped)
    yield from _accepting(after, hops, locate)


def _is_of_guests(hop: Hop) -> bool:
    """Whether a guest's own filter decides, which says more than what the host lets everybody do."""
    return hop.step.cause is not None and hop.step.cause.file.startswith("libvirt/nwfilters/")


def _accepting(asked: Asked, hops: Iterable[Hop], locate: Locate) -> Iterator[tuple[Place, str]]:
    for hop in hops:
        cause = hop.step.cause
        if hop.step.verdict is Verdict.ACCEPT and cause is not None:
            place = locate.cause(asked.made, hop.host, cause, asked.is_before)
            if place is not None:
                yield place, cause.text
