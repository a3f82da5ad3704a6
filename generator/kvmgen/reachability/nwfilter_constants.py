"""What the nwfilters on taps compare addresses with, and what tells two filters on two taps apart."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kvmgen.reachability.constants import MAC, Atoms, Block, block_of
from kvmgen.reachability.nwfilter import Filters
from kvmgen.reachability.nwfilter_tree import NoRulesError, Placed, Values, combinations, missing
from kvmgen.reachability.nwfilter_values import Said
from kvmgen.value import record

_NETWORKS = (
    *(("srcipaddr", "srcipmask"), ("dstipaddr", "dstipmask"), ("arpsrcipaddr", "arpsrcipmask")),
    *(("arpdstipaddr", "arpdstipmask"), ("arpdstipaddr", "arpsrcipmask")),
)
_RANGES = (("srcipfrom", "srcipto"), ("dstipfrom", "dstipto"))
_MACS = (
    *(("srcmacaddr", "srcmacmask"), ("dstmacaddr", "dstmacmask")),
    *(("arpsrcmacaddr", "srcmacmask"), ("arpdstmacaddr", "dstmacmask")),
)
_NAMES = frozenset(name for pair in (*_NETWORKS, *_RANGES, *_MACS) for name in pair)
_EVERY_BIT = (1 << 48) - 1


@record
class _Asked:
    """One address that one of a rule's lines asks for; ``attributes`` are those that say it."""

    attributes: tuple[str, str]
    block: Block
    mask: int = _EVERY_BIT

    @property
    def is_single(self) -> bool:
        return self.block[1] == self.block[2] and self.mask == _EVERY_BIT


@dataclass(slots=True)
class Conditions:
    """What a filter with its parameters asks of addresses.

    ``lists`` are conditions to be among several blocks, ``masked`` MACs under their masks. ``spread`` are the
    parameters of the tap's own addresses that a rule widens to a network: they say more than whose they are.
    """

    lists: list[tuple[Block, ...]] = field(default_factory=list)
    masked: list[tuple[int, int]] = field(default_factory=list)
    spread: set[str] = field(default_factory=set)

    def add_to(self, atoms: Atoms, host: str) -> None:
        """Make them atoms, of a tap on a host."""
        for blocks in self.lists:
            atoms.add_list(blocks, host)
        for number, mask in self.masked:
            atoms.add_masked(number, mask)


def fingerprint(filters: Filters, name: str) -> str:
    """What a filter says with all that it includes, or why it says nothing; the same for equal texts."""
    try:
        said = repr(filters.tree(name))
    except NoRulesError as error:
        said = str(error)
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def conditions(filters: Filters, name: str, values: Values, own: Collection[str]) -> Conditions:
    """The conditions of a filter; ``own`` are the parameters that hold nothing but the tap's own addresses."""
    found = Conditions()
    try:
        placed = filters.tree(name)
        if missing(placed, values):
            found.lists += [(block,) for text in values.get("DHCPSERVER", ()) for block in _single(text)]
            return found
        for one in placed:
            if _NAMES.intersection(one.rule.said):
                _of_rule(one, values, own, found)
    except NoRulesError:
        pass  # every packet meets the same problem
    return found


def _single(text: str) -> Iterator[Block]:
    said = Said({"address": text}, frozenset(), negated=False)
    yield block_of(4, said.address("address", 4), 32)


def _of_rule(placed: Placed, values: Values, own: Collection[str], found: Conditions) -> None:
    """The lines that differ in one address alone are one condition: whoever is in any of them fits."""
    names = {attribute: read.name for attribute, read in placed.variables}
    together: dict[object, set[Block]] = {}
    for combination in combinations(placed, values):
        asked = [one for one in _asked(placed, combination) if not _is_own(one, names, own, found)]
        found.masked += [(one.block[1], one.mask) for one in asked if one.mask != _EVERY_BIT]
        plain = [one for one in asked if one.mask == _EVERY_BIT]
        for one in plain:
            if len(plain) > 1:
                found.lists.append((one.block,))
                continue
            rest = tuple((name, text) for name, text in combination.items() if name not in one.attributes)
            together.setdefault((one.attributes, rest), set()).add(one.block)
    found.lists += [tuple(sorted(blocks)) for blocks in together.values()]


def _is_own(asked: _Asked, names: Mapping[str, str], own: Collection[str], found: Conditions) -> bool:
    """Whether it is the tap's own address; one that is more than that is noted."""
    name = names.get(asked.attributes[0])
    if name not in own:
        return False
    if not asked.is_single:
        found.spread.add(str(name))
    return asked.is_single


def _asked(placed: Placed, said: Mapping[str, str]) -> Iterator[_Asked]:
    protocol = placed.rule.protocol
    version = 6 if protocol.endswith("ipv6") or protocol == "icmpv6" else 4
    words = Said(said, frozenset(attribute for attribute, _ in placed.variables), negated=False)
    for name, mask in _present(_NETWORKS, said):
        address, length, _ = words.network(name, mask, version)
        yield _Asked((name, mask), block_of(version, address, length))
    for first, last in _present(_RANGES, said):
        low = words.address(first, version)
        yield _Asked((first, last), (version, low, words.address(last, version) if last in said else low))
    for name, mask in _present(_MACS, said):
        number, bits = words.mac_and_mask(name, mask if mask in said else "")
        yield _Asked((name, mask), (MAC, number, number), bits)


def _present(pairs: Sequence[tuple[str, str]], said: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return (pair for pair in pairs if pair[0] in said)
