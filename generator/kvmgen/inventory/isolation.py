"""Lowering `isolation`: what keeps the guests of a bridge apart where the host's iptables chains must do it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from kvmgen.model.host import Bridge, DirectRule, Firewall, Host

EARLY = -10_000
"""The priority of isolating rules: before every rule of the inventory, none of which can make an exception."""


def isolated(host: Host) -> Firewall | None:
    """A host's packet filter with what its bridges' ``isolation`` asks of iptables.

    Up to el8 that is a rule in table mangle, which comes before all that libvirt and firewalld accept in table filter;
    the bridge's own ports are left out, for they lead to the uplink. From el9 on nftables sees the frames themselves
    and needs nothing here.
    """
    bridges = [bridge for bridge in host.bridges if bridge.isolation]
    if not bridges or host.platform.isolates_by_nftables:
        return host.firewall
    firewall = host.firewall or Firewall(origin=host.origin)
    return replace(firewall, rules=(*_rules(bridges), *firewall.rules))


def _rules(bridges: Iterable[Bridge]) -> Iterator[DirectRule]:
    for bridge in bridges:
        uplinks = " -m physdev".join(f" ! --physdev-in {port} ! --physdev-out {port}" for port in bridge.ports)
        for family in ("ipv4", "ipv6"):
            yield DirectRule(
                family=family,
                table="mangle",
                chain="FORWARD",
                priority=EARLY,
                rule=f"-i {bridge.name} -o {bridge.name} -m physdev --physdev-is-bridged{uplinks} -j DROP",
                origin=bridge.origin.at("isolation"),
                why=f"Guests on {bridge.name} don't reach each other. In table mangle, where no accept of libvirt's "
                "can come first; ARP never comes here, and passes.",
            )
