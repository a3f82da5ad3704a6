"""Warnings that an inventory silences where they stand: ``# kvmgen: ignore KV201 -- the reason``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kvmgen.diagnostics import Diagnostic, Severity
from kvmgen.inventory.read import Sources

_COMMENT = re.compile(r"#\s*kvmgen:\s*ignore\s+(?P<codes>KV\d{3}(?:\s*,\s*KV\d{3})*)\s+--\s+\S")


def without_silenced(diagnostics: Iterable[Diagnostic], sources: Sources) -> list[Diagnostic]:
    """The diagnostics but for warnings that a comment on their line, or alone on the line above, silences."""
    return [diagnostic for diagnostic in diagnostics if not _is_silenced(diagnostic, sources)]


def _is_silenced(diagnostic: Diagnostic, sources: Sources) -> bool:
    if diagnostic.rule.severity is not Severity.WARNING or diagnostic.origin is None:
        return False
    position = sources.position(diagnostic)
    if position is None:
        return False
    lines = sources.source(diagnostic.origin.file).text.splitlines()
    here = lines[position.line - 1 : position.line]
    above = [line for line in lines[max(0, position.line - 2) : position.line - 1] if line.lstrip().startswith("#")]
    return any(diagnostic.rule.code in _codes(line) for line in (*here, *above))


def _codes(line: str) -> list[str]:
    match = _COMMENT.search(line)
    return re.findall(r"KV\d{3}", match.group("codes")) if match else []
