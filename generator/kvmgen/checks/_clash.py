"""What is there once only, and stands twice."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

from kvmgen.diagnostics import Diagnostic, Origin, Rule

Use = tuple[Hashable, Origin, str]
"""What is used (of a tuple, the last part is told), where, and by whom."""


def clashes(uses: Iterable[Use], rule: Rule, told: str, so: str, hint: str) -> Iterator[Diagnostic]:
    """Every use after the first one of the same, told with the place of the first and with what follows from it."""
    first: dict[Hashable, tuple[Origin, str]] = {}
    for key, origin, whose in uses:
        if key not in first:
            first[key] = (origin, whose)
            continue
        other, others = first[key]
        value = key[-1] if isinstance(key, tuple) else key
        message = f"{told} {value} of {whose} is also {others}'s: {so}"
        yield Diagnostic(rule=rule, message=message, hint=hint, origin=origin, related=((other, f"{others} has it"),))
