"""What tells machines apart for a packet: their files, with the addresses that are theirs alone left aside."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kvmgen.model.values import Address
from kvmgen.reachability import libvirt_network
from kvmgen.reachability.constants import (
    MAC,
    Atom,
    Atoms,
    Block,
    Template,
    address_of,
    atoms_in,
    point,
    solicited,
    template,
)
from kvmgen.reachability.place import Attachment, Places
from kvmgen.reachability.topology import Machine

DECIDING = (
    *("etc/firewalld/", "etc/nftables/", "etc/sysconfig/iptables", "etc/sysconfig/ip6tables", "etc/sysctl"),
    *("etc/sysconfig/network-scripts/", "etc/NetworkManager/system-connections/"),
)
"""The files of a machine that say what becomes of a packet, beside those of libvirt's objects."""

_FILTERING = DECIDING[:4]
_INTERFACES = re.compile(r"[\w.\-+*?]+")

Label = str | int
"""An atom, or the number of one that only the host itself knows."""


def digest(*parts: object) -> str:
    """One short word for whatever it is made of."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


@dataclass
class Fingerprints:
    """The machines of a site, taken apart. `hosts` is to be asked once every atom is known."""

    places: Places
    atoms: Atoms = field(default_factory=Atoms)
    _templates: dict[str, Template] = field(default_factory=dict)
    _texts: dict[str, list[tuple[str, Template]]] = field(default_factory=dict)
    _numbered: dict[str, dict[Atom, int]] = field(default_factory=dict)

    def read(self) -> None:
        """Collect the atoms of all machines' files."""
        for machine in self.places.site.hosts.values():
            self._read(f"host:{machine.name}", machine, machine.name)
        for machine in self.places.site.insides.values():
            self._read(f"guest:{machine.name}", machine, machine.folder.name)

    def _read(self, name: str, machine: Machine, host: str) -> None:
        self._texts[name] = [(path, self._template(text)) for path, text in _texts(machine)]
        for _, text in self._texts[name]:
            for _, blocks in text.words:
                self.atoms.add(blocks, host)

    def _template(self, text: str) -> Template:
        if text not in self._templates:
            self._templates[text] = template(text)
        return self._templates[text]

    @cached_property
    def named(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """The words of packet filters that may be names of interfaces, and those of them that are patterns."""
        words: set[str] = set()
        seen: set[int] = set()
        for several in self._texts.values():
            for path, text in several:
                if path.startswith(_FILTERING) and id(text) not in seen:
                    seen.add(id(text))
                    words.update(word for part in text.parts for word in _INTERFACES.findall(part))
        return frozenset(words), tuple(sorted(word for word in words if set(word) & set("+*?")))

    # -- addresses -----------------------------------------------------------------------------------------------------

    def label(self, atom: Atom, host: str) -> Label:
        """An atom as one host sees it."""
        return self._numbers(host).get(atom, atom) if self.atoms.owner(atom) == host else atom

    def labels(self, block: Block, host: str) -> tuple[Label, ...]:
        """What an address is among, as a host sees it."""
        around = self.atoms.around(block)
        own = self._numbers(host)
        if not own.keys() & set(around):
            return around
        return tuple(sorted((self.label(atom, host) for atom in around), key=lambda one: (isinstance(one, str), one)))

    def of_address(self, address: Address, host: str) -> tuple[tuple[Label, ...], ...]:
        """What an address is among, and the group that it's asked for under."""
        blocks = (point(address), *(solicited(address) if address.version == 6 else ()))
        return tuple(self.labels(block, host) for block in blocks)

    def _numbers(self, host: str) -> Mapping[Atom, int]:
        """The atoms that a host alone mentions, by their order in its files."""
        if host not in self._numbered:
            found: dict[Atom, int] = {}
            for _, text in self._texts.get(f"host:{host}", ()):
                for _, blocks in text.words:
                    for block in blocks:
                        atom = self.atoms.name(block)
                        if self.atoms.owner(atom) == host:
                            found.setdefault(atom, len(found))
            self._numbered[host] = found
        return self._numbered[host]

    # -- machines ------------------------------------------------------------------------------------------------------

    def said(self, name: str, host: str, own: Mapping[Block, object]) -> Iterator[object]:
        """A machine's files; ``own`` are the words for its own addresses."""
        for path, text in self._texts.get(name, ()):
            yield path
            yield tuple(text.parts)
            for word, blocks in text.words:
                yield word.partition("/")[2]
                yield tuple(own.get(block) or self.label(self.atoms.name(block), host) for block in blocks)

    def host(self, name: str) -> str:
        """What a host is but for its name and what it alone has."""
        machine = self.places.site.hosts[name]
        own = self._numbers(name)
        addresses = {blocks[0] for _, text in self._texts[f"host:{name}"] for _, blocks in text.words if blocks}
        numbered = {own[self.atoms.name(one)]: one for one in addresses if self.atoms.name(one) in own}
        around = [(number, self._around(numbered[number], name)) for number in sorted(numbered)]
        bridges = [(bridge, self.segment(self.places.site.segment(name, bridge), name)) for bridge in _bridges(machine)]
        return digest(repr(machine.folder.platform), list(self.said(f"host:{name}", name, {})), around, bridges)

    def _around(self, block: Block, host: str) -> object:
        if block[0] == MAC:
            return self.labels(block, host)
        return self.of_address(address_of(block), host)

    def word(self, text: str, host: str) -> object:
        """A single word, as a host sees the address that it may be."""
        for kind in ("mac", "v6") if ":" in text else ("v4",):
            blocks = atoms_in(text, kind) if len(text.split(":")) == 6 or kind != "mac" else ()
            if blocks:
                return [self.label(self.atoms.name(block), host) for block in blocks], text.partition("/")[2]
        return text

    def segment(self, segment: str, host: str) -> object:
        """A segment: that of a host alone by the host's bridges on it, another by its name."""
        pairs = self.places.site.bridges_of.get(segment, ())
        if all(name == host for name, _ in pairs) and (pairs or segment.startswith(f"{host}/")):
            return tuple(bridge for _, bridge in pairs) or (segment.removeprefix(f"{host}/"),)
        return segment

    def way(self, whom: Attachment | None, of: Attachment) -> tuple[str, str]:
        """Somebody on a segment as one of its attachments sees him: the kind, and who."""
        if whom is None or whom.is_outside:
            return ("nobody" if whom is None else "outside"), ""
        if (whom.kind, whom.owner) == (of.kind, of.owner):
            return "itself", whom.interface
        if whom.kind == "host" and whom.owner == of.host:
            return "its host", whom.interface
        return whom.kind, whom.owner


def _texts(machine: Machine) -> Iterator[tuple[str, str]]:
    root = machine.folder.root(machine.inside)
    for path in sorted(machine.folder.files):
        if path.startswith(root) and path[len(root) :].startswith(DECIDING):
            yield path[len(root) :], machine.folder.files[path]
    if machine.inside is None:
        for network in libvirt_network.networks(machine.folder):
            yield f"libvirt/{network.file}", repr(network)
        for other in machine.networks.values():
            yield f"libvirt {other.file}", repr(other)


def _bridges(machine: Machine) -> Sequence[str]:
    return [name for name in dict.fromkeys(machine.interfaces()) if machine.is_bridge(name)]
