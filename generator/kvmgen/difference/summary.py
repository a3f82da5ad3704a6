"""A difference in one sentence: the first that every report says of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import groupby

from kvmgen.diagnostics import counted
from kvmgen.difference.model import Difference, Flow, ObjectChange, Place, Verb
from kvmgen.value import record


def sentence(difference: Difference, shown: Callable[[str], str] = str) -> str:
    """What the change does; ``shown`` makes of a host's name what can stand in the report."""
    if difference.is_empty:
        return _without_output(len(difference.inventory))
    parts = [_hosts(difference, shown)]
    for verb, flows in (("opens", difference.opens), ("closes", difference.closes)):
        if flows:
            parts.append(f"{verb} {counted(len(flows), 'way')} for packets")
    return f"{listed(parts)}."


def _without_output(files: int) -> str:
    if not files:
        return "Nothing changes."
    changed = f"{counted(files, 'file')} of the inventory changed"
    return f"A refactoring: {changed}, and every host gets the same files as before."


def _hosts(difference: Difference, shown: Callable[[str], str]) -> str:
    """How much changes where; hosts that come and go are told by themselves."""
    objects = sum(len(host.objects) for host in difference.hosts if host.verb is Verb.CHANGED)
    changed = [host.host for host in difference.hosts if host.verb is Verb.CHANGED]
    parts = [f"changes {counted(objects, 'object')} on {_named(changed, shown)}"] if changed else []
    for verb, word in ((Verb.ADDED, "adds"), (Verb.REMOVED, "removes")):
        names = [host.host for host in difference.hosts if host.verb is verb]
        parts += [f"{word} {_named(names, shown)}"] if names else []
    told = listed(parts)
    return told[:1].upper() + told[1:]


_MOST_NAMED = 3


def _named(hosts: Sequence[str], shown: Callable[[str], str]) -> str:
    return listed([shown(host) for host in hosts]) if len(hosts) <= _MOST_NAMED else counted(len(hosts), "host")


def alike(objects: Iterable[ObjectChange]) -> Iterator[Sequence[ObjectChange]]:
    """Objects one after the other of which the same is to be told, together: a guest's filters go with it."""

    def told(one: ObjectChange) -> Hashable:
        return one.name if one.attributes else (one.kind, one.verb, one.impact, one.causes)

    return (tuple(group) for _, group in groupby(objects, told))


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def services(flow: Flow) -> str:
    """What a flow's packets ask for: ``tcp/80, ping``, with the IP version where it is one alone."""
    told = ", ".join(flow.services)
    return f"{told} (IPv{flow.versions[0]} alone)" if len(flow.versions) == 1 else told


_THEN = {"absent": "not there before"}
_NOW = {"absent": "gone now"}


@record
class Moment:
    """What a flow was or is, and the line that decides: ``joint`` is the word between."""

    words: str
    joint: str = "by"
    place: Place | None = None
    rule: str = ""


def then_and_now(flow: Flow) -> tuple[Moment, Moment]:
    """What a flow was and what it is, each with the line that stops it or lets it through, where that is told."""
    then, now = _THEN.get(flow.before, f"{flow.before} before"), _NOW.get(flow.after, f"{flow.after} now")
    if flow.after == "delivered":
        opened = Moment(now, "by", flow.opened_by, flow.opening_rule if flow.opened_by else "")
        return Moment(then, "by", flow.cause, flow.rule), opened
    return Moment(then), Moment(now, "with" if flow.after == "absent" else "by", flow.cause, flow.rule)
