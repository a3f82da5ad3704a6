"""A difference for programs: one JSON document, described by ``schemas/difference.schema.json``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from kvmgen.difference.model import Difference
from kvmgen.report.printed import as_json as printed


def as_json(difference: Difference) -> str:
    """The whole difference, under the names that `kvmgen.difference.model` gives to its parts."""
    return printed(_document(difference))


def flows_as_json(difference: Difference) -> str:
    """What becomes of packets alone, under the same names."""
    names = ("before", "after", "notes", "opens", "closes", "other")
    return printed({name: _document(getattr(difference, name)) for name in names})


def _document(part: Any) -> Any:
    if isinstance(part, tuple):
        return [_document(one) for one in part]
    if isinstance(part, str):
        return str(part)
    if part is None or isinstance(part, int):
        return part
    return {field.name: _document(getattr(part, field.name)) for field in fields(part)}
