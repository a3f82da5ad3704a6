"""Who reaches whom: every pair of ends, asked once for all pairs that fare alike (`classes`).

Two ends on one host and two on different hosts are different pairs. Which ones of a class are asked about is always the
same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Generic, TypeVar

from kvmgen.reachability.alike import answers
from kvmgen.reachability.answer import Answer, Service
from kvmgen.reachability.classes import End, Ends, ends
from kvmgen.reachability.consumers import Consumers
from kvmgen.value import record, value

Hosts = tuple[str, ...]
Relation = tuple[bool, ...]
"""Whether two ends are on one host: in the one site that is asked, or in each of two."""

_SHOWN = 2
_KINDS = ("outside", "host", "guest")


@record
class Member:
    """An end among those that fare like it: ``hosts`` is where it is, in each site that is asked."""

    name: str
    owner: str
    hosts: Hosts


def label(group: Group) -> str:
    """A class by its first members: ``web01, web02 (+38)``."""
    names = [member.name for member in group.members[:_SHOWN]]
    more = len(group.members) - len(names)
    return ", ".join(names) + (f" (+{more})" if more else "")


def relation(one: Member, other: Member) -> Relation:
    """Where two ends are to each other."""
    return tuple(mine == theirs != "" for mine, theirs in zip(one.hosts, other.hosts, strict=True))


class Group:
    """Ends that fare alike, by their hosts."""

    def __init__(self, members: Iterable[Member]) -> None:
        self.members = tuple(members)
        self.at: dict[Hosts, list[Member]] = {}
        for member in self.members:
            self.at.setdefault(member.hosts, []).append(member)
        self.on: list[dict[str, list[Hosts]]] = [{} for _ in self.members[0].hosts]
        for hosts in self.at:
            for known, host in zip(self.on, hosts, strict=True):
                if host:
                    known.setdefault(host, []).append(hosts)
        self.stays = all(len(set(hosts)) == 1 for hosts in self.at)
        """Whether everybody is on the same host in each site."""


def representatives(sources: Group, targets: Group) -> dict[Relation, tuple[Member, Member]]:
    """A pair for each relation in which two of the groups' ends are."""
    found: dict[Relation, tuple[Member, Member]] = {}
    possible = 1 << (1 if sources.stays and targets.stays else len(sources.on))
    for hosts, others in _together(sources, targets):
        pair = _different(sources.at[hosts], targets.at[others])
        if pair is not None:
            found.setdefault(relation(*pair), pair)
            if len(found) == possible - 1:
                break
    apart = next(_apart(sources, targets), None)
    if apart is not None:
        found[relation(*apart)] = apart
    return found


def _together(sources: Group, targets: Group) -> Iterator[tuple[Hosts, Hosts]]:
    """Where there are ends of both groups on one host, in any site."""
    for known, others in zip(sources.on, targets.on, strict=True):
        for host, several in known.items():
            if host in others:
                yield from ((one, other) for one in several for other in others[host])


def _apart(sources: Group, targets: Group) -> Iterator[tuple[Member, Member]]:
    """Pairs that share no host in any site."""
    for hosts, several in sources.at.items():
        for others, members in targets.at.items():
            if not any(one == other != "" for one, other in zip(hosts, others, strict=True)):
                pair = _different(several, members)
                if pair is not None:
                    yield pair


def _different(several: Sequence[Member], others: Sequence[Member]) -> tuple[Member, Member] | None:
    """The first pair of two machines. All of a list may be interfaces of one."""
    for one in (several[0], *(one for one in several if one.owner != several[0].owner)):
        for other in others:
            if one.owner != other.owner:
                return one, other
    return None


Key = TypeVar("Key")


class Grouped(Generic[Key]):
    """Groups by what their members have in common, in the order of what they are and their first members."""

    def __init__(self, ends_of: Iterable[tuple[Key, str, Member]]) -> None:
        found: dict[Key, tuple[str, list[Member]]] = {}
        for key, kind, member in ends_of:
            found.setdefault(key, (kind, []))[1].append(member)
        ordered = sorted(found.items(), key=lambda item: (_KINDS.index(item[1][0]), item[1][1][0].name))
        self.groups: Mapping[Key, Group] = {key: Group(several) for key, (_, several) in ordered}

    def __iter__(self) -> Iterator[tuple[Key, Group]]:
        return iter(self.groups.items())


@value
class Cell:
    """What becomes of one service between two classes, called by their numbers, in one relation; who was asked."""

    source: int
    target: int
    same_host: bool
    service: Service
    version: int
    answer: Answer


@value
class Matrix:
    """``classes`` are the ends that fare alike, by their names; two ends of one class are a pair as well."""

    classes: tuple[Group, ...]
    services: tuple[Service, ...]
    cells: tuple[Cell, ...]


def matrix(
    consumers: Consumers,
    services: Sequence[Service],
    *,
    sources: Collection[str] | None = None,
    targets: Collection[str] | None = None,
    known: Ends | None = None,
    versions: Collection[int] = (4, 6),
) -> Matrix:
    """Ask about every pair of classes; ``sources`` and ``targets`` are ends that it's only about."""
    found = known or ends(consumers)
    rows, columns = (_grouped(found, names) for names in (sources, targets))
    classes = _Numbered()
    numbered = classes.numbers(rows), classes.numbers(columns)
    cells = [
        Cell(
            source=source,
            target=target,
            same_host=together[0],
            service=service,
            version=version,
            answer=answer,
        )
        for source, group in numbered[0]
        for target, other in numbered[1]
        for together, (one, two) in sorted(representatives(group, other).items(), reverse=True)
        for service, version, answer in asked(consumers, found, one.name, two.name, services, versions)
    ]
    return Matrix(classes=tuple(classes.groups), services=tuple(services), cells=tuple(cells))


def questions(known: Ends, services: Sequence[Service], names: Iterable[Collection[str] | None]) -> int:
    """How many answers a matrix would have at most, but for what differs on one host."""
    classes = [len({end.key for end in known.known.values() if few is None or end.name in few}) for few in names]
    return prod(classes) * sum(len(service.versions) for service in services)


class _Numbered:
    """Groups by their numbers; the same members have the same."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self._known: dict[tuple[str, ...], int] = {}

    def numbers(self, groups: Grouped[str]) -> list[tuple[int, Group]]:
        """The groups with their numbers, new ones after those that are known."""
        found = []
        for _, group in groups:
            names = tuple(member.name for member in group.members)
            number = self._known.setdefault(names, len(self._known))
            if number == len(self.groups):
                self.groups.append(group)
            found.append((number, group))
        return found


def asked(
    consumers: Consumers,
    known: Ends,
    source: str,
    target: str,
    services: Sequence[Service],
    versions: Collection[int] = (4, 6),
) -> Iterator[tuple[Service, int, Answer]]:
    """The answers about two ends, by service and IP version."""
    both = known.known[source].versions & known.known[target].versions
    for version in sorted(both.intersection(versions)):
        fitting = [service for service in services if version in service.versions]
        for answer in answers(consumers, source, target, fitting, version):
            yield answer.question.service, version, answer


def _grouped(found: Ends, names: Collection[str] | None) -> Grouped[str]:
    return Grouped(
        (end.key, end.kind, member_of(end)) for end in found.known.values() if names is None or end.name in names
    )


def member_of(end: End) -> Member:
    """An end of one site."""
    return Member(end.name, end.owner, (end.host,))
