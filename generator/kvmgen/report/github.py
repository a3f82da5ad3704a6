"""For GitHub's workflows: one command a diagnostic, shown beside its line in a pull request.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvmgen.report.located import Located
from kvmgen.report.printed import plain, plain_lines
from kvmgen.report.repository import from_top


def report(found: Sequence[Located]) -> str:
    """A line a diagnostic; ``error`` and ``warning`` are GitHub's own words as well."""
    return "\n".join(map(_command, found))


def _command(one: Located) -> str:
    properties = {"title": f"{one.rule.code} {one.rule.title}"}
    if one.place is not None:
        properties = {
            "file": from_top(one.place.file),
            "line": str(one.place.line),
            "col": str(one.place.column),
        } | properties
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    others = (f"{from_top(place.file)}:{place.line}:{place.column}: {what}" for place, what in one.related)
    text = "\n".join((one.message, *others, *one.trace, one.hint))
    return f"::{one.rule.severity} {told}::{_escaped(plain_lines(text))}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(plain(text)).replace(":", "%3A").replace(",", "%2C")
