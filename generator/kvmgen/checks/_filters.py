"""What the checks of nwfilters share: which rules a filter really has, and what each of them looks at.

libvirt judges a packet twice. Ethernet rules (mac, vlan, stp, arp, rarp, ip, ipv6 and rules without a protocol) become
ebtables rules, in chains; all others become iptables or ip6tables rules, in one list each, whatever chain their filter
names. Both must let a packet pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from kvmgen.diagnostics import Diagnostic, Origin
from kvmgen.model.builtin_filters import BUILT_IN_FILTERS
from kvmgen.model.filters import EBTABLES_PROTOCOLS, Filter, FilterInclude, FilterRule
from kvmgen.model.site import Site
from kvmgen.value import record

IPV4, IPV6 = "ipv4", "ipv6"
EVERYTHING = "everything"
DEFAULT_PRIORITY = 500
DROPS = frozenset(("drop", "reject"))
PASSES = frozenset(("accept", "return"))
PORTS = ("srcportstart", "srcportend", "dstportstart", "dstportend")

KIND_OF_FRAME: Mapping[str, str] = MappingProxyType(
    {"arp": "arp", "rarp": "rarp", "ip": IPV4, "ipv6": IPV6, "vlan": "vlan", "stp": "stp"}
)
"""What the Ethernet rules of a protocol look at, in the words of ``protocolid`` and of chains."""

ETHERTYPES: Mapping[int, str] = MappingProxyType(
    {0x0800: IPV4, 0x0806: "arp", 0x8035: "rarp", 0x8100: "vlan", 0x86DD: IPV6}
)
_CHAIN_PRIORITIES: Mapping[str, int] = MappingProxyType(
    {"root": 0, "stp": -810, "mac": -800, "vlan": -750, IPV4: -700, IPV6: -600, "arp": -500, "rarp": -400}
)
_FOR_PEOPLE = frozenset(("comment",))


@record
class Placed:
    """A rule in the tree of a filter. ``place`` is where the inventory says it, or includes what says it.

    ``is_own``: whether the inventory says it itself.
    """

    rule: FilterRule
    filter: Filter
    place: Origin
    is_own: bool


def own_filters(site: Site) -> Iterator[Filter]:
    """The inventory's filters."""
    return (filter_ for filter_ in site.filters.values() if not filter_.origin.is_kvmgens)


def rules_of(filter_: Filter) -> Iterator[FilterRule]:
    """A filter's own rules."""
    return (entry for entry in filter_.entries if isinstance(entry, FilterRule))


def own_rules(site: Site) -> Iterator[tuple[Filter, FilterRule]]:
    """Every rule of the inventory, with its filter."""
    return ((filter_, rule) for filter_ in own_filters(site) for rule in rules_of(filter_))


def trees(site: Site) -> Iterator[tuple[Placed, ...]]:
    """What libvirt makes of each filter of the inventory: its rules and all that it includes.

    A filter that others include counts by itself only where a guest's interface names it.
    """
    own = {filter_.name: filter_ for filter_ in own_filters(site)}
    included = {name for filter_ in own.values() for name in filter_.includes} & own.keys()
    used = _used(site) if included else frozenset()
    return (_tree(site, filter_) for name, filter_ in own.items() if name not in included or name in used)


def used_trees(site: Site) -> Iterator[tuple[Filter, tuple[Placed, ...]]]:
    """What libvirt makes of each filter of the inventory that a guest's interface names."""
    own = list(own_filters(site))
    used = _used(site) if own else frozenset()
    return ((filter_, _tree(site, filter_)) for filter_ in own if filter_.name in used)


def _used(site: Site) -> frozenset[str]:
    return frozenset(nic.filterref.filter for _, nic in site.nics() if nic.filterref is not None)


def _tree(site: Site, filter_: Filter) -> tuple[Placed, ...]:
    return tuple(_placed(site, filter_, None, set()))


def _placed(site: Site, filter_: Filter, included: Origin | None, seen: set[str]) -> Iterator[Placed]:
    """``included`` is where the inventory includes what isn't its own."""
    seen.add(filter_.name)
    for entry in filter_.entries:
        place = included or entry.origin
        if isinstance(entry, FilterRule):
            yield Placed(entry, filter_, place, included is None)
        elif entry.filter not in seen:
            yield from _included(site, entry, place, included is None, seen)


def _included(site: Site, entry: FilterInclude, place: Origin, from_own: bool, seen: set[str]) -> Iterator[Placed]:
    filter_ = site.filters.get(entry.filter) or BUILT_IN_FILTERS.get(entry.filter)
    if filter_ is not None:
        is_own = from_own and entry.filter in site.filters and not filter_.origin.is_kvmgens
        yield from _placed(site, filter_, None if is_own else place, seen)


def priority_of(rule: FilterRule) -> int:
    """A rule's priority, libvirt's default where none is said."""
    return DEFAULT_PRIORITY if rule.priority is None else rule.priority


def chain_kind(chain: str) -> str:
    """Which frames enter a chain: its protocol, everything for root and mac."""
    kind = next((prefix for prefix in _CHAIN_PRIORITIES if chain.startswith(prefix)), "root")
    return EVERYTHING if kind in ("root", "mac") else kind


def chain_priority(filter_: Filter) -> int:
    """When a filter's chain is entered, among root's rules."""
    if filter_.priority is not None:
        return filter_.priority
    return next((value for prefix, value in _CHAIN_PRIORITIES.items() if filter_.chain.startswith(prefix)), 0)


def family_of(rule: FilterRule) -> str | None:
    """``ipv4`` or ``ipv6`` for a rule that iptables or ip6tables judges, ``None`` for an Ethernet rule."""
    if rule.match is None or rule.match.protocol in EBTABLES_PROTOCOLS:
        return None
    return IPV6 if rule.match.protocol.endswith(("-ipv6", "icmpv6")) else IPV4


def conditions(rule: FilterRule) -> dict[str, str]:
    """What a rule looks at besides its protocol, comments left out."""
    if rule.match is None:
        return {}
    return {name: value for name, value in rule.match.attributes if name not in _FOR_PEOPLE}


def states(rule: FilterRule) -> frozenset[str]:
    """The connection states that a rule names and libvirt heeds; none where it names none."""
    return frozenset(conditions(rule).get("state", "").split(",")) - {""} if rule.state_match else frozenset()


def kind_of(rule: FilterRule) -> str:
    """Which packets of its layer a rule is about, all conditions aside; `EVERYTHING` for all of them."""
    if rule.match is None or rule.match.protocol in ("all", "all-ipv6"):
        return EVERYTHING
    if rule.match.protocol == "mac":
        named = None if rule.match.negated else ethertype(conditions(rule).get("protocolid"))
        return named or EVERYTHING
    return KIND_OF_FRAME.get(rule.match.protocol, rule.match.protocol)


def ethertype(protocolid: str | None) -> str | None:
    """The name of an EtherType, its number as text where it has none; ``None`` for a variable or nothing."""
    if protocolid is None or protocolid.startswith("$"):
        return None
    value = number(protocolid)
    return protocolid if value is None else ETHERTYPES.get(value, str(value))


def number(text: str | None) -> int | None:
    """A literal number, decimal or hexadecimal."""
    if text is None or not text[:1].isdigit():
        return None
    try:
        return int(text, 16 if text.startswith("0x") else 10)
    except ValueError:
        return None


def directions(rule: FilterRule) -> tuple[str, ...]:
    """In, out or both."""
    return ("in", "out") if rule.direction == "inout" else (rule.direction,)


def said_besides_state(rule: FilterRule) -> dict[str, str]:
    """What a rule looks at, its states left out."""
    said = conditions(rule)
    said.pop("state", None)
    return said


def is_mirrored(rule: FilterRule) -> bool:
    """Whether an iptables rule that doesn't accept holds both directions, all its packets in each."""
    return not said_besides_state(rule) and (not rule.state_match or "state" not in conditions(rule))


def last_drop(tree: Sequence[Placed], family: str) -> Placed | None:
    """The drop of everything that is left of an IP version, in both directions."""
    for placed in tree:
        rule = placed.rule
        if rule.action in DROPS and family_of(rule) == family and kind_of(rule) == EVERYTHING and is_mirrored(rule):
            return placed
    return None


def accepts_of(tree: Sequence[Placed], family: str) -> list[FilterRule]:
    """The iptables rules that let packets of an IP version pass."""
    return [one.rule for one in tree if one.rule.action in PASSES and family_of(one.rule) == family]


def tell_once(found: dict[Origin, Diagnostic], diagnostic: Diagnostic) -> None:
    assert diagnostic.origin is not None
    found.setdefault(diagnostic.origin, diagnostic)


def at_action(placed: Placed) -> Origin:
    return placed.place.at("action") if placed.is_own else placed.place
