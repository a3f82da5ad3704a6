"""The change itself: packets that fare otherwise, host by host what becomes of what, and the raw diffs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from kvmgen.diagnostics import counted
from kvmgen.difference.model import Attribute, Difference, FileChange, Flow, HostChange, ObjectChange, Place
from kvmgen.difference.summary import Moment, alike, services, then_and_now
from kvmgen.difference.words import heaviest, heaviest_first, words_of
from kvmgen.page._html import NOTHING, Markup, code, folded, joined, lines, scrolling, section, tag, text
from kvmgen.page.grid import chooser
from kvmgen.report._markdown import address_of
from kvmgen.report.difference_markdown import Links

_FLOWS = (("opens", "What it opens"), ("closes", "What it closes"), ("other", "What else becomes of packets"))


def packets(difference: Difference, links: Links) -> Markup:
    """What the change opens and closes; nothing where no packet fares otherwise."""
    parts = []
    for name, title in _FLOWS:
        flows: Sequence[Flow] = getattr(difference, name)
        told = tag("ul", *(_flow(flow, links) for flow in flows), class_=f"flows {name}")
        if flows and name == "other":
            parts.append(folded(text(f"{title}: {counted(len(flows), 'way')}"), told))
        elif flows:
            parts += [tag("h3", text(title)), told]
    if not parts:
        return NOTHING
    return section("packets", "What it does to packets", *parts)


def _flow(flow: Flow, links: Links) -> Markup:
    then, now = (_moment(moment, links) for moment in then_and_now(flow))
    return tag(
        "li",
        joined(map(code, flow.sources), ", "),
        text(" \u2192 "),
        joined(map(code, flow.targets), ", "),
        text(": "),
        tag("strong", text(services(flow))),
        text(", "),
        *then,
        text(", "),
        *now,
    )


def _moment(moment: Moment, links: Links) -> Iterator[Markup]:
    yield text(moment.words)
    if moment.place:
        yield text(f" {moment.joint} ")
        yield _linked(moment.place, links)
    if moment.rule:
        yield from (Markup(" ("), code(moment.rule), Markup(")"))


def hosts(difference: Difference, links: Links) -> Markup:
    """What becomes of each host."""
    if difference.is_empty:
        return NOTHING
    told = [_host(host, links, opened=len(difference.hosts) <= _MOST_OPEN) for host in heaviest_first(difference.hosts)]
    choose = chooser("host-list", "Show hosts with") if len(told) > 1 else NOTHING
    return section("hosts", "Hosts", choose, tag("div", *told, id="host-list"))


_MOST_OPEN = 3


def _host(host: HostChange, links: Links, *, opened: bool) -> Markup:
    impact = heaviest(host.objects)
    told = [
        code(host.host),
        text(f" ({host.platform}) "),
        _verb(host.verb),
        text(f" {counted(len(host.objects), 'object')}" if host.objects else ""),
    ]
    told += [text("; "), tag("span", text(words_of(impact)), class_="impact")] if impact else []
    body = tag("ul", *(_object(ones, links) for ones in alike(host.objects)), class_="objects")
    raw = files((file.path, file) for one in host.objects for file in one.files if file.diff)
    return Markup(f"{tag('div', folded(joined(told), body, raw, opened=opened), data_item='')}\n")


def _verb(verb: str) -> Markup:
    return tag("span", text(verb), class_=f"verb {verb}")


def _object(ones: Sequence[ObjectChange], links: Links) -> Markup:
    one = ones[0]
    told = [_verb(one.verb), text(f" {one.kind} "), joined((code(one.name) for one in ones), ", ")]
    if one.impact:
        why = f" \u2013 {one.impact.why}" if one.impact.why else ""
        told.append(tag("p", text(words_of(one.impact) + why), class_="impact"))
    told += [tag("p", text("from "), _places(one.causes, links), class_="note")] if one.causes else []
    return tag("li", *told, _attributes(one.attributes, links))


def _attributes(attributes: Sequence[Attribute], links: Links) -> Markup:
    if not attributes:
        return NOTHING
    columns = [(title, cell) for title, cell, is_said in _COLUMNS if any(map(is_said, attributes))]
    head = tag("tr", *(tag("th", text(title), scope="col") for title in ("what", *(title for title, _ in columns))))
    rows = (
        tag("tr", tag("th", code(one.name), scope="row"), *(tag("td", cell(one, links)) for _, cell in columns))
        for one in attributes
    )
    return scrolling("Attributes", tag("table", tag("thead", head), tag("tbody", *rows)))


_COLUMNS: tuple[tuple[str, Callable[[Attribute, Links], Markup], Callable[[Attribute], bool]], ...] = (
    ("before", lambda one, _: _value(one.before), lambda one: one.before is not None),
    ("after", lambda one, _: _value(one.after), lambda one: one.after is not None),
    ("because of", lambda one, links: _places(one.causes, links), lambda one: bool(one.causes)),
)
"""What is told of attributes, where any of an object's has it."""


def _value(said: str | None) -> Markup:
    return tag("span", text("none"), class_="note") if said is None else code(said)


def _places(places: Iterable[Place], links: Links) -> Markup:
    return joined((place(one, links) for one in places), ", ")


def place(one: Place, links: Links) -> Markup:
    """A line of the inventory, and whether the older revision alone has it."""
    said = _linked(one, links)
    return joined([said, text(" (before)")]) if one.before else said


def _linked(one: Place, links: Links) -> Markup:
    """A line of the inventory, as a link where a forge shows it."""
    address = address_of(links.before if one.before else links.after, one.file, one.line)
    return tag("a", code(str(one)), href=address) if address else code(str(one))


def inventory(difference: Difference) -> Markup:
    """The inventory's own changes, raw."""
    told = files((file.path, file) for file in difference.inventory if file.diff)
    return section("inventory", "The inventory, line by line", told) if told else NOTHING


def files(changed: Iterable[tuple[str, FileChange]]) -> Markup:
    """Raw diffs, each folded away."""
    return joined(
        folded(
            joined([_verb(file.verb), Markup(" "), code(path)]),
            scrolling(f"The diff of {path}", _diff(file.diff)),
            class_="raw",
        )
        for path, file in changed
    )


def _diff(diff: str) -> Markup:
    """A unified diff; added and removed lines are told by their sign, and by colour beside it."""
    return tag("pre", joined(map(_line, diff.rstrip("\n").split("\n")), "\n"), class_="diff")


def _line(line: str) -> Markup:
    kind = _LINES.get(line[:1])
    return tag("span", lines(line), class_=kind) if kind else lines(line)


_LINES = {"+": "plus", "-": "minus", "@": "hunk"}
