"""A difference as the comment of a pull request: what it does first, then host by host, the raw diffs folded away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from kvmgen.diagnostics import counted
from kvmgen.difference.model import Attribute, Difference, FileChange, Flow, HostChange, Impact, ObjectChange, Place
from kvmgen.difference.summary import Moment, alike, listed, sentence, services, then_and_now
from kvmgen.difference.words import heaviest, heaviest_first, words_of
from kvmgen.report._folding import Block, folded
from kvmgen.report._markdown import address_of, code, comment, fenced, html_code, link, prose
from kvmgen.value import value

MOST = 65_536
"""GitHub takes as many characters in a comment, GitLab a million."""

_FLOW, _HOST, _OBJECT, _ATTRIBUTE, _PICTURE, _LINES = range(1, 7)
"""What matters most, first; 0 is what always stands."""


@value
class Links:
    """Where a forge shows files: the addresses that the older and the newer revision's lie below; empty for none."""

    before: str = ""
    after: str = ""

    def to(self, place: Place) -> str:
        """A place as a link, or as code where nobody shows it."""
        base = self.before if place.before else self.after
        return link(str(place), address_of(base, place.file, place.line))


NOWHERE = Links()


def as_markdown(
    difference: Difference,
    site: str,
    links: Links = NOWHERE,
    limit: int = MOST,
    pictures: Sequence[tuple[str, str]] = (),
) -> str:
    """The comment. Its first line nobody sees: a bot finds by it the comment that it wrote before.

    ``pictures`` are what forges draw where Markdown has it: each its title, and its text in Mermaid.

    What doesn't fit is left out from the bottom, the raw diffs first, and the last line says how much that is.
    """
    marker = f"{marker_of(site)}\n"
    text, lost = folded(list(_blocks(difference, links, pictures)), limit - len(marker.encode()) - _FOR_WHAT_IS_LOST)
    return f"{marker}{text}{_left_out(lost)}"


def marker_of(site: str) -> str:
    """What a comment about a site is found by, also in years."""
    return comment(f"kvmgen diff: {site}")


_FOR_WHAT_IS_LOST = 300


def _left_out(lost: Counter[str]) -> str:
    told = [counted(number, what) for what, number in lost.items() if what and number]
    if not told:
        return ""
    return f"\nLeft out, because a comment takes no more: {listed(told)}. `kvmgen diff` shows all of it.\n"


def _blocks(difference: Difference, links: Links, pictures: Sequence[tuple[str, str]]) -> Iterator[Block]:
    yield Block(head=f"**{sentence(difference, code)}**\n\n{_revisions(difference)}\n")
    yield from _flows("What it opens", difference.opens, links)
    yield from _flows("What it closes", difference.closes, links)
    yield from _other_flows(difference.other, links)
    if difference.hosts:
        yield Block(head="\n### Hosts\n\n")
    hosts = heaviest_first(difference.hosts)
    yield from (_host(host, links, alone=len(hosts) == 1) for host in hosts)
    yield from (_picture(title, drawn) for title, drawn in pictures)
    files = [(host.host, file) for host in hosts for one in host.objects for file in one.files if file.diff]
    yield from _raw("The files of the hosts, line by line", [(f"{host}/{file.path}", file) for host, file in files])
    shown = [(file.path, file) for file in difference.inventory if file.diff]
    yield from _raw("The inventory, line by line", shown)


def _revisions(difference: Difference) -> str:
    notes = "".join(f"\n\n{prose(note)}" for note in difference.notes)
    return f"From {code(difference.before)} to {code(difference.after)}.{notes}"


def _flows(title: str, flows: Sequence[Flow], links: Links) -> Iterator[Block]:
    if flows:
        parts = [Block(head=_flow(flow, links), rank=_FLOW, what="way") for flow in flows]
        yield Block(head=f"\n### {title}\n\n", parts=parts)


def _other_flows(flows: Sequence[Flow], links: Links) -> Iterator[Block]:
    """What no packet gets an answer of, before or now: folded, because it is rarely what a change is for."""
    if flows:
        parts = [Block(head=_flow(flow, links), rank=_ATTRIBUTE, what="way") for flow in flows]
        title = f"What else becomes of packets: {counted(len(flows), 'way')}"
        head = f"\n<details><summary>{title}</summary>\n\n"
        yield Block(head=head, tail="\n</details>\n", parts=parts, rank=_ATTRIBUTE)


def _flow(flow: Flow, links: Links) -> str:
    """One line: from whom to whom, on what, what it was and is, and the lines that decide."""
    ends = f"{_names(flow.sources)} \u2192 {_names(flow.targets)}"
    then, now = (_moment(moment, links) for moment in then_and_now(flow))
    return f"- {ends}: {code(services(flow))}, {then}, {now}\n"


def _moment(moment: Moment, links: Links) -> str:
    decided = f" {moment.joint} {links.to(moment.place)}" if moment.place else ""
    return f"{moment.words}{decided}{f' ({code(moment.rule)})' if moment.rule else ''}"


_MOST_NAMED = 6


def _names(names: Sequence[str]) -> str:
    told = ", ".join(map(code, names[:_MOST_NAMED]))
    return told if len(names) <= _MOST_NAMED else f"{told} and {len(names) - _MOST_NAMED:,} more"


def _host(host: HostChange, links: Links, *, alone: bool) -> Block:
    return Block(
        head=f"<details{' open' if alone else ''}><summary>{_summary(host)}</summary>\n\n",
        tail="\n</details>\n\n",
        parts=[_object(ones, links) for ones in alike(host.objects)],
        rank=_HOST,
        what="host",
    )


def _summary(host: HostChange) -> str:
    told = f"{html_code(host.host)} ({html_code(host.platform)}), {host.verb}: {counted(len(host.objects), 'object')}"
    impact = heaviest(host.objects)
    return f"{told}; {words_of(impact, html_code)}" if impact else told


def _object(ones: Sequence[ObjectChange], links: Links) -> Block:
    one = ones[0]
    told = [f"- {one.verb} {one.kind} {_names([one.name for one in ones])}"]
    told += [f": {_impact(one.impact)}"] if one.impact else []
    told += [f" ({_causes(one.causes, links)})"] if one.causes else []
    parts = [
        Block(head=_attribute(attribute, one.causes, links), rank=_ATTRIBUTE, what="attribute")
        for attribute in one.attributes
    ]
    return Block(head="".join([*told, "\n"]), parts=parts, rank=_OBJECT, what="object")


def _impact(impact: Impact) -> str:
    why = f" ({prose(impact.why)})" if impact.why else ""
    return f"{words_of(impact, code)}{why}"


def _attribute(attribute: Attribute, known: Sequence[Place], links: Links) -> str:
    """What became of it, and because of which lines, where these aren't just the object's."""
    causes = f" ({_causes(attribute.causes, links)})" if set(attribute.causes) - set(known) else ""
    return f"  - {code(attribute.name)}: {_values(attribute)}{causes}\n"


def _values(attribute: Attribute) -> str:
    if attribute.before is None:
        return f"added {code(attribute.after or '')}"
    if attribute.after is None:
        return f"removed {code(attribute.before)}"
    return f"{code(attribute.before)} \u2192 {code(attribute.after)}"


_MOST_CAUSES = 5


def _causes(causes: Sequence[Place], links: Links) -> str:
    told = [links.to(place) + (" before" if place.before else "") for place in causes[:_MOST_CAUSES]]
    return listed([*told, f"{len(causes) - _MOST_CAUSES} more"] if len(causes) > _MOST_CAUSES else told)


def _picture(title: str, drawn: str) -> Block:
    head = f"<details><summary>{html_code(title)}</summary>\n\n{fenced(drawn, 'mermaid')}\n</details>\n\n"
    return Block(head=head, rank=_PICTURE, what="picture")


def _raw(title: str, files: Iterable[tuple[str, FileChange]]) -> Iterator[Block]:
    parts = [
        Block(head=f"{code(path)}, {file.verb}:\n\n{fenced(file.diff, 'diff')}\n", rank=_LINES, what="raw diff")
        for path, file in files
    ]
    if parts:
        head = f"<details><summary>{title}</summary>\n\n"
        yield Block(head=head, tail="</details>\n\n", parts=parts, rank=_LINES)
