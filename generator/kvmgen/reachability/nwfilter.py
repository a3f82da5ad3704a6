"""The nwfilters of a host, bound to taps as libvirt binds them, and what a packet meets there.

| module | knows |
|---|---|
| `nwfilter_read` | what libvirt's parser keeps of a filter's XML |
| `nwfilter_tree` | includes, their parameters, the order of rules, variables and their lists |
| `nwfilter_values` | what a value means, in a rule and through a variable |
| `nwfilter_ebtables`, `nwfilter_iptables` | the lines that libvirt makes of one rule |
| `nwfilter_learning` | what stands in their place until libvirt knows a guest's address |
| `nwfilter_match` | what a line asks of a packet, and what a chain decides |
| `nwfilter` | all of it together |

A test compares the lines with those that a real libvirtd puts into the kernel, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from kvmgen.model.filters import EBTABLES_PROTOCOLS
from kvmgen.reachability._xml import NotXmlError
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.nwfilter_ebtables import RECEIVED, SENT, chain_name, ebtables_lines, jump, sub_chains
from kvmgen.reachability.nwfilter_iptables import iptables_lines
from kvmgen.reachability.nwfilter_learning import dhcp_only
from kvmgen.reachability.nwfilter_match import NOTHING, Chain, Chains, Line, Outcome, by_rule, run
from kvmgen.reachability.nwfilter_read import ReadFilter, built_in, read_filter
from kvmgen.reachability.nwfilter_tree import NoRulesError, Placed, Values, combinations, missing, placed_rules
from kvmgen.reachability.nwfilter_values import Said
from kvmgen.reachability.packet import Packet
from kvmgen.reachability.step import Cause, Step, Verdict

FOLDER = "libvirt/nwfilters/"
_LAYERS = {4: "iptables", 6: "ip6tables"}
_Key = tuple[str, tuple[tuple[str, tuple[str, ...]], ...], str, str | None]


class Filters:
    """The filters of one host: those of its folder, and libvirt's own."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._known: dict[str, ReadFilter] | None = None
        self._trees: dict[str, tuple[Placed, ...]] = {}
        self._lines: dict[tuple[int, tuple[tuple[str, ...], ...]], tuple[Line, ...]] = {}
        self._bound: dict[_Key, _Rules] = {}

    def bind(
        self,
        name: str,
        parameters: Mapping[str, Sequence[str]],
        mac: str,
        tap: str,
        learned: str | None = None,
    ) -> TapFilter:
        """A filter as libvirt instantiates it; what can't be made is told by each step, not raised.

        ``learned`` is the IPv4 address that libvirt has learned for the tap, by a DHCP lease or by watching.
        """
        key = (name, tuple(sorted((one, tuple(values)) for one, values in parameters.items())), mac, learned)
        if key not in self._bound:
            self._bound[key] = _Rules(self, name, dict(key[1]), mac, learned)
        return TapFilter(name, tap, self._bound[key])

    def tree(self, name: str) -> tuple[Placed, ...]:
        """A filter's rules with those of all that it includes, in libvirt's order."""
        if name not in self._trees:
            self._trees[name] = placed_rules(name, self._find)
        return self._trees[name]

    def _find(self, name: str) -> ReadFilter:
        if self._known is None:
            self._known = dict(self._read())
        found = self._known.get(name) or built_in(name, self._folder.platform.libvirt)
        if found is None:
            raise NoRulesError(f"the filter {name} is neither among the host's files nor one of libvirt's own")
        return found

    def _read(self) -> Iterator[tuple[str, ReadFilter]]:
        for path, text in self._folder.under(FOLDER):
            try:
                filter_ = read_filter(path, text, self._folder.platform.libvirt)
            except (NotXmlError, KeyError, ValueError) as error:
                raise NoRulesError(f"{path} is no filter that libvirt reads: {error}") from error
            yield filter_.name, filter_

    def lines(self, placed: Placed, values: Values) -> tuple[Line, ...]:
        """The lines of a rule, made once for the same values."""
        used = {**placed.given, **values}
        key = (id(placed), tuple(used[read.name] for _, read in placed.variables))
        if key not in self._lines:
            self._lines[key] = tuple(_lines(placed, values))
        return self._lines[key]


def _lines(placed: Placed, values: Values) -> Iterator[Line]:
    names = frozenset(attribute for attribute, _ in placed.variables)
    for combination in combinations(placed, values):
        said = Said(combination, names, placed.rule.negated)
        if _is_ethernet(placed):
            yield from ebtables_lines(placed.rule, said, placed.chain)
        else:
            yield from iptables_lines(placed.rule, said)


def _is_ethernet(placed: Placed) -> bool:
    return not placed.rule.protocol or placed.rule.protocol in EBTABLES_PROTOCOLS


class _Rules:
    """The rules of a filter with its parameters, made when they are first asked for."""

    def __init__(self, filters: Filters, name: str, parameters: Values, mac: str, learned: str | None) -> None:
        self._filters = filters
        self._name = name
        self._parameters = parameters
        self._mac = mac
        self._values: Values = {"MAC": (mac,), **({"IP": (learned,)} if learned else {}), **parameters}

    @cached_property
    def problem(self) -> str:
        """Why there are no rules to judge by; empty where there are."""
        try:
            self._made  # noqa: B018 made here, used below
        except NoRulesError as error:
            return str(error)
        return ""

    @cached_property
    def _made(self) -> tuple[Line, ...]:
        placed = self._filters.tree(self._name)
        lacking = missing(placed, self._values)
        if not lacking:
            return tuple(_in_order(placed, lambda one: self._filters.lines(one, self._values)))
        if lacking != {"IP"}:
            raise NoRulesError(f"there is no value for {', '.join(f'${name}' for name in sorted(lacking))}")
        return tuple(self._while_learning())

    def _while_learning(self) -> Iterator[Line]:
        learning = self._parameters.get("CTRL_IP_LEARNING", ("any",))[0].lower()
        if learning == "dhcp":
            return dhcp_only(self._mac, self._parameters.get("DHCPSERVER", ()))
        if learning == "any":
            raise NoRulesError("libvirt takes the first address that the guest uses for its own")
        raise NoRulesError("there is no value for $IP")

    @property
    def lines(self) -> tuple[Line, ...]:
        """Every line, chain after chain in the order of their making; none where there is a problem."""
        return () if self.problem else self._made

    @cached_property
    def chains(self) -> tuple[Chains, Chains]:
        """The chains of each layer and name; another one where ties leave the order open."""
        known, other = _chains(self.lines), _other_order(self.lines)
        return known, known if other == list(self.lines) else _chains(other)

    @cached_property
    def layers(self) -> frozenset[str]:
        """The programs that have rules of the filter, or at least its empty chains."""
        if self.problem:
            return frozenset()
        if missing(self._filters.tree(self._name), self._values):
            return frozenset(("ebtables",))
        return frozenset(map(_layer, self._filters.tree(self._name)))


def _layer(placed: Placed) -> str:
    if _is_ethernet(placed):
        return "ebtables"
    protocol = placed.rule.protocol
    return "ip6tables" if protocol == "icmpv6" or protocol.endswith("-ipv6") else "iptables"


def _in_order(rules: Sequence[Placed], lines: Callable[[Placed], Iterable[Line]]) -> Iterator[Line]:
    """Every line in the order in which libvirt makes it: a chain is called before the first rule of its priority."""
    waiting = sub_chains([placed for placed in rules if _is_ethernet(placed)])
    for placed in rules:
        if _is_ethernet(placed):
            priority = _effective(placed)
            while waiting and waiting[0].priority <= priority:
                yield jump(waiting.pop(0))
        yield from lines(placed)
    yield from map(jump, waiting)


def _effective(placed: Placed) -> int:
    """A rule outside of root counts at least as late as its chain."""
    priority = placed.rule.priority
    return priority if placed.chain == "root" else max(priority, placed.chain_priority)


def _chains(lines: Iterable[Line]) -> Chains:
    found: dict[str, list[Line]] = {}
    for line in lines:
        name = line.chain if line.layer == "ebtables" else f"{line.layer} {line.chain}"
        found.setdefault(name, []).append(line)
    return {name: Chain(blocks=tuple(by_rule(several)), end=_end(several[0])) for name, several in found.items()}


def _end(line: Line) -> Outcome:
    """What becomes of what no line of a chain decides."""
    if line.layer != "ebtables":
        return NOTHING
    name = line.chain.replace("{tap}", "TAP")
    return Outcome(Verdict.ACCEPT, Cause(file="libvirt:chains", text=f"end of chain {name}, where ebtables accepts"))


def _other_order(lines: Sequence[Line]) -> list[Line]:
    """The same with the calls of chains that have one priority the other way round: libvirt's order isn't certain."""
    ordered = list(lines)
    start = 0
    while start < len(ordered):
        end = start + 1
        while end < len(ordered) and _tied(ordered[start], ordered[end]):
            end += 1
        ordered[start:end] = reversed(ordered[start:end])
        start = end
    return ordered


def _tied(one: Line, other: Line) -> bool:
    return one.calls_at is not None and one.calls_at == other.calls_at


class TapFilter:
    """A filter on a tap. A step's verdict is PASS where the chains decide nothing.

    A frame that comes to the end of one of ebtables' chains, libvirt's default ones included, is accepted: what the
    other chains and root's later rules say of it doesn't count. Only a rule that returns goes on with them.
    """

    def __init__(self, name: str, tap: str, rules: _Rules) -> None:
        self.name = name
        self.tap = tap
        self._rules = rules

    @property
    def problem(self) -> str:
        """Why nothing is known of what the filter does; empty where it is."""
        return self._rules.problem

    def has_chains(self, version: int) -> bool:
        """Whether libvirt makes iptables' (4) or ip6tables' (6) chains for the tap, and accepts what they let pass."""
        return _LAYERS[version] in self._rules.layers

    def from_guest(self, packet: Packet) -> Step:
        """ebtables, table nat, PREROUTING: what the guest sends."""
        return self._ebtables(packet, SENT, f"ebtables nat PREROUTING -i {self.tap}")

    def to_guest(self, packet: Packet) -> Step:
        """ebtables, table nat, POSTROUTING: what is sent to the guest."""
        return self._ebtables(packet, RECEIVED, f"ebtables nat POSTROUTING -o {self.tap}")

    def forwarded_from(self, packet: Packet) -> Step:
        """libvirt-in: what the guest sends, bridged or routed."""
        return self._iptables(packet, "FI")

    def forwarded_to(self, packet: Packet) -> Step:
        """libvirt-out: what is bridged to the guest."""
        return self._iptables(packet, "FO")

    def to_host(self, packet: Packet) -> Step:
        """libvirt-host-in: what the guest sends to the host."""
        return self._iptables(packet, "HI")

    def rules(self) -> list[str]:
        """Every line as ebtables', iptables' or ip6tables' command line has it, in order."""
        return [line.text(self.tap) for line in self._rules.lines]

    def _ebtables(self, packet: Packet, letter: str, where: str) -> Step:
        return self._step(packet, chain_name(letter, "root"), where)

    def _iptables(self, packet: Packet, chain: str) -> Step:
        layer = _LAYERS.get(packet.version or 0, "")
        where = f"{layer or 'iptables'} {chain}-{self.tap}"
        return self._step(packet, f"{layer} {chain}-{{tap}}", where)

    def _step(self, packet: Packet, chain: str, where: str) -> Step:
        if self.problem:
            cause = Cause(file=FOLDER + f"{self.name}.xml", text=f"filter {self.name}")
            return Step(where=where, verdict=Verdict.UNKNOWN, cause=cause, why=self.problem)
        chains, others = self._rules.chains
        one = self._run(chains, chain, packet)
        other = one if others is chains else self._run(others, chain, packet)
        if one.verdict is not other.verdict:
            why = "chains of the same priority are called in no certain order"
            return Step(where=where, verdict=Verdict.UNKNOWN, cause=one.cause, why=why)
        return Step(where=where, verdict=one.verdict, cause=one.cause, why=one.why)

    @staticmethod
    def _run(chains: Chains, chain: str, packet: Packet) -> Outcome:
        return run(chains, chain, packet) if chain in chains else NOTHING
