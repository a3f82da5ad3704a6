"""What a change opens and closes: the packets that fare otherwise than before.

Ends that fare alike in both revisions are asked about once. Pairs that nothing has changed for aren't asked about at
all. A guest that is new had no way before, one that is gone has none after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kvmgen.difference.deciding import IN_FOLDER, Asked, Decided, Locate, decided
from kvmgen.difference.model import Flow
from kvmgen.proof import Rendered
from kvmgen.reachability.answer import Answer, Outcome, Service
from kvmgen.reachability.classes import End, Ends, ends
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.matrix import Group, Grouped, Member, Relation, asked, relation, representatives
from kvmgen.reachability.topology import Site
from kvmgen.value import record, value

ABSENT = "absent"
"""The verdict of packets whose sender or target isn't there."""

_Names = tuple[str, ...]


@value
class Flows:
    """The changes: what gets through now, what no longer does, and what else became of packets."""

    opens: tuple[Flow, ...] = ()
    closes: tuple[Flow, ...] = ()
    other: tuple[Flow, ...] = ()


@record
class _Change:
    """How one service fares between two ends, and who decides."""

    service: str
    version: int
    before: str
    after: str
    decided: Decided


@record
class _Side:
    made: Rendered
    ends: Ends
    is_before: bool


def flows(before: Rendered, after: Rendered, services: Sequence[Service], locate: Locate = IN_FOLDER) -> Flows:
    """Compare what becomes of packets in two revisions of a site."""
    if _is_the_same(before.places.site, after.places.site):
        return Flows()
    old = _Side(before, ends(before.consumers), True)
    new = _Side(after, ends(after.consumers), False)
    found = [
        Flow(
            sources=sources,
            targets=targets,
            services=tuple(sorted({change.service for change in changes}, key=_by_number)),
            versions=versions,
            before=changes[0].before,
            after=changes[0].after,
            cause=changes[0].decided.cause,
            rule=changes[0].decided.rule,
            opened_by=changes[0].decided.opened_by,
            opening_rule=changes[0].decided.opening_rule,
        )
        for (sources, targets), several in _merged(_changes(old, new, services, locate)).items()
        for versions, changes in _alike(several)
    ]
    found.sort(key=lambda flow: (flow.sources, flow.targets, [_by_number(one) for one in flow.services], flow.versions))
    return Flows(
        opens=tuple(flow for flow in found if flow.after == Outcome.DELIVERED),
        closes=tuple(flow for flow in found if flow.before == Outcome.DELIVERED),
        other=tuple(flow for flow in found if Outcome.DELIVERED not in (flow.before, flow.after)),
    )


def _is_the_same(before: Site, after: Site) -> bool:
    """Whether nothing differs that packets meet."""
    if (before.parties, before.segments, before.taps) != (after.parties, after.segments, after.taps):
        return False
    sides = [{folder.name: (folder.platform, _deciding(folder)) for folder in site.folders} for site in (before, after)]
    return sides[0] == sides[1]


def _deciding(folder: Folder) -> dict[str, str]:
    """What of a host's files isn't told by its guests' taps."""
    return {path: text for path, text in folder.files.items() if not path.startswith("libvirt/domains/")}


def _by_number(service: str) -> tuple[str, int, str]:
    protocol, _, number = service.partition("/")
    return protocol, int(number) if number.isdigit() else 0, number


# -- asking ------------------------------------------------------------------------------------------------------------


def _changes(
    old: _Side, new: _Side, services: Sequence[Service], locate: Locate
) -> Iterator[tuple[_Names, _Names, tuple[_Change, ...]]]:
    """The changes of each pair of classes, by the ends that they are true of."""
    groups = _joint_groups(old.ends, new.ends)
    same_routers = old.ends.routers == new.ends.routers
    moved = [(keys, group) for keys, group in groups if not (same_routers and keys[0] == keys[1] and group.stays)]
    for sources, group in groups:
        is_settled = same_routers and sources[0] == sources[1] and group.stays
        for targets, other in moved if is_settled else groups:
            unchanged = same_routers and sources[0] == sources[1] and targets[0] == targets[1]
            found = {
                where: () if unchanged and where[0] == where[1] else _compared(old, new, *pair, services, locate)
                for where, pair in representatives(group, other).items()
            }
            yield from _spread(group, other, found)


def _joint_groups(old: Ends, new: Ends) -> list[tuple[tuple[str, str], Group]]:
    """The ends of both revisions, together where they are alike in both."""
    names = dict.fromkeys((*old.known, *new.known))
    return list(Grouped(_joined(name, old.known.get(name), new.known.get(name)) for name in names))


def _joined(name: str, old: End | None, new: End | None) -> tuple[tuple[str, str], str, Member]:
    one = new or old
    assert one is not None
    hosts = ("" if old is None else old.host, "" if new is None else new.host)
    return ("" if old is None else old.key, "" if new is None else new.key), one.kind, Member(name, one.owner, hosts)


def _compared(
    old: _Side, new: _Side, source: Member, target: Member, services: Sequence[Service], locate: Locate
) -> tuple[_Change, ...]:
    before, after = (_asked(side, source.name, target.name, services) for side in (old, new))
    found = []
    for service, version in sorted(before.keys() | after.keys()):
        answers = before.get((service, version)), after.get((service, version))
        verdicts = [ABSENT if one is None else str(one.outcome) for one in answers]
        if verdicts[0] != verdicts[1] and (Outcome.DELIVERED in verdicts or ABSENT not in verdicts):
            is_told = Outcome.DELIVERED in verdicts  # packets that never get through are told by their verdicts alone
            lines = _decided(old, new, answers, (source.name, target.name), locate) if is_told else Decided()
            found.append(_Change(service, version, verdicts[0], verdicts[1], lines))
    return tuple(found)


def _asked(side: _Side, source: str, target: str, services: Sequence[Service]) -> dict[tuple[str, int], Answer]:
    known = side.ends.known
    if source not in known or target not in known:
        return {}
    answers = asked(side.made.consumers, side.ends, source, target, services)
    return {(str(service), version): answer for service, version, answer in answers}


def _decided(
    old: _Side, new: _Side, answers: tuple[Answer | None, Answer | None], names: tuple[str, str], locate: Locate
) -> Decided:
    before, after = (
        Asked(side.made, answer, side.is_before, tuple(name for name in names if name not in side.ends.known))
        for side, answer in zip((old, new), answers, strict=True)
    )
    return decided(before, after, [old.ends.known[name] for name in names if name in old.ends.known], locate)


# -- telling -----------------------------------------------------------------------------------------------------------


def _spread(
    sources: Group, targets: Group, found: Mapping[Relation, tuple[_Change, ...]]
) -> Iterator[tuple[_Names, _Names, tuple[_Change, ...]]]:
    """From which ends to which ones the changes go: all of the classes, unless it matters who is on one host."""
    different = set(found.values())
    if len(different) <= 1:
        for changes in different - {()}:
            yield _names(sources.members), _names(targets.members), changes
        return
    for several in sources.at.values():
        reached: dict[tuple[_Change, ...], list[Member]] = {}
        for target in targets.members:
            changes = found.get(relation(several[0], target), ())
            if changes:
                reached.setdefault(changes, []).append(target)
        for changes, others in reached.items():
            yield _names(several), _names(others), changes


def _names(members: Iterable[Member]) -> _Names:
    return tuple(sorted(member.name for member in members))


def _merged(
    found: Iterable[tuple[_Names, _Names, tuple[_Change, ...]]],
) -> dict[tuple[_Names, _Names], list[_Change]]:
    """The changes by their ends, where several ends have the same together."""
    by_targets: dict[tuple[_Names, _Change], set[str]] = {}
    for sources, targets, changes in found:
        for change in changes:
            by_targets.setdefault((targets, change), set()).update(sources)
    by_sources: dict[tuple[_Names, _Change], set[str]] = {}
    for (targets, change), names in by_targets.items():
        by_sources.setdefault((tuple(sorted(names)), change), set()).update(targets)
    merged: dict[tuple[_Names, _Names], list[_Change]] = {}
    for (sources, change), names in by_sources.items():
        merged.setdefault((sources, tuple(sorted(names))), []).append(change)
    return merged


def _alike(changes: Sequence[_Change]) -> Iterator[tuple[tuple[int, ...], list[_Change]]]:
    """The changes that are one flow: the services that fare so in the same IP versions, for the same reason."""
    by_service: dict[tuple[object, ...], list[_Change]] = {}
    for change in changes:
        fate = change.before, change.after, change.decided
        by_service.setdefault((change.service, *fate), []).append(change)
    together: dict[tuple[object, ...], list[_Change]] = {}
    for (_, *rest), several in by_service.items():
        versions = tuple(sorted({change.version for change in several}))
        together.setdefault((versions, *rest), []).extend(several)
    for group in together.values():
        yield tuple(sorted({change.version for change in group})), group
