"""Every rule with its documentation: what `kvmgen explain CODE`, the reports and RULES.md are made from.

A rule is documented where it is found: a check by its docstring, the others by `Rule.doc`. Either has this form::

    Why it matters on the host, in one or two paragraphs.

    Bad::

        # hosts/kvm01.yaml
        what: must not be said

    Good::

        # hosts/kvm01.yaml
        what: to say instead

    Source: where that is known from, with at least one address.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from functools import cache

from kvmgen import pipeline
from kvmgen.checks import CHECKS
from kvmgen.diagnostics import Rule
from kvmgen.inventory import context, firewall_rules, read, schema, silence, source
from kvmgen.output import plan, tree
from kvmgen.proof import expected
from kvmgen.value import value

_PARTS = re.compile(
    r"(?P<why>.+?)\n\nBad::\n\n(?P<bad>.+?)\n\nGood::\n\n(?P<good>.+?)\n\nSource: (?P<source>.+)", re.DOTALL
)
_ADDRESS = re.compile(r"https://[^\s,;)]+[^\s,;).]")


@value
class Documented:
    """A rule and what is to be known of it; ``bad`` and ``good`` are extracts of inventories."""

    rule: Rule
    why: str
    bad: str
    good: str
    source: str

    @property
    def uri(self) -> str:
        """The first address of its source."""
        found = _ADDRESS.search(self.source)
        assert found, f"{self.rule.code} names no source"
        return found[0]


@cache
def rules() -> Mapping[str, Documented]:
    """Every rule by its code, in the order of codes."""
    found = [*((rule, rule.doc) for rule in _FOUND_ELSEWHERE), *((rule, check.__doc__ or "") for rule, check in CHECKS)]
    return {rule.code: _documented(rule, doc) for rule, doc in sorted(found, key=lambda pair: pair[0].code)}


_FOUND_ELSEWHERE: tuple[Rule, ...] = (
    *source.RULES,
    *read.RULES,
    *silence.RULES,
    *schema.RULES,
    *context.RULES,
    *firewall_rules.RULES,
    *pipeline.RULES,
    *plan.RULES,
    *tree.RULES,
    *expected.RULES,
)


def _documented(rule: Rule, doc: str) -> Documented:
    parts = _PARTS.fullmatch(inspect.cleandoc(doc))
    assert parts, f"the documentation of {rule.code} has another form"
    texts = {name: inspect.cleandoc(text) for name, text in parts.groupdict().items()}
    return Documented(rule=rule, **texts)


def as_text(documented: Documented) -> str:
    """A rule's documentation for a terminal."""
    rule = documented.rule
    parts = [
        f"{rule.code} ({rule.severity}): {rule.title}",
        documented.why,
        f"Bad:\n\n{_indented(documented.bad)}",
        f"Good:\n\n{_indented(documented.good)}",
        f"Source: {documented.source}",
    ]
    return "\n\n".join(parts)


def as_data(documented: Documented) -> dict[str, str]:
    """A rule's documentation as JSON has it."""
    rule = documented.rule
    return {
        "code": rule.code,
        "severity": str(rule.severity),
        "title": rule.title,
        "why": documented.why,
        "bad": documented.bad,
        "good": documented.good,
        "source": documented.source,
    }


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def as_markdown(documented: Iterable[Documented]) -> str:
    """The page about all rules: a table, then each."""
    chosen = list(documented)
    lines = [*_INTRODUCTION, "| code | | what |", "|---|---|---|"]
    lines += [_row(one.rule) for one in chosen]
    return "\n".join([*lines, "", *map(as_section, chosen)])


_INTRODUCTION = (
    "# What kvmgen checks",
    "",
    "An error stops a build. A warning is told, and fails with `--strict`; it is silenced where it stands, on its line",
    "or alone above it: `# kvmgen: ignore KV201 -- the reason`. `kvmgen explain CODE` shows one of these sections.",
    "",
)


def _row(rule: Rule) -> str:
    return f"| [{rule.code}](#{rule.code.lower()}) | {rule.severity} | {rule.title} |"


def as_section(documented: Documented) -> str:
    """A rule's documentation as a section of a page."""
    rule = documented.rule
    parts = [
        f"## {rule.code}",
        f"**{rule.title}** ({rule.severity})",
        documented.why,
        f"Bad:\n\n```yaml\n{documented.bad}\n```",
        f"Good:\n\n```yaml\n{documented.good}\n```",
        f"Source: {documented.source}",
    ]
    return "\n\n".join(parts) + "\n"
