"""A difference for a terminal or a log: what it opens and closes, then host by host, the heaviest impact first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import shorten

from kvmgen.difference.model import (
    Attribute,
    Difference,
    Effect,
    FileChange,
    Flow,
    HostChange,
    Impact,
    ObjectChange,
    Place,
    Verb,
)
from kvmgen.difference.summary import sentence, services
from kvmgen.difference.words import heaviest, joined, words_of
from kvmgen.report.printed import plain

Style = str
"""The field's own names of colours and faces, as terminals know them; empty for none."""

Line = list[tuple[str, Style]]
"""A line's pieces, each with its style. No piece has anything that a terminal would obey."""

_STYLES = {Verb.ADDED: "green", Verb.REMOVED: "red", Verb.CHANGED: "yellow"}
_SIGNS = {Verb.ADDED: "+", Verb.REMOVED: "-", Verb.CHANGED: "~"}
_GENTLE = (Effect.LIVE, Effect.NET_UPDATE)


def as_text(difference: Difference, *, raw: bool = False) -> str:
    """The report without colours."""
    return "\n".join("".join(text for text, _ in line) for line in lines(difference, raw=raw))


def lines(difference: Difference, *, raw: bool = False) -> Iterator[Line]:
    """The report line by line; with ``raw``, unified diffs stand beneath the objects."""
    yield [(plain(sentence(difference)), "bold")]
    yield [(f"From {plain(difference.before)} to {plain(difference.after)}.", "dim")]
    yield from ([(plain(note), "")] for note in difference.notes)
    yield from flow_lines(difference)
    for host in sorted(difference.hosts, key=_weight):
        yield []
        yield from _host(host, raw=raw)
    if raw and difference.inventory:
        yield []
        yield [("The inventory", "bold")]
        for file in difference.inventory:
            yield from _diff(file, "  ")


def flow_lines(difference: Difference) -> Iterator[Line]:
    """What becomes of packets, what opens first."""
    for title, style, flows in (
        ("Opens", "red bold", difference.opens),
        ("Closes", "green bold", difference.closes),
        ("Otherwise", "bold", difference.other),
    ):
        yield from _flows(title, style, flows)


def flows_as_text(difference: Difference) -> str:
    """That alone, without colours; empty where nothing changes."""
    return "\n".join("".join(text for text, _ in line) for line in flow_lines(difference)).strip("\n")


def _weight(host: HostChange) -> tuple[int, str]:
    impact = heaviest(host.objects)
    return (-list(Effect).index(impact.effect) if impact else 1), host.host


def _flows(title: str, style: Style, flows: Sequence[Flow]) -> Iterator[Line]:
    if flows:
        yield []
        yield [(title, style)]
    for flow in flows[:_LISTED]:
        way = f"  {_names(flow.sources)} -> {_names(flow.targets)}  {plain(services(flow))}"
        yield [(way, ""), (f"  {plain(flow.before)} -> {plain(flow.after)}", "dim")]
        yield from _deciding(flow)
    if len(flows) > _LISTED:
        yield [(f"  ... and {len(flows) - _LISTED} more: --format json tells all", "dim")]


def _deciding(flow: Flow) -> Iterator[Line]:
    """The lines that decide."""
    if flow.opened_by is not None:
        yield _decided("let through by", flow.opened_by, flow.opening_rule)
    if flow.cause is not None:
        stopped = "was stopped by" if flow.after == "delivered" else "stopped by"
        yield _decided("gone with" if flow.after == "absent" else stopped, flow.cause, flow.rule)


def _decided(words: str, place: Place, rule: str) -> Line:
    return [(f"    {words} {plain(str(place))}", "cyan"), (f"  {plain(rule)}".rstrip(), "dim")]


_LISTED = 20
_NAMED = 6


def _names(names: Sequence[str]) -> str:
    more = [f"(+{len(names) - _NAMED})"] if len(names) > _NAMED else []
    return " ".join((plain(", ".join(names[:_NAMED])), *more))


def _host(host: HostChange, *, raw: bool) -> Iterator[Line]:
    impact = heaviest(host.objects)
    title = [(f"{plain(host.host)} ({plain(host.platform)})", "bold")]
    if host.verb is not Verb.CHANGED:
        title.append((f" {host.verb}", _STYLES[host.verb]))
    yield [*title, *_impact(impact)]
    for alike in _alike(host.objects):
        yield from _objects(alike, raw=raw)


def _alike(objects: Iterable[ObjectChange]) -> Iterable[Sequence[ObjectChange]]:
    """The objects, those together in which the same changes for the same reason."""
    found: dict[object, list[ObjectChange]] = {}
    for one in objects:
        impact = one.impact
        told = None if impact is None else (impact.effect, impact.needs, impact.why)
        found.setdefault((one.kind, one.verb, one.attributes or one.name, one.causes, told), []).append(one)
    return found.values()


def _impact(impact: Impact | None) -> Line:
    if impact is None:
        return []
    return [(f": {plain(words_of(impact))}", "" if impact.effect in _GENTLE else "magenta")]


def _why(impact: Impact | None) -> Line:
    """Why it is so, in a few words."""
    if impact is None or not impact.why:
        return []
    return [(f" ({shorten(plain(impact.why), _FEW_WORDS, placeholder=' ...')})", "dim")]


_FEW_WORDS = 120


def _objects(changes: Sequence[ObjectChange], *, raw: bool) -> Iterator[Line]:
    first = changes[0]
    title = f"  {_SIGNS[first.verb]} {first.kind} {_names([one.name for one in changes])}"
    told = {place for attribute in first.attributes for place in attribute.causes}
    causes = [place for place in first.causes if place not in told]
    impact = joined(one.impact for one in changes if one.impact is not None)
    yield [(title, _STYLES[first.verb]), *_impact(impact), *_why(impact), *_causes(causes)]
    for attribute in first.attributes:
        yield from _attribute(attribute)
    for file in (file for one in changes for file in one.files if raw):
        yield from _diff(file, "      ")


def _attribute(attribute: Attribute) -> Iterator[Line]:
    name, before, after = plain(attribute.name), attribute.before, attribute.after
    if before is not None and after is not None and len(before) + len(after) > _WIDE:
        yield [(f"      {name}", ""), *_causes(attribute.causes)]
        yield [(f"        - {plain(before)}", "red")]
        yield [(f"        + {plain(after)}", "green")]
        return
    values: Line = [(plain(before), "red")] if before is not None else []
    values += [(" -> ", "")] if before is not None and after is not None else []
    values += [(plain(after), "green")] if after is not None else []
    sign = "+ " if before is None else "- " if after is None else ""
    yield [(f"      {sign}{name}: ", ""), *values, *_causes(attribute.causes)]


_WIDE = 100


def _causes(causes: Sequence[Place]) -> Line:
    return [(f"  ({', '.join(map(_place, causes))})", "cyan")] if causes else []


def _place(place: Place) -> str:
    return plain(f"{place}, before" if place.before else str(place))


def _diff(file: FileChange, indent: str) -> Iterator[Line]:
    if not file.diff:
        yield [(f"{indent}{plain(file.path)}: no text", "dim")]
    for line in file.diff.removesuffix("\n").split("\n") if file.diff else ():
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        yield [(f"{indent}{plain(line)}", style)]
