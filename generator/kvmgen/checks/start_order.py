"""Packets between two networks of a host: what an older libvirt says of them depends on the order of their start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kvmgen.checks._words import Option, words
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.host import DirectRule, Host
from kvmgen.model.network import Forward, VirtualNetwork
from kvmgen.model.platform import Version
from kvmgen.model.site import Site

MAY_BE_REACHED = Rule(
    code="KV347", title="A network that others get into if it started first", severity=Severity.WARNING
)

_OWN_CHAINS: Version = (5, 1)
"""From this libvirt on what rejects comes first, whichever network started when."""

_LEAD_OUT = (Forward.NAT, Forward.ROUTE)
_FLOWS = ({"ESTABLISHED", "RELATED"}, {"NEW"}, {"NEW", "INVALID"})
_STATES = ("--ctstate", "--state")


def may_be_reached(site: Site) -> Iterator[Diagnostic]:
    """Before 5.1 libvirt puts each network's rules on top of those of the networks that started before it.

    A NAT or routed network's rules accept whatever its guests send, and stand above the reject of a network that
    started earlier: then its guests get into an isolated network and are answered, and open connections to the guests
    of another NAT network; what an isolated guest sends gets into a routed network. Networks that start with their host
    do so in no fixed order, so that each start of libvirtd may decide anew. Table mangle is asked first: a drop there
    holds in any order.

    Bad::

        # hosts/kvm01.yaml
        platform: el7

        # networks/backup.yaml
        hosts: {kvm01: {}}
        forward: isolated
        bridge: {name: virbr9}
        addresses: [192.168.9.1/24]

        # networks/default.yaml
        hosts: {kvm01: {}}
        forward: nat

    Good::

        # hosts/kvm01.yaml
        platform: el7
        firewall:
          direct:
            - {family: both, table: mangle, chain: FORWARD, rule: "! -i virbr9 -o virbr9 -j DROP"}
            - {family: both, table: mangle, chain: FORWARD, rule: "-i virbr9 ! -o virbr9 -j DROP"}

        # networks/backup.yaml
        hosts: {kvm01: {}}
        forward: isolated
        bridge: {name: virbr9}
        addresses: [192.168.9.1/24]

        # networks/default.yaml
        hosts: {kvm01: {}}
        forward: nat

    Source: https://libvirt.org/firewall.html and https://libvirt.org/news.html (5.1.0: private chains for networks).
    """
    alike: dict[tuple[object, ...], list[_Reached]] = {}
    for reached in _reached(site):
        names = [other.name for other in reached.others]
        alike.setdefault((reached.network.at("forward"), reached.network.bridge, *names), []).append(reached)
    for several in alike.values():
        yield _told(several)


class _Reached(NamedTuple):
    """A network on a host, and those whose guests may get into it."""

    host: Host
    network: VirtualNetwork
    others: Sequence[VirtualNetwork]


def _reached(site: Site) -> Iterator[_Reached]:
    for name, host in site.hosts.items():
        if host.platform.libvirt < _OWN_CHAINS:
            carried = list(site.networks.get(name, {}).values())
            for network in carried:
                others = [other for other in carried if other is not network and _gets_in(host, other, network)]
                if others:
                    yield _Reached(host, network, others)


def _gets_in(host: Host, other: VirtualNetwork, network: VirtualNetwork) -> bool:
    """Whether the rules of one accept what the rules of the other reject, and nothing before them drops it."""
    if other.forward not in _LEAD_OUT or other.forward_dev is not None or other.bridge == network.bridge:
        return False
    versions = {own.version for own in other.addresses} & {own.version for own in network.addresses}
    if network.forward is Forward.ISOLATED:
        return any(
            not _is_dropped(host, version, other.bridge, network.bridge)
            or (_is_open(other, version) and not _is_dropped(host, version, network.bridge, other.bridge))
            for version in versions
        )
    # The IPv6 of a NAT network is routed by so old a libvirt, and anybody may ask its guests.
    return network.forward is Forward.NAT and 4 in versions and not _is_dropped(host, 4, other.bridge, network.bridge)


def _is_open(network: VirtualNetwork, version: int) -> bool:
    """Whether its rules accept new connections to its guests."""
    return network.forward is Forward.ROUTE or version == 6


def _is_dropped(host: Host, version: int, came_in: str, leaves: str) -> bool:
    rules = host.firewall.rules if host.firewall else ()
    return any(
        (rule.family, rule.table, rule.chain) == (f"ipv{version}", "mangle", "FORWARD")
        and _drops(rule, came_in, leaves)
        for rule in rules
    )


def _drops(rule: DirectRule, came_in: str, leaves: str) -> bool:
    """Whether a rule drops every new connection from one bridge to another."""
    read = words(rule.rule)
    return read.target == "DROP" and all(_fits(option, came_in, leaves) for option in read.conditions)


def _fits(option: Option, came_in: str, leaves: str) -> bool:
    if option.name in ("-i", "-o"):
        name = came_in if option.name == "-i" else leaves
        start = option.value.removesuffix("+")
        return (name.startswith(start) if option.value.endswith("+") else name == start) != option.negated
    if option.name in _STATES:
        states = set(option.value.upper().split(","))
        return states == _FLOWS[0] if option.negated else states in _FLOWS[1:]
    return False


def _told(several: Sequence[_Reached]) -> Diagnostic:
    host, network, others = several[0]
    bridge, whose = network.bridge, f"{', '.join(other.name for other in others)} of {host.name}"
    if len(several) > 1:
        whose += f" and {len(several) - 1} more"
    if network.forward is Forward.ISOLATED:
        message = f"guests on {whose} reach this isolated network whenever it started before theirs"
        rules = [f"! -i {bridge} -o {bridge} -j DROP", f"-i {bridge} ! -o {bridge} -j DROP"]
        rest = " Or leave `addresses` out, where the guests need no DHCP and no host."
    else:
        message = f"guests on {whose} open connections into this NAT network whenever it started before theirs"
        rules = [f"! -i {bridge} -o {bridge} -m conntrack --ctstate NEW -j DROP"]
        rest = ""
    lines = " and ".join(f'{{family: both, table: mangle, chain: FORWARD, rule: "{rule}"}}' for rule in rules)
    libvirt = ".".join(map(str, host.platform.libvirt))
    return Diagnostic(
        rule=MAY_BE_REACHED,
        message=f"{message}: in libvirt {libvirt} the rules of the last one come first",
        hint=f"Write under `firewall: direct` of the host: {lines}.{rest}",
        origin=network.at("forward"),
        related=tuple((other.at("forward"), "a network whose guests get in") for other in others),
    )
