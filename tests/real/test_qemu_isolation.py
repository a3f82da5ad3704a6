"""el9's isolation on a kernel that has all of it: the rendered table, and who still reaches whom.

Two bridges in one boot: one with two uplinks, one without any. Each guest, and what is behind an uplink, is a network
namespace; a second pair of guests on a bridge of their own shows that the table is about the named bridges alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from kvmgen.model.site import views
from kvmgen.pipeline import load
from kvmgen.render import nftables, render
from tests.lab.machine import run_in_machine
from tests.sites import SITE, write

pytestmark = pytest.mark.real

MODULES = (
    "lib/libcrc32c",
    "net/netfilter/nfnetlink",
    "net/netfilter/nf_tables",
    "net/bridge/netfilter/nft_meta_bridge",
    "drivers/net/veth",
)
BRIDGES = {"br11": ("g1", "g2", "up1", "up2"), "br12": ("g3", "g4"), "br13": ("g5", "g6")}
ISOLATED = {"br11": ("up1", "up2"), "br12": ()}
"""The isolated bridges, and the ports that the inventory gives them."""

APART = [("g1", "g2"), ("g2", "g1"), ("g3", "g4")]
TOGETHER = [("g1", "up1"), ("g2", "up2"), ("up1", "g2"), ("up1", "up2"), ("g5", "g6")]
TO_THE_HOST = [("g1", "br11"), ("g3", "br12")]

SETUP = """
mkdir -p /var/run /run
attach() {  # BRIDGE PORT NUMBER
    ip netns add $2
    ip link add $2 type veth peer name eth0 netns $2 address 52:54:00:00:00:0$3
    ip link set $2 master $1 up
    ip -n $2 link set lo up
    ip -n $2 address add 192.0.2.$3/24 dev eth0
    ip -n $2 address add 2001:db8::$3/64 dev eth0 nodad
    ip -n $2 link set eth0 up
}
reaches() {  # WHAT FROM ADDRESS
    ip netns exec $2 ping -q -n -c 1 -W 2 $3 >/dev/null && echo "$1 passes" || echo "$1 is stopped"
}
introduce() {  # FROM TO NUMBER: no need to ask for its MAC
    ip -n $1 neighbour replace 192.0.2.$3 lladdr 52:54:00:00:00:0$3 dev eth0 nud permanent
    ip -n $1 neighbour replace 2001:db8::$3 lladdr 52:54:00:00:00:0$3 dev eth0 nud permanent
}
asks() {  # WHAT FROM NUMBER
    ip -n $2 neighbour del 192.0.2.$3 dev eth0 2>/dev/null
    ip netns exec $2 ping -q -n -c 1 -W 2 192.0.2.$3 >/dev/null
    ip -n $2 neighbour show 192.0.2.$3 | grep -q lladdr && echo "$1 passes" || echo "$1 is stopped"
}
"""


def script() -> str:
    numbers = {port: number for number, port in enumerate((port for ports in BRIDGES.values() for port in ports), 1)}
    lines = [SETUP]
    for bridge, ports in BRIDGES.items():
        lines += [f"ip link add {bridge} type bridge", f"ip link set {bridge} up"]
        lines += [f"attach {bridge} {port} {numbers[port]}" for port in ports]
    lines += ["ip address add 192.0.2.100/32 dev br11", "ip address add 192.0.2.101/32 dev br12"]
    lines += ["ip route add 192.0.2.1/32 dev br11", "ip route add 192.0.2.5/32 dev br12"]
    lines += probes("before", numbers) + ["nft -f /table || exit 1"] * 2 + probes("after", numbers)
    lines.append("nft list table bridge kvmgen | grep -c ibrname")
    return "\n".join(lines)


def probes(moment: str, numbers: Mapping[str, int]) -> list[str]:
    """ARP first; then IP between guests that know each other's MACs, so that it isn't for want of those."""
    pairs = (*APART, *TOGETHER)
    arp = [f"asks '{moment} ARP {one} {other}' {one} {numbers[other]} &" for one, other in pairs]
    known = [f"introduce {one} {other} {numbers[other]}" for pair in pairs for one, other in (pair, pair[::-1])]
    ip = [
        f"reaches '{moment} {version} {one} {other}' {one} {start}{numbers[other]} &"
        for one, other in pairs
        for version, start in (("IPv4", "192.0.2."), ("IPv6", "2001:db8::"))
    ]
    ip += [f"reaches '{moment} IPv4 {one} {at}' {one} 192.0.2.{100 + n} &" for n, (one, at) in enumerate(TO_THE_HOST)]
    return [*arp, "wait", *known, *ip, "wait"]


def table(folder: Path) -> str:
    """What the compiler writes for a host with these bridges."""
    links: dict[str, dict[str, object]] = {"ethernets": {port: {} for ports in ISOLATED.values() for port in ports}}
    links["bridges"] = {name: {"ports": list(ports), "isolation": "guests"} for name, ports in ISOLATED.items()}
    inventory = write(folder, {"site.yaml": SITE, "hosts/kvm01.yaml": json.dumps({"platform": "el9", **links})})
    site = load(inventory).site
    assert site is not None
    (view,) = views(site)
    (text,) = (file.text for file in render(view) if file.path == nftables.PATH)
    return text


def test_guests_are_apart_and_all_else_goes_on(tmp_path: Path) -> None:
    needed = {"table": table(tmp_path)}
    told = run_in_machine(script(), needed, programs=("nft", "ping", "mkdir", "grep"), modules=MODULES).splitlines()
    ways = [f"{protocol} {one} {other}" for one, other in (*APART, *TOGETHER) for protocol in ("ARP", "IPv4", "IPv6")]
    ways += [f"IPv4 {one} {other}" for one, other in TO_THE_HOST]
    apart = {f"{protocol} {one} {other}" for one, other in APART for protocol in ("ARP", "IPv4", "IPv6")}
    expected = {f"before {way} passes" for way in ways}
    expected |= {f"after {way} is stopped" if way in apart else f"after {way} passes" for way in ways}
    assert set(told) - expected == {str(len(ISOLATED))}
    assert expected - set(told) == set()
