"""Who reaches whom: every pair of ends, asked once for all pairs that fare alike (`classes`).

Two ends on one host and two on different hosts are different pairs. Which ones of a class are asked about is always the
same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from kvmgen.reachability.alike import answers
from kvmgen.reachability.answer import Answer, Service
from kvmgen.reachability.classes import End, Ends, ends
from kvmgen.reachability.consumers import Consumers
from kvmgen.value import record, value

Relation = tuple[bool, ...]
"""Whether two ends are on one host: in the one site that is asked, or in each of two."""

_KINDS = ("outside", "host", "guest")


@record
class Member:
    """An end among those that fare like it: ``hosts`` is where it is, in each site that is asked."""

    name: str
    owner: str
    hosts: tuple[str, ...]


def relation(one: Member, other: Member) -> Relation:
    """Where two ends are to each other."""
    return tuple(mine == theirs != "" for mine, theirs in zip(one.hosts, other.hosts, strict=True))


class Group:
    """Ends that fare alike, by their hosts."""

    def __init__(self, members: Iterable[Member]) -> None:
        self.members = tuple(members)
        self.at: dict[tuple[str, ...], list[Member]] = {}
        for member in self.members:
            self.at.setdefault(member.hosts, []).append(member)
        self._on: list[dict[str, list[tuple[str, ...]]]] = [{} for _ in self.members[0].hosts]
        for hosts in self.at:
            for known, host in zip(self._on, hosts, strict=True):
                known.setdefault(host, []).append(hosts)

    def near(self, hosts: tuple[str, ...]) -> dict[tuple[str, ...], None]:
        """The hosts of members that share one with these."""
        pairs = zip(self._on, hosts, strict=True)
        return dict.fromkeys(found for known, host in pairs if host for found in known.get(host, ()))

    def far(self, near: Collection[tuple[str, ...]]) -> tuple[str, ...] | None:
        """The first hosts of members that are none of these."""
        return next((hosts for hosts in self.at if hosts not in near), None)


def representatives(sources: Group, targets: Group) -> dict[Relation, tuple[Member, Member]]:
    """A pair for each relation in which two of the groups' ends are."""
    found: dict[Relation, tuple[Member, Member]] = {}
    for hosts, several in sources.at.items():
        near = targets.near(hosts)
        far = targets.far(near)
        for others in (*near, *(() if far is None else (far,))):
            pair = _different(several, targets.at[others])
            if pair is not None:
                found.setdefault(relation(*pair), pair)
        if len(found) == 1 << len(hosts):
            break
    return found


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
) -> Matrix:
    """Ask about every pair of classes; ``sources`` and ``targets`` are ends that it's only about."""
    found = known or ends(consumers)
    rows, columns = (_grouped(found, names) for names in (sources, targets))
    groups: dict[tuple[str, ...], Group] = {}
    for _, group in (*rows, *columns):
        groups.setdefault(tuple(member.name for member in group.members), group)
    numbers = {names: number for number, names in enumerate(groups)}
    cells = [
        Cell(
            source=numbers[tuple(member.name for member in group.members)],
            target=numbers[tuple(member.name for member in other.members)],
            same_host=together[0],
            service=service,
            version=version,
            answer=answer,
        )
        for _, group in rows
        for _, other in columns
        for together, (one, two) in sorted(representatives(group, other).items(), reverse=True)
        for service, version, answer in asked(consumers, found, one.name, two.name, services)
    ]
    return Matrix(classes=tuple(groups.values()), services=tuple(services), cells=tuple(cells))


def asked(
    consumers: Consumers, known: Ends, source: str, target: str, services: Sequence[Service]
) -> Iterator[tuple[Service, int, Answer]]:
    """The answers about two ends, by service and IP version."""
    both = known.known[source].versions & known.known[target].versions
    for version in sorted(both):
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
