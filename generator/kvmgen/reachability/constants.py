"""The addresses that a site's files compare packets with, and which of them an address is among.

An *atom* is one such condition, named by what it says: ``net 192.0.2.0/24``, ``range 192.0.2.1-192.0.2.9``,
``mac 52:54:00:00:00:01``, or the whole of a list that one rule of a filter goes through, ``any of ...``. Two addresses
that are among the same atoms fare alike wherever only atoms are asked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

from kvmgen.model.values import Address

Atom = str
Block = tuple[int, int, int]
"""An IP version (or `MAC`), and the first and last number of a block."""

MAC = 0
_BITS = {MAC: 48, 4: 32, 6: 128}
EVERYWHERE = ""
"""Whose mention an atom is that is known beyond one host."""

_DASH = r"\s?-\s?"
_V4 = r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d])"
_V6 = r"(?<![0-9A-Fa-f:.])(?=[0-9A-Fa-f]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:.]+"
_WORDS = re.compile(
    rf"(?P<uuid>[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})"
    rf"|(?P<mac>(?<![0-9A-Fa-f:])[0-9A-Fa-f]{{2}}(?::[0-9A-Fa-f]{{2}}){{5}}(?![0-9A-Fa-f:]))"
    rf"|(?P<v4>{_V4}(?:/[\d.]+|{_DASH}{_V4})?)"
    rf"|(?P<v6>{_V6}(?:/\d+|{_DASH}{_V6})?)",
    re.ASCII,
)
_COMMENTS = re.compile(r"<!--.*?-->|^[ \t]*[#;].*?$", re.DOTALL | re.MULTILINE)


def block_of(version: int, number: int, length: int) -> Block:
    """The block of a network: a number under a mask of so many bits."""
    free = _BITS[version] - length
    first = number >> free << free
    return version, first, first + (1 << free) - 1


def point(address: Address) -> Block:
    """The block of one address."""
    return address.version, int(address), int(address)


def _name(block: Block) -> Atom:
    version, first, last = block
    if version == MAC:
        return f"mac {first:012x}-{last:012x}"
    size = last - first + 1
    low = address_of(block)
    if size & (size - 1) == 0 and first % size == 0:
        return f"net {low}/{_BITS[version] - size.bit_length() + 1}"
    return f"range {low}-{address_of((version, last, last))}"


def address_of(block: Block) -> Address:
    """The first address of a block."""
    return IPv4Address(block[1]) if block[0] == 4 else IPv6Address(block[1])


@cache
def atoms_in(word: str, kind: str) -> tuple[Block, ...]:
    """The blocks that a word of a file stands for: an address with a length is itself, and its network."""
    try:
        if kind == "mac":
            return (mac_block(word),)
        if "-" in word:
            low, high = (ip_address(part.strip()) for part in word.split("-"))
            return (point(low), point(high), (low.version, int(low), int(high)))
        found = ip_interface(word)
    except ValueError:
        return atoms_in(word[1:], kind) if kind == "v6" and len(word) > 2 else ()
    network = found.network
    own = point(found.ip)
    whole = network.version, int(network.network_address), int(network.broadcast_address)
    return (own,) if own == whole else (own, whole)


@dataclass(slots=True)
class Template:
    """A text without its comments, and the addresses in it by their order."""

    parts: list[str] = field(default_factory=list)
    words: list[tuple[str, tuple[Block, ...]]] = field(default_factory=list)


def template(text: str) -> Template:
    """Take a text apart. A UUID is nothing that a packet is compared with."""
    made, start = Template(), 0
    text = _COMMENTS.sub(lambda comment: "\n" * comment[0].count("\n"), text)
    for found in _WORDS.finditer(text):
        kind = found.lastgroup or ""
        blocks = () if kind == "uuid" else atoms_in(found[0], kind)
        if kind != "uuid" and not blocks:
            continue
        made.parts.append(text[start : found.start()])
        made.words.append(("" if kind == "uuid" else found[0], blocks))
        start = found.end()
    made.parts.append(text[start:])
    return made


class Atoms:
    """The atoms of a site, and the host that alone knows of each."""

    def __init__(self) -> None:
        self._mentioned: dict[Atom, str] = {}
        self._by_length: dict[int, dict[int, dict[int, list[Atom]]]] = {version: {} for version in _BITS}
        self._ranges: dict[int, list[tuple[int, int, Atom]]] = {version: [] for version in _BITS}
        self._masked: dict[Atom, tuple[int, int]] = {}
        self._known: dict[Block, tuple[Atom, ...]] = {}
        self._names: dict[Block, Atom] = {}

    def add(self, blocks: Iterable[Block], host: str = EVERYWHERE) -> None:
        """Blocks that are conditions of their own."""
        for block in blocks:
            self._add(self.name(block), (block,), host)

    def add_list(self, blocks: Iterable[Block], host: str) -> None:
        """Blocks that are one condition: to be in any of them."""
        several = sorted(set(blocks))
        if len(several) == 1:
            self.add(several, host)
        elif several:
            said = hashlib.sha256(repr(several).encode()).hexdigest()[:24]
            self._add(f"any of {len(several)} {said}", several, EVERYWHERE)

    def name(self, block: Block) -> Atom:
        """The atom that is one block."""
        if block not in self._names:
            self._names[block] = _name(block)
        return self._names[block]

    def add_masked(self, number: int, mask: int) -> None:
        """MACs that are the same under a mask."""
        atom = f"mac {number & mask:012x}/{mask:012x}"
        self._mentioned[atom] = EVERYWHERE
        self._masked[atom] = number & mask, mask

    def _add(self, atom: Atom, blocks: Iterable[Block], host: str) -> None:
        known = self._mentioned.get(atom)
        if known is not None:
            if known != host:
                self._mentioned[atom] = EVERYWHERE
            return
        self._mentioned[atom] = host
        for version, first, last in blocks:
            size = last - first + 1
            if size & (size - 1) == 0 and first % size == 0:
                free = size.bit_length() - 1
                self._by_length[version].setdefault(free, {}).setdefault(first >> free, []).append(atom)
            else:
                self._ranges[version].append((first, last, atom))

    def owner(self, atom: Atom) -> str:
        """The host that alone mentions an atom."""
        return self._mentioned.get(atom, EVERYWHERE)

    def met(self, block: Block, host: str) -> None:
        """Note that somebody of a host has an address: what it is among is known beyond another host that says so."""
        for atom in self.around(block):
            if self._mentioned[atom] != host:
                self._mentioned[atom] = EVERYWHERE

    def around(self, block: Block) -> tuple[Atom, ...]:
        """The atoms that an address (or a MAC) is among, sorted; to be asked once all are added."""
        if block not in self._known:
            self._known[block] = tuple(sorted(set(self._around(block[0], block[1]))))
        return self._known[block]

    def _around(self, version: int, number: int) -> Iterator[Atom]:
        for free, networks in self._by_length[version].items():
            yield from networks.get(number >> free, ())
        yield from (atom for first, last, atom in self._ranges[version] if first <= number <= last)
        if version == MAC:
            yield from (atom for atom, (wanted, mask) in self._masked.items() if number & mask == wanted)


def solicited(address: Address) -> tuple[Block, Block]:
    """The group that an IPv6 address is asked for under, and the group's MAC."""
    low = int(address) & 0xFFFFFF
    group, mac = (0xFF02_0000_0000_0000_0000_0001_FF00_0000 | low), (0x3333_FF00_0000 | low)
    return (6, group, group), (MAC, mac, mac)


def mac_block(mac: str) -> Block:
    """The block of one MAC."""
    number = int(mac.replace(":", ""), 16)
    return MAC, number, number
