"""What the checks found in the newer revision, and what is to be known of each rule."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kvmgen.difference.model import Place
from kvmgen.page._html import Markup, folded, joined, lines, prose, section, tag, text
from kvmgen.page.changes import place
from kvmgen.page.grid import chooser
from kvmgen.report.difference_markdown import Links
from kvmgen.report.located import Located
from kvmgen.report.located import Place as Position
from kvmgen.rules import Documented, rules


def findings(found: Sequence[Located], links: Links) -> Markup:
    """Every finding, and below them their rules."""
    if not found:
        return section("findings", "Findings", tag("p", text("The checks found nothing.")))
    told = tag("ul", *(_finding(one, links) for one in found), id="finding-list", class_="findings")
    known = {one.rule.code: rules()[one.rule.code] for one in found if one.rule.code in rules()}
    documented = (_rule(known[code_]) for code_ in sorted(known))
    choose = chooser("finding-list", "Show findings with")
    return section("findings", "Findings", choose, told, tag("h3", text("Their rules")), *documented)


def _finding(one: Located, links: Links) -> Markup:
    rule = tag("a", text(one.rule.code), href=f"#{one.rule.code}")
    severity = tag("span", text(one.rule.severity), class_=f"verb {one.rule.severity}")
    at = [_at(one.place, links), text(": ")] if one.place else []
    related = [tag("li", _at(position, links), text(": "), prose(what)) for position, what in one.related]
    return tag(
        "li",
        severity,
        Markup(" "),
        rule,
        Markup(" "),
        *at,
        prose(one.message),
        tag("p", prose(one.hint), class_="note"),
        *([tag("ul", *related)] if related else []),
        *([folded(text("How the packet fares"), _example("\n".join(one.trace)))] if one.trace else []),
        data_item="",
    )


def _at(position: Position, links: Links) -> Markup:
    return place(Place(file=position.file, line=position.line), links)


def _rule(one: Documented) -> Markup:
    parts = [tag("p", prose(part)) for part in one.why.split("\n\n")]
    parts += [tag("h4", text("Bad")), _example(one.bad), tag("h4", text("Good")), _example(one.good)]
    parts.append(tag("p", text("Source: "), _linked(one.source)))
    told = folded(joined([tag("strong", text(one.rule.code)), text(f" {one.rule.title}")]), *parts)
    return Markup(f"{tag('div', told, id=one.rule.code, class_='rule')}\n")


def _example(said: str) -> Markup:
    return tag("pre", lines(said), tabindex="0")


_ADDRESS = re.compile(r"https://[^\s,;)]+[^\s,;).]")


def _linked(said: str) -> Markup:
    """A text of ours with its addresses as links."""
    told, done = [], 0
    for found in _ADDRESS.finditer(said):
        told += [prose(said[done : found.start()]), tag("a", text(found[0]), href=found[0])]
        done = found.end()
    return joined([*told, prose(said[done:])])
