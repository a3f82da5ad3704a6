"""For code scanning: SARIF 2.1.0, each rule with its documentation.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kvmgen import __version__
from kvmgen.report.located import Located, Place
from kvmgen.report.printed import as_json
from kvmgen.report.repository import fingerprints, from_top
from kvmgen.rules import Documented, as_section, rules

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def report(found: Sequence[Located]) -> str:
    """One run, with the rules that were broken."""
    codes = sorted({one.rule.code for one in found})
    driver = {"name": "kvmgen", "version": __version__, "rules": [_rule(rules()[code]) for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [
            _result(one, codes.index(one.rule.code), mark) for one, mark in zip(found, fingerprints(found), strict=True)
        ],
    }
    return as_json({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(documented: Documented) -> dict[str, Any]:
    rule = documented.rule
    return {
        "id": rule.code,
        "shortDescription": {"text": f"{rule.title}."},
        "fullDescription": {"text": documented.why},
        "help": {"text": documented.why, "markdown": as_section(documented)},
        "helpUri": documented.uri,
        "defaultConfiguration": {"level": str(rule.severity)},
    }


def _result(one: Located, index: int, fingerprint: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": one.rule.code,
        "ruleIndex": index,
        "level": str(one.rule.severity),
        "message": {"text": _unlinked("\n".join((one.message, *one.trace, one.hint)))},
        "partialFingerprints": {"kvmgen/v1": fingerprint},
    }
    if one.place is not None:
        result["locations"] = [{"physicalLocation": _physical(one.place)}]
    if one.related:
        result["relatedLocations"] = [
            {"id": number, "message": {"text": _unlinked(what)}, "physicalLocation": _physical(place)}
            for number, (place, what) in enumerate(one.related, 1)
        ]
    return result


def _unlinked(text: str) -> str:
    """A text without what its readers would make links of (the standard's 3.11.6)."""
    return text.replace("](", "] (")


def _physical(place: Place) -> dict[str, Any]:
    return {
        "artifactLocation": {"uri": _uri(place.file)},
        "region": {"startLine": place.line, "startColumn": place.column},
    }


def _uri(file: str) -> str:
    """Relative to the repository's top, where the file is below it."""
    way = from_top(file)
    return Path(way).as_uri() if os.path.isabs(way) else quote(os.fsencode(way))
