"""An answer as text: the verdict, and what the packet met on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kvmgen.reachability.answer import Answer, Outcome
from kvmgen.reachability.path import Hop
from kvmgen.reachability.step import Cause

Named = Callable[[str, Cause], str]
"""Where a cause stands, given the host in whose folder it lies: ``output/kvm01/libvirt/nwfilters/web.xml:12``."""


def in_folder(host: str, cause: Cause) -> str:
    """The file and the line as the host's folder has it."""
    of_ours = cause.file and ":" not in cause.file and cause.file != "kernel"
    place = f"{host}/{cause.file}" if of_ours and host else cause.file
    return f"{place}:{cause.line}" if cause.line else place


def verdict(answer: Answer, named: Named = in_folder) -> str:
    """The answer in one line."""
    question = answer.question
    asked = f"{question.source} -> {question.target} {question.service} IPv{question.version}"
    if question.spoof_ip is not None:
        asked += f" as {question.spoof_ip}"
    if question.spoof_mac is not None:
        asked += f" under {question.spoof_mac}"
    return f"{asked}: {answer.outcome}{_reason(answer, named)}"


def _reason(answer: Answer, named: Named) -> str:
    if answer.outcome is Outcome.DELIVERED:
        return ""
    if answer.cause is None or answer.outcome is Outcome.UNKNOWN:
        return f": {answer.why}" if answer.why else ""
    place = named(answer.host, answer.cause)
    by = f" by {place} ({answer.cause.text})" if place else f": {answer.cause.text}"
    return f", its answer stopped{by}" if answer.outcome is Outcome.ONE_WAY else by


def trace(answer: Answer, named: Named = in_folder) -> Iterator[str]:
    """The way there and back, a step a line."""
    for title, hops in (("there", answer.forward), ("back", answer.back)):
        if hops:
            yield f"  {title}:"
            yield from (f"    {_step(hop, named)}" for hop in hops)


def _step(hop: Hop, named: Named) -> str:
    step = hop.step
    parts = [hop.host or "outside", f"{step.where}: {step.verdict}"]
    if step.cause is not None:
        place = named(hop.host, step.cause)
        parts.append(f"{place} {step.cause.text}".strip())
    if step.why:
        parts.append(step.why)
    return "  ".join(parts)
