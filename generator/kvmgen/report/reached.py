"""Answers about packets: the verdicts, and the way of each, hop by hop, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvmgen.inventory.sources import Sources
from kvmgen.proof import Rendered, origin_of
from kvmgen.reachability import tell
from kvmgen.reachability.answer import Answer
from kvmgen.reachability.path import Hop
from kvmgen.reachability.step import Cause
from kvmgen.report import printed
from kvmgen.report.printed import plain_lines


@dataclass(slots=True)
class Places:
    """Where causes stand: in the output, and the line of the inventory that made them."""

    made: Rendered
    sources: Sources

    def __call__(self, host: str, cause: Cause) -> str:
        """``HOST/FILE:LINE``, and where that is made from."""
        place, line = tell.in_folder(host, cause), self.inventory(host, cause)
        return f"{place} (from {line})" if line else place

    def inventory(self, host: str, cause: Cause) -> str:
        """The inventory's line; empty where there is none."""
        origin = origin_of(self.made, host, cause)
        if origin is None or origin.is_kvmgens:
            return ""
        position = self.sources.position_of(origin)
        return f"{self.sources.root}/{origin.file}" + (f":{position.line}" if position else "")


def as_text(answers: Sequence[Answer], places: Places) -> str:
    """Each verdict with its trace."""
    lines = []
    for answer in answers:
        lines += [tell.verdict(answer, places), *tell.trace(answer, places)]
    return plain_lines("\n".join(lines))


def as_json(answers: Sequence[Answer], places: Places) -> str:
    """The same for programs."""
    return printed.as_json({"answers": [_answer(answer, places) for answer in answers]})


def _answer(answer: Answer, places: Places) -> dict[str, object]:
    question = answer.question
    return {
        "from": question.source,
        "to": question.target,
        "service": str(question.service),
        "version": question.version,
        "verdict": str(answer.outcome),
        "why": answer.why,
        "cause": None if answer.cause is None else _cause(answer.host, answer.cause, places),
        "forward": [_hop(hop, places) for hop in answer.forward],
        "back": [_hop(hop, places) for hop in answer.back],
    }


def _hop(hop: Hop, places: Places) -> dict[str, object]:
    cause = hop.step.cause
    return {
        "host": hop.host,
        "where": hop.step.where,
        "verdict": str(hop.step.verdict),
        "why": hop.step.why,
        "cause": None if cause is None else _cause(hop.host, cause, places),
    }


def _cause(host: str, cause: Cause, places: Places) -> dict[str, object]:
    return {
        "file": cause.file,
        "line": cause.line,
        "rule": cause.text,
        "inventory": places.inventory(host, cause),
    }
