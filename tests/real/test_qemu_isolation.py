"""el9's isolation on a kernel that has all of it: the rendered table, and who still reaches whom.

All words in one boot: `guests` on a bridge with two uplinks and on one without any, `all`, `groups`, and a network
that libvirt runs. Each guest, and what is behind an uplink, is a network namespace; a pair of guests on a bridge of
their own shows that the table is about the named bridges alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from kvmgen.inventory.isolation import tap_in_group
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
GROUPS = {"web": "shop", "db": "shop", "desk": "back-office"}
WEB, DB, DESK = (tap_in_group(group, guest, "eth0") for guest, group in GROUPS.items())
BRIDGES = {
    "br11": ("g1", "g2", "up1", "up2"),
    "br12": ("g3", "g4"),
    "br13": ("g5", "g6"),
    "br14": ("g7", "g8", "up4"),
    "br15": (WEB, DB, DESK, "g9", "up5"),
    "virbr1": ("n1", "n2"),
}
ISOLATED: dict[str, tuple[str, tuple[str, ...]]] = {
    "br11": ("guests", ("up1", "up2")),
    "br12": ("guests", ()),
    "br14": ("all", ("up4",)),
    "br15": ("groups", ("up5",)),
}
"""The isolated bridges of the host: the word, and the ports that the inventory gives them."""

RULES = 8
"""One for each bridge and group, and one for each IP version of the network."""

APART = [("g1", "g2"), ("g2", "g1"), ("g3", "g4"), ("g7", "g8"), ("g7", "up4"), ("up4", "g8")]
APART += [(WEB, DESK), (DESK, DB), ("g9", WEB), (DB, "g9")]
TOGETHER = [("g1", "up1"), ("g2", "up2"), ("up1", "g2"), ("up1", "up2"), ("g5", "g6")]
TOGETHER += [(WEB, DB), (DB, WEB), (DESK, "up5"), ("up5", WEB), ("g9", "up5")]
TO_THE_HOST = [("g1", "br11"), ("g3", "br12"), ("g7", "br14"), ("n1", "virbr1")]
BY_THE_HOST = [("n1", "n2"), ("n2", "n1")]
"""Guests whose ports libvirt isolates, and who ask the host to route for them."""

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
    for number, (guest, bridge) in enumerate(TO_THE_HOST, 100):
        lines.append(f"ip address add 192.0.2.{number}/32 dev {bridge}")
        lines.append(f"ip route replace 192.0.2.{numbers[guest]}/32 dev {bridge}")
    lines += by_the_host(numbers)
    lines += probes("before", numbers) + ["nft -f /table || exit 1"] * 2 + probes("after", numbers)
    lines.append("nft list table bridge kvmgen | grep -c ibrname")
    return "\n".join(lines)


def by_the_host(numbers: Mapping[str, int]) -> list[str]:
    """The host forwards, and the guests on libvirt's bridge know each other by it alone."""
    lines = ["echo 1 >/proc/sys/net/ipv4/ip_forward", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"]
    lines += [f"echo 0 >/proc/sys/net/ipv4/conf/{name}/send_redirects" for name in ("all", "virbr1")]
    lines.append("ip address add 2001:db8::103/128 dev virbr1 nodad")
    for one, other in BY_THE_HOST:
        lines.append(f"ip link set {one} type bridge_slave isolated on")
        for start, version in (("192.0.2.", "-4"), ("2001:db8::", "-6")):
            to = f"{start}{numbers[other]}"
            lines.append(f"ip {version} route replace {to} dev virbr1")
            lines.append(f"ip -n {one} {version} route add {to} via {start}103 dev eth0")
    return lines


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
    ip += [
        f"reaches '{moment} routed {version} {one} {other}' {one} {start}{numbers[other]} &"
        for one, other in BY_THE_HOST
        for version, start in (("IPv4", "192.0.2."), ("IPv6", "2001:db8::"))
    ]
    return [*arp, "wait", *known, *ip, "wait"]


def table(folder: Path) -> str:
    """What the compiler writes for a host with these bridges."""
    links: dict[str, dict[str, object]] = {"ethernets": {port: {} for _, ports in ISOLATED.values() for port in ports}}
    links["bridges"] = {name: {"ports": list(ports), "isolation": word} for name, (word, ports) in ISOLATED.items()}
    network = {"forward": "route", "bridge": {"name": "virbr1"}, "addresses": ["192.0.2.103/24", "2001:db8::103/64"]}
    files = {
        "site.yaml": SITE,
        "hosts/kvm01.yaml": json.dumps({"platform": "el9", **links}),
        "networks/apart.yaml": json.dumps({"hosts": {"kvm01": {}}, **network, "isolation": "guests"}),
    }
    for guest, group in GROUPS.items():
        interfaces = {"eth0": {"bridge": "br15", "isolation-group": group}}
        files[f"guests/{guest}.yaml"] = json.dumps({"hosts": ["kvm01"], "memory": "1 GiB", "interfaces": interfaces})
    site = load(write(folder, files)).site
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
    for way in (f"routed {version} {one} {other}" for one, other in BY_THE_HOST for version in ("IPv4", "IPv6")):
        expected |= {f"before {way} passes", f"after {way} is stopped"}
    assert set(told) - expected == {str(RULES)}
    assert expected - set(told) == set()
