"""For code scanning: SARIF 2.1.0, each rule with its documentation.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kvmgen import __version__
from kvmgen.report.located import Located, Place
from kvmgen.rules import Documented, as_section, rules

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def report(found: Sequence[Located]) -> str:
    """One run, with the rules that were broken."""
    codes = sorted({one.rule.code for one in found})
    driver = {"name": "kvmgen", "version": __version__, "rules": [_rule(rules()[code]) for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, codes.index(one.rule.code)) for one in found],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


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


def _result(one: Located, index: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": one.rule.code,
        "ruleIndex": index,
        "level": str(one.rule.severity),
        "message": {"text": f"{one.message}\n{one.hint}"},
        "partialFingerprints": {"kvmgen/v1": _fingerprint(one)},
    }
    if one.place is not None:
        result["locations"] = [{"physicalLocation": _physical(one.place)}]
    if one.related:
        result["relatedLocations"] = [
            {"id": number, "message": {"text": what}, "physicalLocation": _physical(place)}
            for number, (place, what) in enumerate(one.related, 1)
        ]
    return result


def _fingerprint(one: Located) -> str:
    """The same for the same finding in a file whose lines moved."""
    file = one.place.file if one.place else ""
    return sha256("\0".join((one.rule.code, file, one.pointer, one.message)).encode()).hexdigest()[:32]


def _physical(place: Place) -> dict[str, Any]:
    return {
        "artifactLocation": {"uri": _uri(place.file)},
        "region": {"startLine": place.line, "startColumn": place.column},
    }


def _uri(file: str) -> str:
    """Relative to the current folder, the top of the repository, where the file is below it."""
    way = os.path.relpath(file)
    return Path(file).resolve().as_uri() if way.startswith("..") else quote(way)
