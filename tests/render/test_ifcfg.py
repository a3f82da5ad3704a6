"""ifcfg, route and route6 files: whole files as text, and what a shell makes of them."""

from __future__ import annotations

import itertools
import string
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from kvmgen.artifact import Kind
from kvmgen.diagnostics import Origin
from kvmgen.model.host import Addressing, Bond, Bridge, Ethernet, Firewall, Node, Sysctl, Vlan, Zone
from kvmgen.model.platform import Platform
from kvmgen.model.values import Dns, Mac, Route
from kvmgen.render import ifcfg
from kvmgen.render._ifcfg_keys import quoted
from tests.render.builders import host, uuid
from tests.render.shell import SHELLS, sourced

ORIGIN = Origin("hosts/kvm01.yaml")
HEADER = "# Made by kvmgen from inventory/hosts/kvm01.yaml: edit that and build again.\n"
EL8_HEADER = HEADER + "# Needs the package network-scripts: NetworkManager leaves this link alone.\n"


NO_ADDRESS = Addressing()


def static(*addresses: str, routes: tuple[Route, ...] = ()) -> Addressing:
    return Addressing(addresses=tuple(map(ip_interface, addresses)), routes=routes)


def route(to: str, via: str, metric: int | None = None) -> Route:
    return Route(to=None if to == "default" else ip_network(to), via=ip_address(via), metric=metric)


def eth(name: str = "eno1", addressing: Addressing = NO_ADDRESS, **said: Any) -> Ethernet:
    return Ethernet(name=name, origin=ORIGIN, uuid=uuid(name), addressing=addressing, **said)


def bridge(name: str = "br0", addressing: Addressing = NO_ADDRESS, **said: Any) -> Bridge:
    usual: dict[str, Any] = {"ports": (), "stp": False, "forward_delay": 0, "segment": name}
    return Bridge(name=name, origin=ORIGIN, uuid=uuid(name), addressing=addressing, **usual | said)


def machine(platform: str, **said: Any) -> Node:
    return host(platform=Platform.parse(platform), **said)


def written(node: Node) -> dict[str, str]:
    """The files by name; what holds for all of them is checked on the way."""
    texts = {}
    for file in ifcfg.files(node):
        assert (file.kind, file.mode) == (Kind.LINK, 0o644)
        folder, _, name = file.path.rpartition("/")
        assert folder == ("etc/sysconfig" if name == "network" else ifcfg.FOLDER)
        texts[name] = file.text
    return texts


def lines(node: Node, link: str) -> set[str]:
    return set(written(node)[f"ifcfg-{link}"].splitlines())


def layered(platform: str) -> Node:
    """NICs, a bond, a VLAN on it, a bridge on each."""
    return machine(
        platform,
        dns=Dns(servers=(ip_address("192.168.10.1"), ip_address("2001:db8::53")), search=("example.org", "lab.org")),
        ethernets=(
            eth(mac=Mac("00:25:90:13:ba:a0"), bond="bond0", ethtool="speed 1000 duplex full autoneg off"),
            eth("eno2", bond="bond0"),
        ),
        bonds=(
            Bond(
                name="bond0",
                origin=ORIGIN,
                uuid=uuid("bond0"),
                mtu=9000,
                bridge="br0",
                ports=("eno1", "eno2"),
                options=(("mode", "active-backup"), ("miimon", "100")),
            ),
        ),
        vlans=(Vlan(name="bond0.11", origin=ORIGIN, uuid=uuid("bond0.11"), bridge="br11", parent="bond0", id=11),),
        bridges=(
            bridge(
                ports=("bond0",),
                mtu=9000,
                zone="internal",
                addressing=static(
                    "192.168.200.11/24",
                    "10.9.9.9/32",
                    "2001:db8:200::11/64",
                    "2001:db8:200::12/64",
                    "192.168.201.11/25",
                    routes=(
                        route("default", "192.168.200.1"),
                        route("10.0.0.0/8", "192.168.200.2", 50),
                        route("default", "fe80::1"),
                        route("2001:db8:9::/48", "2001:db8:200::2"),
                    ),
                ),
            ),
            bridge("br11", ports=("bond0.11",), stp=True, forward_delay=4),
        ),
    )


COMMON = "ONBOOT=yes\nNM_CONTROLLED=no\nUSERCTL=no\n"
PORT = "BOOTPROTO=none\nIPV6INIT=no\n"


def test_every_layer_on_el7() -> None:
    assert written(layered("el7")) == {
        "ifcfg-eno1": f"""{HEADER}DEVICE=eno1
TYPE=Ethernet
HWADDR=00:25:90:13:BA:A0
ETHTOOL_OPTS="speed 1000 duplex full autoneg off"
{COMMON}MASTER=bond0
SLAVE=yes
{PORT}""",
        "ifcfg-eno2": f"""{HEADER}DEVICE=eno2
TYPE=Ethernet
{COMMON}MASTER=bond0
SLAVE=yes
{PORT}""",
        "ifcfg-bond0": f"""{HEADER}DEVICE=bond0
TYPE=Bond
BONDING_MASTER=yes
BONDING_OPTS="mode=active-backup miimon=100"
{COMMON}MTU=9000
BRIDGE=br0
{PORT}""",
        "ifcfg-bond0.11": f"""{HEADER}DEVICE=bond0.11
TYPE=Vlan
VLAN=yes
PHYSDEV=bond0
VLAN_ID=11
VID=11
{COMMON}BRIDGE=br11
{PORT}""",
        "ifcfg-br0": f"""{HEADER}DEVICE=br0
TYPE=Bridge
STP=no
DELAY=0
{COMMON}MTU=9000
ZONE=internal
BOOTPROTO=none
IPADDR=192.168.200.11
PREFIX=24
IPADDR1=10.9.9.9
PREFIX1=32
IPADDR2=192.168.201.11
PREFIX2=25
GATEWAY=192.168.200.1
NOZEROCONF=yes
IPV6INIT=yes
IPV6_AUTOCONF=no
IPV6ADDR=2001:db8:200::11/64
IPV6ADDR_SECONDARIES=2001:db8:200::12/64
IPV6_DEFAULTGW=fe80::1%br0
DNS1=192.168.10.1
DNS2=2001:db8::53
DOMAIN="example.org lab.org"
""",
        "route-br0": f"{HEADER}10.0.0.0/8 via 192.168.200.2 dev br0 metric 50\n",
        "route6-br0": f"{HEADER}2001:db8:9::/48 via 2001:db8:200::2 dev br0\n",
        "ifcfg-br11": f"""{HEADER}DEVICE=br11
TYPE=Bridge
STP=yes
DELAY=4
{COMMON}BOOTPROTO=none
NOZEROCONF=yes
IPV6INIT=yes
IPV6_AUTOCONF=no
""",
    }


def test_el6_has_global_settings_and_no_zones() -> None:
    files = written(layered("el6"))
    expected = f"{HEADER}NETWORKING=yes\nNETWORKING_IPV6=yes\nHOSTNAME=kvm01\n"
    assert files.pop("network") == expected
    el7 = written(layered("el7"))
    assert files == {**el7, "ifcfg-br0": el7["ifcfg-br0"].replace("ZONE=internal\n", "")}


def test_el8_names_its_package_and_counts_delays_in_centiseconds() -> None:
    routes = ("route-br0", "route6-br0")
    el7 = {name: text for name, text in written(layered("el7")).items() if name not in routes}
    el8 = {name: text for name, text in written(layered("el8")).items() if name not in routes}
    delayed = el7["ifcfg-br11"].replace("DELAY=4", 'BRIDGING_OPTS="forward_delay=400"')
    assert el8 == {name: text.replace(HEADER, EL8_HEADER) for name, text in {**el7, "ifcfg-br11": delayed}.items()}


def test_stp_off_keeps_a_delay_in_the_releases_unit() -> None:
    def delay(platform: str) -> set[str]:
        slow = machine(platform, bridges=(bridge(forward_delay=15),))
        return {line for line in lines(slow, "br0") if "DELAY" in line}

    assert (delay("el6"), delay("el7"), delay("el8")) == ({"DELAY=15"}, {"DELAY=15"}, {"DELAY=1500"})


def test_dhcp_links_share_one_default_route_and_leave_the_resolver_alone() -> None:
    node = machine(
        "el7",
        dns=Dns(servers=(ip_address("192.0.2.53"),)),
        ethernets=(
            eth("eth0", Addressing(dhcp4=True, dhcp6=True, accept_ra=True)),
            eth("eth1", Addressing(dhcp4=True)),
        ),
        sysctl=(Sysctl(key="net.ipv6.conf.all.forwarding", value="1", origin=ORIGIN),),
    )
    assert (
        written(node)["ifcfg-eth0"]
        == f"""{HEADER}DEVICE=eth0
TYPE=Ethernet
{COMMON}BOOTPROTO=dhcp
NOZEROCONF=yes
IPV6INIT=yes
IPV6_AUTOCONF=yes
IPV6FORWARDING=yes
DHCPV6C=yes
DNS1=192.0.2.53
PEERDNS=no
RESOLV_MODS=yes
"""
    )
    assert lines(node, "eth1") >= {"BOOTPROTO=dhcp", "DEFROUTE=no", "IPV6_AUTOCONF=no", "PEERDNS=no"}
    assert not lines(node, "eth1") & {"DNS1=192.0.2.53", "RESOLV_MODS=yes"}


def test_a_static_default_route_takes_dns_and_default_from_dhcp_links() -> None:
    out = route("default", "10.0.0.10", 7)
    node = machine(
        "el6",
        dns=Dns(search=("dmz.nausch.org",)),
        ethernets=(eth("eth0", Addressing(dhcp4=True)), eth("eth1", static("10.0.0.20/24", routes=(out,)))),
    )
    assert "DEFROUTE=no" in lines(node, "eth0")
    assert lines(node, "eth1") >= {"GATEWAY=10.0.0.10", "METRIC=7", "DOMAIN=dmz.nausch.org"}
    assert not any(line.startswith("PEERDNS") for line in lines(node, "eth0"))


@pytest.mark.parametrize(
    ("addressing", "name", "expected"),
    [
        pytest.param(
            static("192.0.2.9/24", "198.51.100.9/24", routes=(route("default", "198.51.100.1"),)),
            "route-eth0",
            "default via 198.51.100.1 dev eth0\n",
            id="a gateway outside the first subnet",
        ),
        pytest.param(
            Addressing(dhcp4=True, routes=(route("default", "192.0.2.1"),)),
            "route-eth0",
            "default via 192.0.2.1 dev eth0\n",
            id="a gateway of a DHCP link",
        ),
        pytest.param(
            static("2001:db8::9/64", routes=(route("default", "fe80::1", 5),)),
            "route6-eth0",
            "default via fe80::1 dev eth0 metric 5\n",
            id="an IPv6 gateway with a metric",
        ),
    ],
)
def test_default_routes_that_no_key_can_say(addressing: Addressing, name: str, expected: str) -> None:
    node = machine("el7", ethernets=(eth("eth0", addressing),))
    assert written(node)[name] == HEADER + expected
    assert not any("GATEWAY" in line or "DEFAULTGW" in line for line in lines(node, "eth0"))


def test_a_link_that_only_a_zone_names_says_its_zone_too() -> None:
    guests = Zone(name="br0", origin=ORIGIN, interfaces=("br0",))
    node = machine("el8.5", bridges=(bridge(),), firewall=Firewall(origin=ORIGIN, zones=(guests,)))
    assert "ZONE=br0" in lines(node, "br0")


HOSTILE = (
    "$(touch x)",
    "`touch x`",
    '"; touch x; "',
    "'; touch x; '",
    "a\\",
    'a\\"; touch x #',
    "$HOME ${x:=y} $((1)) ~ * ! # & | > x < y",
    "a=b",
    " ",
    "",
)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_shell_reads_what_was_meant_and_runs_nothing(hostile: str, shell: tuple[str, ...], tmp_path: Path) -> None:
    node = machine(
        "el7",
        dns=Dns(search=(hostile, "b")),
        ethernets=(eth("eth0", static("192.0.2.9/24"), ethtool=hostile),),
    )
    assert sourced(written(node)["ifcfg-eth0"], shell, tmp_path) == {
        "DEVICE": "eth0",
        "TYPE": "Ethernet",
        "ETHTOOL_OPTS": hostile,
        "ONBOOT": "yes",
        "NM_CONTROLLED": "no",
        "USERCTL": "no",
        "BOOTPROTO": "none",
        "IPADDR": "192.0.2.9",
        "PREFIX": "24",
        "NOZEROCONF": "yes",
        "IPV6INIT": "yes",
        "IPV6_AUTOCONF": "no",
        "DOMAIN": f"{hostile} b",
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_every_pair_of_characters_survives_quoting(shell: tuple[str, ...], tmp_path: Path) -> None:
    characters = string.ascii_letters[:2] + string.digits[:1] + string.punctuation + " \t"
    values = {f"V{number}": "".join(pair) for number, pair in enumerate(itertools.product(characters, repeat=2))}
    text = "".join(f"{name}={quoted(value)}\n" for name, value in values.items())
    assert sourced(text, shell, tmp_path) == values


@pytest.mark.parametrize("platform", ["el6", "el7", "el8"])
def test_what_scripts_grep_for_stands_only_where_it_is_meant(platform: str) -> None:
    for name, text in written(layered(platform)).items():
        comments = [line for line in text.splitlines() if line.startswith("#")]
        assert not any("=" in line for line in comments), name
        for key in ("DEVICE=", "TYPE=", "SLAVE=", "NM_CONTROLLED="):
            assert sum(key in line for line in text.splitlines()) <= 1, name
