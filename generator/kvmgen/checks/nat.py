"""Address translation by hand."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from kvmgen.checks._iptables import written
from kvmgen.checks._words import Words
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.host import Host
from kvmgen.model.network import Forward, VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.model.values import Network

NAT_BY_HAND = Rule(code="KV631", title="NAT by hand where libvirt does it", severity=Severity.WARNING)


def by_hand(site: Site) -> Iterator[Diagnostic]:
    """libvirt translates what a nat network sends to others; a rule without that exception also changes the rest.

    It leaves out the network itself, multicast and broadcast. `-s NETWORK -j MASQUERADE` alone also rewrites what
    guests say to each other where bridge netfilter is on, and what they say to the host.

    Bad::

        # hosts/kvm01.yaml
        - family: ipv4
          rule: "-s 192.168.122.0/24 -j MASQUERADE"

    Good::

        # hosts/kvm01.yaml
        - family: ipv4
          rule: "-s 192.168.122.0/24 ! -d 192.168.122.0/24 -j MASQUERADE"

    Source: https://libvirt.org/firewall.html (the virtual network driver).
    """
    for node, rule, read in written(site):
        if (rule.table, rule.chain) == ("nat", "POSTROUTING") and isinstance(node, Host) and _translates_all(read):
            sender = _subnet(read.value("-s"))
            network = _translated(site, node, sender) if sender is not None else None
            if network is not None:
                yield Diagnostic(
                    rule=NAT_BY_HAND,
                    message=f"libvirt translates for the network {network.name!r} already; this rule also rewrites "
                    "what its guests say to each other and to the host",
                    hint=f"Remove the rule, or leave the network itself out: '! -d {sender}'.",
                    origin=rule.origin.at("rule"),
                    related=((network.at("addresses"), "the network"),),
                )


def _translates_all(read: Words) -> bool:
    """Whether nothing limits where the packets go."""
    return read.target in ("MASQUERADE", "SNAT") and not read.get("-d") and not read.get("-o")


def _subnet(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if text else None
    except ValueError:
        return None


def _translated(site: Site, host: Host, sender: Network) -> VirtualNetwork | None:
    """The nat network that some of the senders are in."""
    for network in site.networks.get(host.name, {}).values():
        for address in network.addresses if network.forward is Forward.NAT else ():
            if address.version == sender.version and address.ip in sender:
                translated = address.version == 4 or (network.nat is not None and network.nat.ipv6)
                return network if translated else None
    return None
