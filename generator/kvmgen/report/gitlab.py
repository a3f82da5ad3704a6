"""For GitLab's merge requests: a code quality report, shown in the widget and beside the changed lines.

Source: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvmgen.diagnostics import Severity
from kvmgen.report.located import Located
from kvmgen.report.printed import as_json
from kvmgen.report.repository import fingerprints, from_top

_SEVERITIES = {Severity.ERROR: "blocker", Severity.WARNING: "minor"}


def report(found: Sequence[Located]) -> str:
    """A list with an entry a diagnostic."""
    return as_json([_entry(one, mark) for one, mark in zip(found, fingerprints(found), strict=True)])


def _entry(one: Located, fingerprint: str) -> dict[str, Any]:
    return {
        "description": "\n".join((one.message, *one.trace, one.hint)),
        "check_name": one.rule.code,
        "fingerprint": fingerprint,
        "severity": _SEVERITIES[one.rule.severity],
        "location": _location(one),
    }


def _location(one: Located) -> dict[str, Any]:
    """Where it is. GitLab wants a file also of what concerns none: that is the repository itself."""
    if one.place is None:
        return {"path": ".", "lines": {"begin": 1}}
    return {"path": from_top(one.place.file), "lines": {"begin": one.place.line}}
