"""A small site around each generated document, and what the strategies know of it: its names, and values that fit.

`SUBJECTS` are what is generated: a document of each kind, with companions that use it where it would go unread alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st

from kvmgen.inventory.filters import ATTRIBUTES
from tests.expectations import CASES, copy
from tests.schema_strategy import Known, Strategy, documents, usually
from tests.sites import write

Files = dict[str, Any]
"""Documents by their files; the generated one comes first."""

HOSTS = ("kvm01", "kvm06", "kvm07", "kvm09")

AROUND: Mapping[str, str] = MappingProxyType(
    {
        "site.yaml": "name: example\ndomain: example.org\nprofiles: {small: {memory: 512 MiB}}\n",
        **{
            f"hosts/{name}.yaml": f"platform: {platform}\nethernets: {{eno1: {{}}, eno2: {{}}}}\n"
            "bridges: {br0: {ports: [eno1]}, br1: {}}\n"
            for name, platform in (("kvm06", "el6"), ("kvm07", "el7"), ("kvm09", "el9.4"))
        },
        "networks/default.yaml": "hosts:\n"
        "  kvm01: {portgroups: {gold: {}, closed: {isolated: true}}}\n"
        "  kvm06: {}\n  kvm07: {}\n"
        "  kvm09: {portgroups: {gold: {}, closed: {isolated: true}}}\n"
        "forward: nat\nbridge: {name: virbr0}\naddresses: [192.168.122.1/24]\n"
        "dhcp: {ranges: [192.168.122.100-192.168.122.254]}\nportgroups: {gold: {}}\n",
        "networks/lan.yaml": "hosts: {kvm01: {}, kvm06: {}, kvm07: {}, kvm09: {}}\nforward: bridge\n"
        "bridge: {name: br0}\n",
        "filters/web.yaml": "rules:\n"
        "  - {priority: 400, action: accept, direction: in, tcp: {dstportstart: $PORTS}}\n"
        "  - {priority: 1000, action: drop, direction: inout, all: {}}\n"
        "  - {priority: 1000, action: drop, direction: inout, all-ipv6: {}}\n",
    }
)
"""What stands over `tests/cases/base`: hosts of other releases, a bridged network, port groups, a filter, a profile."""


def site(folder: Path) -> Path:
    """Write the site that each document is put into."""
    copy(CASES / "base", folder)
    return write(folder, AROUND)


# -- what is known -----------------------------------------------------------------------------------------------------


def _one(*values: Any) -> Strategy:
    return st.sampled_from(values)


_IPV4, _IPV6 = st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)
_COMMON: Mapping[str, Strategy] = {
    "common#ip": usually(
        _one("192.0.2.254", "192.0.2.53", "198.51.100.254", "2001:db8::1", "2001:db8:1::9", "fe80::1"),
        st.one_of(_IPV4, _IPV6),
    ),
    "common#address": usually(
        _one("198.51.100.1/24", "203.0.113.7/28", "10.9.0.1/16", "2001:db8:1::1/64", "192.0.2.77/24", "fe80::7/64"),
        st.builds("{}/{}".format, _IPV4, st.integers(8, 32)) | st.builds("{}/{}".format, _IPV6, st.integers(8, 128)),
    ),
    "common#segment": usually(
        _one("198.51.100.0/24", "203.0.113.0/28", "2001:db8:2::/64", "192.0.2.64/26"),
        st.builds("{}/32".format, _IPV4) | st.builds("{}/128".format, _IPV6),
    ),
    "common#address-range": _one(
        "198.51.100.100-198.51.100.200", "198.51.100.9 - 198.51.100.20", "2001:db8:1::100-2001:db8:1::1ff"
    ),
    "common#port-range": _one("1024-65535", "40000-40009"),
    "common#mac": _one("52:54:00:24:4c:ee", "52:54:00:AA:BB:CC", "00:16:3e:00:00:01"),
    "common#mtu": _one(1280, 1400, 1500, 9000),
    "common#domain": _one("example.org", "lab.example.org", "www", "a-b.example.net"),
    "common#memory": _one("512 MiB", "1 GiB", "2048 MiB", "524288 KiB"),
    "common#zone": _one("public", "dmz", "internal"),
    "common#uuid": _one("1c3384c7-093a-5689-2cf3-320ef716ba2e", "00000000-0000-4000-8000-000000000001"),
}
_SYSCTL = {
    "KEY": _one("net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net/ipv4/conf/eno1.7/rp_filter", "kernel.panic"),
    "*": _one(0, 1, 2, "1", "4096 87380 6291456"),
}

_LINKS = _one("eno1", "eno2", "bond0", "bond0.7", "br0")
_DEFAULT = {"to": "default", "via": "198.51.100.254"}
_FAR = {"to": "10.0.0.0/8", "via": "198.51.100.9", "metric": 50}
_FAR6, _DEFAULT6 = {"to": "2001:db8:9::/48", "via": "2001:db8:1::9"}, {"to": "default", "via": "fe80::1"}
_ROUTES = _one([_DEFAULT], [_FAR], [_DEFAULT, _FAR, _FAR6, _DEFAULT6], [_FAR6], [_FAR, _DEFAULT6], [])
_SEVERAL = ["198.51.100.1/24", "203.0.113.7/28", "2001:db8:1::1/64"]
_LINK_ADDRESSES = _one(_SEVERAL, _SEVERAL, ["198.51.100.1/24"], ["2001:db8:1::1/64"], [])


@st.composite
def _rules(draw: st.DrawFn) -> str:
    """Words that iptables may take behind a chain's name."""
    parts = [
        st.sampled_from(("", "", "", "-i eno1", "-o eno1", "! -i lo", "-i br0 -o br0")),
        st.sampled_from(("", "", "-s 192.0.2.0/24", "! -d 192.0.2.9", "-s 2001:db8::/64", "-d 192.0.2.9-192.0.2.20")),
        st.sampled_from(
            ("", "-p tcp --dport 25", "-p udp --sport 1024:65535", "-p icmp", "-p tcp -m multiport --dports 22,80")
        ),
        st.sampled_from(
            ("", "", "-m physdev --physdev-is-bridged", "-m state --state NEW", "-m conntrack --ctstate RELATED")
        ),
        st.sampled_from(("", '-m comment --comment "two words"', "-m limit --limit 5/min")),
        st.sampled_from(
            ("-j ACCEPT", "-j DROP", "-j DROP", "-j REJECT", "-j own", "-j LOG", "-j MASQUERADE", "-j RETURN", "-g own")
        ),
    ]
    return " ".join(part for part in map(draw, parts) if part)


_HOST: Mapping[str, Strategy] = {
    "host/hostname": _one("new.example.org", "new"),
    "host/management": _LINKS,
    "host/memory": _one("64 GiB", "8192 MiB"),
    "host/ethernets/KEY": _one("eno1", "eno2", "ens1f0", "em1"),
    "host/ethernets/*/ethtool": _one("speed 1000 duplex full autoneg off", "autoneg on"),
    "host/bonds/KEY": _one("bond0", "bond1"),
    "host/bonds/*/ports": _one(["eno1"], ["eno1", "eno2"], ["ens1f0"]),
    "host/bonds/*/mode": _one("active-backup", "balance-xor", "802.3ad", "balance-rr"),
    "host/bonds/*/miimon": _one(100),
    "host/bonds/*/updelay": _one(200),
    "host/bonds/*/downdelay": _one(0, 100),
    "host/bonds/*/primary": _one("eno1"),
    "host/vlans/KEY": _one("eno1.7", "bond0.7", "eno2.8"),
    "host/bridges/KEY": _one("br0", "br1", "lan"),
    "host/bridges/*/ports": _one([], ["eno1"], ["eno2"], ["bond0"], ["bond0.7"]),
    "host/bridges/*/segment": _one("lan", "dmz"),
    **{f"host/{kind}/*/addresses": _LINK_ADDRESSES for kind in ("ethernets", "bonds", "vlans", "bridges")},
    **{f"host/{kind}/*/routes": _ROUTES for kind in ("ethernets", "bonds", "vlans", "bridges")},
    **{f"host/sysctl/{key}": values for key, values in _SYSCTL.items()},
    "host/firewall/direct/0/rule": _rules(),
    "host/firewall/direct/0/chain": _one("INPUT", "INPUT", "FORWARD", "FORWARD", "OUTPUT", "POSTROUTING", "own"),
    "host/firewall/direct/0/table": _one("filter", "filter", "filter", "mangle", "nat"),
    "host/firewall/chains": _one([{"family": "both", "chain": "own"}]),
    "host/firewall/zones/*/services/0": _one("ssh", "http", "dns", "https", "our-own"),
    "host/firewall/zones/*/ports/0": _one("22/tcp", "5900-5999/tcp", "53/udp"),
}

_LEASES = _one(
    {"mac": "52:54:00:24:4c:ee", "address": "198.51.100.30"},
    {"mac": "52:54:00:24:4c:ef", "name": "printer", "address": "198.51.100.31"},
    {"name": "printer6", "address": "2001:db8:1::30"},
    {"id": "00:03:00:01:52:54:00:24:4c:ee", "address": "2001:db8:1::31"},
)
_NETWORK: Mapping[str, Strategy] = {
    "network/hosts": st.dictionaries(
        _one(*HOSTS), _one({}, {}, {"autostart": False}, {"bridge": {"name": "virbr7"}}), min_size=1, max_size=2
    ),
    "network/hosts/KEY": _one(*HOSTS),
    "network/uuid": _one("1c3384c7-093a-5689-2cf3-320ef716ba2e"),
    "network/libvirt-name": _one("new", "lab", "net.1"),
    "network/forward-dev": _one("eno1", "eno2", "br0"),
    "network/bridge/name": _one("virbr5", "virbr6", "br1"),
    "network/addresses": _one(
        ["198.51.100.1/24"], ["198.51.100.1/24", "2001:db8:1::1/64"], ["2001:db8:1::1/64"], ["10.9.0.1/16"]
    ),
    "network/dhcp/hosts/0": _LEASES,
    "network/dhcp/bootp/file": _one("pxelinux.0"),
    "network/dhcp/tftp": _one("/srv/tftp"),
    "network/routes/0": _one(
        {"to": "10.0.0.0/8", "via": "198.51.100.9"}, {"to": "2001:db8:9::/48", "via": "2001:db8:1::9", "metric": 2}
    ),
    "network/nat/addresses": _one("203.0.113.1-203.0.113.9"),
    "network/portgroups/KEY": _one("gold", "closed", "p-1"),
}

_GUEST: Mapping[str, Strategy] = {
    "guest/hosts": _one(*([name] for name in HOSTS), ["kvm07", "kvm01"]),
    "guest/profile": _one("small"),
    "guest/machine": _one("pc-q35-rhel8.6.0", "pc-i440fx-rhel7.6.0", "rhel6.6.0", "pc-q35-rhel9.4.0"),
    "guest/vcpus": _one(1, 2, 4),
    "guest/cpu/topology": _one({"sockets": 1, "cores": 1, "threads": 1}, {"sockets": 1, "cores": 2, "threads": 1}),
    "guest/platform": _one("el6", "el7", "el8", "el8.6", "el9"),
    "guest/graphics/1/listen": _one("127.0.0.1", "::1"),
    "guest/disks/KEY": _one("vda", "vdb", "sda", "hda", "hdc", "fda"),
    "guest/disks/*/file": _one("/srv/images/new.qcow2", "/srv/two words & <more>.img"),
    "guest/disks/*/dev": _one("/dev/vg0/new"),
    "guest/disks/*/volume": _one("new.qcow2"),
    "guest/interfaces/KEY": _one("eth0", "eth1", "eth2", "ens3"),
    "guest/interfaces/*/network": _one("default", "default", "lan"),
    "guest/interfaces/*/portgroup": _one("gold", "closed"),
    "guest/interfaces/*/bridge": _one("br0", "br1"),
    "guest/interfaces/*/addresses": _one(
        ["192.168.122.20/24"], ["192.168.122.21/24", "192.168.122.22/24"], ["192.0.2.30/24", "2001:db8::30/64"], []
    ),
    "guest/interfaces/*/routes": _one([], [{"to": "default", "via": "192.168.122.1"}]),
    "guest/interfaces/*/filter": _one(
        "clean-traffic", "kvmgen-anti-spoofing", {"name": "web", "parameters": {"PORTS": ["22", "80"]}}
    ),
    "guest/interfaces/*/target": _one("tap-new", "new0"),
    "guest/interfaces/*/pci": _one("00:03.0", "00:10.0", "01:00.0", "02:00.0"),
    **{f"guest/sysctl/{key}": values for key, values in _SYSCTL.items()},
}

_SITE: Mapping[str, Strategy] = {
    "site/profiles/KEY": _one("small", "large"),
    "site/defaults/hosts/platform": _one("el8", "el9.4"),
    **{f"site/defaults/hosts/sysctl/{key}": values for key, values in _SYSCTL.items()},
    **{
        f"site/{place}/{way.removeprefix('guest/')}": values
        for way, values in _GUEST.items()
        for place in ("defaults/guests", "profiles/*")
        if way.split("/")[1] in ("machine", "vcpus", "cpu", "platform", "sysctl")
    },
}

_VARIABLES: Mapping[str, Any] = {
    "PORTS": ["22", "80"],
    "ADDR": "192.0.2.7",
    "ADDR6": ["2001:db8::7", "2001:db8::8"],
    "MASK": "24",
    "PEER": "52:54:00:00:00:07",
}
"""The variables of generated filters beside kvmgen's own (IP, IPV6, MAC), and what their user gives for them."""

_FILTER: Mapping[str, Strategy] = {
    "filter/chain": _one("root", "root", "mac", "vlan", "stp", "arp-own", "rarp", "ipv4", "ipv6-own"),
    "filter/rules/0/then/filter": _one("clean-traffic", "kvmgen-anti-spoofing", "kvmgen-neighbour-discovery", "web"),
    "filter/rules/0/then/parameters": _one({}, {"PORTS": ["22", "80"]}, {"IP": "192.0.2.7"}),
    "filter/rules/0/else/priority": st.integers(-1000, 1000),
    "filter#uint16": _one(22, 80, 443, 1024, 65535, "0x50", "$PORTS", "$PORTS[@1]"),
    "filter#connlimit-above": _one(1, 2, 10),
    "filter#ipv4": _one("192.0.2.9", "198.51.100.20", "$IP", "$ADDR"),
    "filter#ipv6": _one("2001:db8::9", "fe80::1", "::", "$IPV6", "$ADDR6", "$ADDR6[@2]"),
    "filter#ipv4-mask": _one(24, 32, "255.255.255.0", "$MASK"),
    "filter#ipv6-mask": _one(64, 128, "ffff:ffff::", "$MASK"),
    "filter#mac": _one("52:54:00:24:4c:ee", "ff:ff:ff:ff:ff:ff", "$MAC", "$PEER"),
    **dict.fromkeys(("filter#srcmacmask", "filter#dstmacmask"), _one("ff:ff:ff:ff:ff:ff", "ff:ff:ff:00:00:00")),
    "filter#ipset": _one("friends", "a set"),
    "filter#ipv6-dstipto": _one("$ADDR6"),
}

KNOWN = Known(
    values={**_COMMON, **_HOST, **_NETWORK, **_GUEST, **_FILTER, **_SITE},
    wanted={
        "site": [("defaults",), ("profiles",), ("defaults", "profiles")],
        "site/defaults": [("hosts", "guests"), ("guests",)],
        **{
            place: [("memory", "current-memory"), ("cpu", "vcpus"), ("platform", "dns"), ("graphics", "video"), ()]
            for place in ("site/defaults/guests", "site/profiles/*")
        },
        "host": [
            ("ethernets", "bridges"),
            ("ethernets", "bonds"),
            ("ethernets", "vlans"),
            ("ethernets", "firewall"),
            ("bridges", "firewall", "sysctl"),
            ("firewall",),
        ],
        "host/ethernets/*": [(), (), ("addresses",), ("addresses", "routes")],
        "host/bonds/*": [("miimon",), ("miimon", "addresses"), ("miimon", "addresses", "routes")],
        "host/vlans/*": [(), ("addresses",), ("addresses", "routes")],
        "host/bridges/*": [("ports",), ("addresses",), ("ports", "addresses"), ("ports", "addresses", "routes")],
        "host/firewall": [("direct",), ("chains", "direct"), ("zones",), ("policies",)],
        "network": [("bridge", "addresses"), ("bridge", "addresses", "dhcp"), ("bridge",)],
        "network/bridge": [("name",)],
        "guest": [("interfaces",), ("disks",), ("interfaces", "disks"), ("interfaces", "platform")],
        "guest/disks/*": [("file",), ("dev",), ("volume",)],
        "guest/interfaces/*": [("network",), ("bridge",), ("network", "addresses"), ("bridge", "addresses", "routes")],
        "filter/rules/0/else": [(protocol,) for protocol in ATTRIBUTES],
    },
    either={
        "guest/disks/*": [("file", "dev", "volume"), ("file", "pool"), ("dev", "pool"), ("dev", "format")],
        "guest/interfaces/*": [("network", "bridge"), ("bridge", "portgroup"), ("filter", "anti-spoofing")],
    },
)


@cache
def _documents(kind: str) -> Strategy:
    return documents(kind, KNOWN)


# -- what is generated -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of document in its surroundings, under a name."""

    name: str
    kind: str
    files: st.SearchStrategy[Files]


@st.composite
def _sites(draw: st.DrawFn) -> Files:
    data = draw(_documents("site"))
    user = {"hosts": ["kvm01"], "profile": min(data["profiles"])} if data.get("profiles") else {"hosts": ["kvm01"]}
    return {"site.yaml": data, "guests/new.yaml": user}


@st.composite
def _hosts(draw: st.DrawFn, platform: str) -> Files:
    data = {**draw(_documents("host")), "platform": platform}
    if draw(_one(True, True, True, False)):
        _hang_together(data)
    bridges = sorted(data.get("bridges", {}))
    nics = {"eth0": {"network": "of-new", "addresses": ["198.18.0.20/24"]}}
    if bridges:
        reference = {"name": "web", "parameters": {"PORTS": "80"}}
        nics["eth1"] = {"bridge": bridges[0], **draw(_one({}, {"filter": reference}))}
    network = {
        "hosts": {"new": {}},
        "forward": "isolated",
        "bridge": {"name": "virbr9"},
        "addresses": ["198.18.0.1/24"],
    }
    guest = {"hosts": ["new"], "interfaces": nics}
    return {"hosts/new.yaml": data, "networks/of-new.yaml": network, "guests/of-new.yaml": guest}


def _hang_together(data: Files) -> None:
    """Let the links that a host's links name be there."""
    for name, vlan in data.get("vlans", {}).items():
        parent, _, number = name.rpartition(".")
        if parent and number.isdecimal() and 0 < int(number) < 4095:
            vlan |= {"parent": parent, "id": int(number)}
    uppers = (link for kind in ("bonds", "bridges") for link in data.get(kind, {}).values())
    named = {port for link in uppers for port in link.get("ports", ())}
    named |= {vlan["parent"] for vlan in data.get("vlans", {}).values()}
    named |= {data["management"]} if "management" in data else set()
    there = {name for kind in ("bonds", "vlans", "bridges") for name in data.get(kind, {})}
    for name in sorted(named - there):
        data.setdefault("ethernets", {}).setdefault(name, {})
    lacking = {"el6": ("zones",), "el9.4": ("direct", "chains", "policies")}.get(data["platform"], ("policies",))
    for key in lacking:
        data.get("firewall", {}).pop(key, None)


NOT_BRIDGED = ("forward-dev", "nat", "guest-ipv6", "addresses", "dhcp", "domain", "domain-local-only", "dns", "routes")
"""What libvirt refuses on a bridge of the host's."""


@st.composite
def _networks(draw: st.DrawFn) -> Files:
    data = draw(_documents("network"))
    if data["forward"] == "bridge" and draw(_one(True, True, False)):
        data = {key: data[key] for key in data if key not in NOT_BRIDGED} | {"bridge": {"name": "br1"}}
    home = min(data["hosts"])
    nic = {"network": "new", **draw(_one({}, {"addresses": ["198.51.100.40/24", "2001:db8:1::40/64"]}))}
    guest = {"hosts": [home], "interfaces": {"eth0": nic}}
    return {"networks/new.yaml": data, **({"guests/on-new.yaml": guest} if draw(st.booleans()) else {})}


def _guests() -> Strategy:
    return _documents("guest").map(lambda data: {"guests/new.yaml": data})


@st.composite
def _insides(draw: st.DrawFn) -> Files:
    data = draw(_documents("guest")) | {"platform": draw(_one("el6", "el7", "el8", "el8.6"))}
    if "sysctl" not in data and draw(st.booleans()):
        data["sysctl"] = {"net.ipv4.ip_forward": 1}
    return {"guests/new.yaml": data}


@st.composite
def _filters(draw: st.DrawFn) -> Files:
    data = draw(_documents("filter"))
    used = set(re.findall(r"\$([A-Za-z0-9_]+)", json.dumps(data)))
    parameters = {name: value for name, value in _VARIABLES.items() if name in used}
    reference = {"name": "new", "parameters": parameters}
    addresses = draw(_one([], [], ["192.0.2.30/24"], ["192.0.2.30/24", "2001:db8::30/64"]))
    nic = {"bridge": "br0", "filter": reference, **({"addresses": addresses} if addresses else {})}
    return {
        "filters/new.yaml": data,
        "guests/uses-new.yaml": {"hosts": [draw(_one(*HOSTS))], "interfaces": {"eth0": nic}},
    }


SUBJECTS: Mapping[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject("site", "site", _sites()),
        Subject("host-el6", "host", _hosts("el6")),
        Subject("host-el7", "host", _hosts("el7")),
        Subject("host-el8.6", "host", _hosts("el8.6")),
        Subject("host-el9.4", "host", _hosts("el9.4")),
        Subject("network", "network", _networks()),
        Subject("guest", "guest", _guests()),
        Subject("inside", "guest", _insides()),
        Subject("filter", "filter", _filters()),
    )
}
