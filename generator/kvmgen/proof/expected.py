"""What the inventory expects of packets, held against the files that the hosts would get."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from kvmgen.diagnostics import Diagnostic, Origin, Rule
from kvmgen.inventory.sources import Sources
from kvmgen.model.expectation import GUESTS, HOST, NAMED, NETWORK, OUTSIDE, POLICY, End, Expectation
from kvmgen.model.site import Site
from kvmgen.proof import Rendered, docs, origin_of, rendered
from kvmgen.proof.pairs import Pairs
from kvmgen.reachability import tell
from kvmgen.reachability.answer import Answer, Nobody, Outcome, Question, Service, ends_of, reach, versions_of
from kvmgen.reachability.place import OUTSIDE as ANYWHERE
from kvmgen.reachability.place import Attachment
from kvmgen.reachability.step import Cause

NOT_SO = Rule(code="KV701", title="A packet that doesn't fare as expected", doc=docs.NOT_SO)
NOT_KNOWN = Rule(code="KV702", title="An expectation that nothing can be said about", doc=docs.NOT_KNOWN)
ASKS_NOTHING = Rule(code="KV703", title="An expectation of no packet at all", doc=docs.ASKS_NOTHING)
RULES = (NOT_SO, NOT_KNOWN, ASKS_NOTHING)

_FORGED_MAC = "52:54:00:00:00:ee"
_MOST_TOLD = 5
"""How many packets of one expectation are told: the rest fails for the same reasons."""


_OWN_HOST = "@host"
"""What `HOST` is called until the other end is known; no name looks so."""


def expected(site: Site) -> list[Expectation]:
    """What the site file and the policies expect."""
    return [*site.expects, *(one for policy in site.policies.values() for one in policy.expects)]


def prove(site: Site, sources: Sources, made: Rendered | None = None) -> list[Diagnostic]:
    """What the site's expectations find in ``made``; without it nothing is rendered where there are none."""
    wanted = expected(site)
    if not wanted:
        return []
    proof = _Proof(site, made or rendered(site), sources)
    return [finding for expectation in wanted for finding in proof.of(expectation)]


@dataclass(slots=True)
class _Proof:
    site: Site
    made: Rendered
    sources: Sources
    pairs: Pairs = field(init=False)
    answers: dict[Question, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pairs = Pairs(self.made.consumers)

    def of(self, expectation: Expectation) -> Iterator[Diagnostic]:
        """What is wrong with one expectation."""
        try:
            asked = list(self._asked(expectation))
        except Nobody as nobody:
            message = f"there is no guest, host or address {nobody}"
            yield _asks_nothing(expectation, message, "Name a guest or host of the inventory, `outside` or an address.")
            return
        if not asked:
            hint = "Name ends that have addresses of one IP version, or members that are there."
            yield _asks_nothing(expectation, "this asks for no packet: an end has no member or no address for it", hint)
        wrong = [finding for question, good in asked for finding in self._judged(expectation, question, good)]
        yield from wrong[:_MOST_TOLD]

    def _asked(self, expectation: Expectation) -> Iterator[tuple[Question, Callable[[Outcome], bool]]]:
        """The questions of an expectation, each with what must come out."""
        if expectation.spoof:
            for question in self._forged(expectation):
                yield question, _is(expectation.verdict)
            return
        targets = self._names(expectation.targets)
        if expectation.only_from is None:
            yield from self._between(expectation, self._sources(expectation), targets, _is(expectation.verdict))
            return
        chosen = self._names(expectation.only_from)
        yield from self._between(expectation, chosen, targets, _is(Outcome.DELIVERED))
        for several in [[target] for target in targets] if _OWN_HOST in chosen else [targets]:
            machines = {self._met(name, target).partition(":")[0] for name in chosen for target in several}
            everybody = (ANYWHERE, *self.site.hosts, *self._members(End(GUESTS)))
            others = [name for name in everybody if name.partition(":")[0] not in machines]
            yield from self._between(expectation, others, several, _is_not_delivered)

    def _between(
        self, expectation: Expectation, sources: Sequence[str], targets: Sequence[str], good: Callable[[Outcome], bool]
    ) -> Iterator[tuple[Question, Callable[[Outcome], bool]]]:
        protocol, number = expectation.service
        is_icmp = protocol.startswith("icmp")
        service = Service(protocol=protocol, port=None if is_icmp else number, type=number if is_icmp else None)
        for one, other in self.pairs.of(sources, targets):
            source, target = self._met(one, other), self._met(other, one)
            if source and target and source.partition(":")[0] != target.partition(":")[0]:
                for version in versions_of(self.made.places, source, target, service):
                    if version in expectation.versions:
                        yield Question(source=source, target=target, service=service, version=version), good

    def _met(self, name: str, other: str) -> str:
        """A name as the machine at the other end means it; none where that is no guest and has no host."""
        if name != _OWN_HOST:
            return name
        guest = self.site.guests.get(other.partition(":")[0])
        return "" if guest is None else guest.home

    def _names(self, ends: Iterable[End]) -> list[str]:
        """The machines that ends mean, each once."""
        found: dict[str, None] = {}
        for end in ends:
            if end.kind in (OUTSIDE, HOST):
                found[ANYWHERE if end.kind == OUTSIDE else _OWN_HOST] = None
            elif end.kind == NAMED:
                ends_of(self.made.places, end.name)
                found[end.name] = None
            else:
                found |= dict.fromkeys(self._members(end))
        return list(found)

    def _sources(self, expectation: Expectation) -> list[str]:
        """Who sends; an exception is an interface, or all of a machine's."""
        excepted = set(self._names(expectation.excepted))
        names = self._names(expectation.sources)
        return [name for name in names if name not in excepted and name.partition(":")[0] not in excepted]

    def _members(self, end: End) -> Iterator[str]:
        for guest, nic in self.site.nics():
            if (
                end.kind == GUESTS
                or (end.kind == POLICY and end.name in nic.policies)
                or (end.kind == NETWORK and end.name == nic.network)
            ):
                yield f"{guest.name}:{nic.name}"

    def _forged(self, expectation: Expectation) -> Iterator[Question]:
        """What each sender could forge, towards the first on its segment who would take it."""
        for name in self.pairs.each(self._sources(expectation)):
            if name == _OWN_HOST:
                continue
            for one in ends_of(self.made.places, name):
                target = self._victim(one)
                if one.kind == "guest" and target is not None:
                    yield from self._forgeries(expectation, one, target)

    def _victim(self, one: Attachment) -> str | None:
        places = self.made.places
        if places.outside_of(one.segment, one.host) is not None:
            return ANYWHERE
        around = places.on_segment.get(one.segment, ())  # the outside is on none
        others = (other for other in around if other != one and other.addresses)
        return next((f"{other.owner}:{other.interface}" for other in others), None)

    def _forgeries(self, expectation: Expectation, one: Attachment, target: str) -> Iterator[Question]:
        source, ping, places = f"{one.owner}:{one.interface}", Service(protocol="ping"), self.made.places
        for version in versions_of(places, source, target, ping):
            own = [address.ip for address in one.addresses if address.version == version]
            own = [address for address in own if not address.is_link_local]
            other = places.unused(one, own[0], last=False) if own else None
            if version not in expectation.versions or other is None:
                continue
            if "mac" in expectation.spoof:
                yield Question(source=source, target=target, service=ping, version=version, spoof_mac=_FORGED_MAC)
            if "ip" in expectation.spoof:
                yield Question(source=source, target=target, service=ping, version=version, spoof_ip=other)
            if "arp" in expectation.spoof and version == 4:
                arp = Service(protocol="arp")
                yield Question(source=source, target=target, service=arp, version=4, spoof_ip=ip_address(other))

    def _judged(
        self, expectation: Expectation, question: Question, good: Callable[[Outcome], bool]
    ) -> Iterator[Diagnostic]:
        if question not in self.answers:
            self.answers[question] = reach(self.made.consumers, question)
        answer = self.answers[question]
        if answer.outcome is Outcome.UNKNOWN:
            hint = f"{answer.why or 'The way of the packet can not be followed'}; ask for something narrower."
            yield Diagnostic(
                rule=NOT_KNOWN, message=tell.verdict(answer), hint=_sentence(hint), origin=expectation.origin
            )
        elif not good(answer.outcome):
            wanted = "nobody else" if expectation.only_from is not None else expectation.verdict
            message = f"expected {wanted}, but {tell.verdict(answer)}"
            related = tuple(self._related(answer))
            trace = tuple(tell.trace(answer, self._named))
            yield Diagnostic(
                rule=NOT_SO,
                message=message,
                hint=_hint(answer),
                origin=expectation.origin,
                related=related,
                trace=trace,
            )

    def _related(self, answer: Answer) -> Iterator[tuple[Origin, str]]:
        if answer.cause is not None:
            origin = origin_of(self.made, answer.host, answer.cause)
            if origin is not None and not origin.is_kvmgens:
                yield origin, "this decides"

    def _named(self, host: str, cause: Cause) -> str:
        """A cause by its line in the host's folder, and the inventory's where it comes from one."""
        place, origin = tell.in_folder(host, cause), origin_of(self.made, host, cause)
        position = None if origin is None or origin.is_kvmgens else self.sources.position_of(origin)
        return f"{place} (from {self.sources.root}/{origin.file}:{position.line})" if origin and position else place


def _hint(answer: Answer) -> str:
    question = answer.question
    words = ["kvmgen reach", question.source, question.target, f"-{question.version}"]
    if question.service.protocol != "ping":
        words.insert(3, f"--{question.service.protocol} {question.service.port or question.service.type or ''}".strip())
    words += [f"--spoof-ip {question.spoof_ip}"] if question.spoof_ip is not None else []
    words += [f"--spoof-mac {question.spoof_mac}"] if question.spoof_mac is not None else []
    return f"`{' '.join(words)}` asks it again; mend what decides, or the expectation."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _is(verdict: str) -> Callable[[Outcome], bool]:
    return lambda outcome: outcome == verdict


def _is_not_delivered(outcome: Outcome) -> bool:
    return outcome in (Outcome.BLOCKED, Outcome.ONE_WAY)


def _asks_nothing(expectation: Expectation, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=ASKS_NOTHING, message=message, hint=hint, origin=expectation.origin)
