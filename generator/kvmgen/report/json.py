"""For programs: one JSON document, described by ``schemas/diagnostics.schema.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvmgen.diagnostics import Severity
from kvmgen.report.located import Located, Place
from kvmgen.report.printed import as_json


def report(found: Sequence[Located]) -> str:
    """All diagnostics, and how many of each severity."""
    severities = [one.rule.severity for one in found]
    document = {
        "diagnostics": [_diagnostic(one) for one in found],
        "errors": severities.count(Severity.ERROR),
        "warnings": severities.count(Severity.WARNING),
    }
    return as_json(document)


def _diagnostic(one: Located) -> dict[str, Any]:
    return {
        "code": one.rule.code,
        "severity": str(one.rule.severity),
        "title": one.rule.title,
        "message": one.message,
        "hint": one.hint,
        "place": _place(one.place) if one.place else None,
        "related": [{"place": _place(place), "message": what} for place, what in one.related],
        **({"trace": list(one.trace)} if one.trace else {}),
    }


def _place(place: Place) -> dict[str, Any]:
    return {"file": place.file, "line": place.line, "column": place.column}
