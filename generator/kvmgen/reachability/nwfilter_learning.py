"""What libvirt lets through while it waits for a guest's DHCP lease.

Source: ``ebtablesApplyDHCPOnlyRules`` in
https://gitlab.com/libvirt/libvirt/-/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvmgen.reachability.nwfilter_ebtables import RECEIVED, SENT, chain_name
from kvmgen.reachability.nwfilter_match import Condition, Line
from kvmgen.reachability.nwfilter_values import ETHERTYPES, PROTOCOLS, Said
from kvmgen.reachability.step import Cause

_BROADCAST = "ff:ff:ff:ff:ff:ff"
_CAUSE = Cause(file="libvirt:CTRL_IP_LEARNING", text="only DHCP, until the guest has a lease")


def dhcp_only(mac: str, servers: Sequence[str]) -> Iterator[Line]:
    """The rules of a tap whose guest has no address yet; the servers are those of ``DHCPSERVER``, if it is given."""
    yield _accept(SENT, [_mac("source-mac", "-s", mac), *_dhcp(68, 67)])
    yield _drop(SENT)
    for server in servers or [""]:
        for receiver in (mac, _BROADCAST):
            yield _accept(RECEIVED, [_mac("target-mac", "-d", receiver), *_dhcp(67, 68, server)])
    yield _drop(RECEIVED)


def _accept(letter: str, conditions: Sequence[Condition]) -> Line:
    return Line(
        layer="ebtables",
        chain=chain_name(letter, "root"),
        conditions=tuple(conditions),
        target="ACCEPT",
        cause=_CAUSE,
    )


def _drop(letter: str) -> Line:
    return Line(layer="ebtables", chain=chain_name(letter, "root"), conditions=(), target="DROP", cause=_CAUSE)


def _mac(kind: str, option: str, mac: str) -> Condition:
    wanted = Said({"mac": mac}, frozenset(), negated=False).mac_and_mask("mac", "")
    return Condition(kind, wanted, f"{option} {mac}")


def _dhcp(source: int, target: int, server: str = "") -> Iterator[Condition]:
    yield Condition("ethertype", ETHERTYPES["ipv4"], "-p ipv4")
    yield Condition("bridged-protocol", PROTOCOLS["udp"], "--ip-protocol udp")
    if server:
        wanted = Said({"server": server}, frozenset(("server",)), negated=False).network("server", "", 4)
        yield Condition("source", wanted, f"--ip-src {server}")
    yield Condition("bridged-source-port", (source, source), f"--ip-sport {source}")
    yield Condition("bridged-target-port", (target, target), f"--ip-dport {target}")
