"""Interfaces that packet filter rules name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType

from kvmgen.checks._iptables import what_follows, written
from kvmgen.checks._words import Option
from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.host import DirectRule, Host, Node
from kvmgen.model.site import Site

NO_INTERFACE = Rule(code="KV610", title="A rule for an interface that the machine doesn't have")
NOT_KNOWN_THERE = Rule(code="KV611", title="A rule that asks for an interface too early or too late")

_MADE_BY_OTHERS = (
    *("virbr", "vnet", "macvtap", "macvlan", "tun", "tap", "wg", "ppp", "ipsec", "docker", "podman", "cni", "veth"),
    *(
        "vxlan",
        "geneve",
        "gre",
        "sit",
        "ip6tnl",
        "ipip",
        "l2tp",
        "dummy",
        "ifb",
        "ib",
        "wl",
        "ww",
        "nm-",
        "team",
        "lxc",
        "ovs",
    ),
)
"""How the names of interfaces begin that libvirt, guests, VPNs and containers bring along."""

_INSIDE_GUESTS = (*_MADE_BY_OTHERS, "br", "bond", "vlan")
"""What a guest may have inside beside its NICs, which is all that the inventory knows of."""


def no_interface(site: Site) -> Iterator[Diagnostic]:
    """A rule for an interface that isn't there is loaded without a word and never fits a packet.

    One letter too few, and what was to be dropped passes. Known are the machine's links, the bridges of its networks,
    its guests' `target` names, and what libvirt, VPNs and containers bring along (vnet0, virbr0, tun0); a `+` at the
    end stands for any continuation.

    Bad::

        # hosts/kvm01.yaml
        - {family: both, table: mangle, chain: FORWARD, rule: "-i bro -p tcp --dport 25 -j DROP"}

    Good::

        # hosts/kvm01.yaml
        - {family: both, table: mangle, chain: FORWARD, rule: "-i br0 -p tcp --dport 25 -j DROP"}

    Source: iptables(8), `--in-interface` (https://man7.org/linux/man-pages/man8/iptables.8.html).
    """
    known = Interfaces(site)
    for node, rule, read in written(site):
        for option in read.options:
            if option.name in _NAMES_ONE and option.value and not known.has(node, option.value):
                yield _told(known, node, rule, option)


_NAMES_ONE = ("-i", "-o", "--physdev-in", "--physdev-out")


def _told(known: Interfaces, node: Node, rule: DirectRule, option: Option) -> Diagnostic:
    effect = "fits every packet" if option.negated else "never fits a packet"
    return Diagnostic(
        rule=NO_INTERFACE,
        message=f"{node.name} has no interface {option.value!r}: '{option.name} {option.value}' {effect}",
        hint=f"There is: {', '.join(known.of(node)) or 'none yet'}.",
        origin=rule.origin.at("rule"),
    )


class Interfaces:
    """The names of interfaces that each machine has; only asked for where a rule or setting names one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._found: dict[int, tuple[str, ...]] = {}

    def of(self, node: Node) -> tuple[str, ...]:
        """Those that the inventory gives a machine: its links and, on a host, its networks' bridges."""
        if id(node) not in self._found:
            networks = self._site.networks.get(node.name, {}) if isinstance(node, Host) else {}
            links = (*(link.name for link in node.links), *(network.bridge for network in networks.values()))
            self._found[id(node)] = tuple(name for name in dict.fromkeys(links) if name)
        return self._found[id(node)]

    def has(self, node: Node, name: str) -> bool:
        """Whether a machine has an interface of that name, or may have; ``+`` at its end stands for any ending."""
        if name in self.of(node) or name in ("lo", "+"):
            return True
        prefixes = _MADE_BY_OTHERS if isinstance(node, Host) else _INSIDE_GUESTS
        if name.startswith(prefixes):
            return True
        if not isinstance(node, Host):
            return self._is_like(name, (*self.of(node), "lo", *prefixes)) or name.partition(".")[0] in self.of(node)
        dummy = name.removesuffix("-nic") in self.of(node)  # which libvirt up to el7 adds to its bridges
        taps = self._targets.get(node.name, frozenset())
        return dummy or name in taps or self._is_like(name, (*self.of(node), "lo", *taps, *prefixes))

    @staticmethod
    def _is_like(name: str, names: tuple[str, ...]) -> bool:
        return name.endswith("+") and any(other.startswith(name[:-1]) for other in names)

    @cached_property
    def _targets(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = {name: set() for name in self._site.hosts}
        for guest, nic in self._site.nics():
            for host in guest.hosts if nic.target else ():
                found.setdefault(host, set()).add(nic.target or "")
        return MappingProxyType({host: frozenset(targets) for host, targets in found.items()})


def not_known_there(site: Site) -> Iterator[Diagnostic]:
    """INPUT and PREROUTING stand before a packet's way out is known, OUTPUT and POSTROUTING behind its way in.

    iptables refuses `-o` in INPUT, and with it the whole file. firewalld's iptables backend hides the mistake in a
    chain of its own, where the rule never fits a packet.

    Bad::

        # hosts/kvm01.yaml
        - {family: both, chain: INPUT, rule: "-o br0 -p tcp --dport 25 -j DROP"}

    Good::

        # hosts/kvm01.yaml
        - {family: both, chain: INPUT, rule: "-i br0 -p tcp --dport 25 -j DROP"}

    Source: iptables(8), `--out-interface` (https://man7.org/linux/man-pages/man8/iptables.8.html).
    """
    for node, rule, read in written(site):
        unknown = _UNKNOWN_IN.get(rule.chain, "")
        if unknown and read.get(unknown):
            follows = "it never fits a packet" if node.platform.major == 7 else what_follows(node)
            yield Diagnostic(
                rule=NOT_KNOWN_THERE,
                message=f"'{unknown}' can't be asked for in chain {rule.chain}; {follows}",
                hint="Use '-i' in PREROUTING and INPUT, '-o' in OUTPUT and POSTROUTING, both in FORWARD.",
                origin=rule.origin.at("rule"),
            )


_UNKNOWN_IN: Mapping[str, str] = MappingProxyType(
    {"INPUT": "-o", "PREROUTING": "-o", "OUTPUT": "-i", "POSTROUTING": "-i"}
)
