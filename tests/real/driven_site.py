"""A small site around each generated document, and what is generated to be put into it.

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

from tests.expectations import CASES, copy
from tests.real.driven_values import HOSTS, KNOWN, VARIABLES, one_of
from tests.schema_strategy import Strategy, documents
from tests.sites import write

Files = dict[str, Any]
"""Documents by their files; the generated one comes first."""

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
        "policies/few.yaml": "allow-in: [{tcp: 22, from: host, connections: 3}, ping]\nallow-out: [dns]\n",
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
    always: tuple[Files, ...] = ()
    """What is there whatever is drawn: what is drawn too seldom for a small sample to have it."""


@st.composite
def _sites(draw: st.DrawFn) -> Files:
    data = draw(_documents("site"))
    user = {"hosts": ["kvm01"], "profile": min(data["profiles"])} if data.get("profiles") else {"hosts": ["kvm01"]}
    return {"site.yaml": data, "guests/new.yaml": user}


@st.composite
def _hosts(draw: st.DrawFn, platform: str) -> Files:
    data = {**draw(_documents("host")), "platform": platform}
    if draw(one_of(True, True, True, False)):
        _hang_together(data)
    bridges = sorted(data.get("bridges", {}))
    nics = {"eth0": {"network": "of-new", "addresses": ["198.18.0.20/24"]}}
    if bridges:
        reference = {"name": "web", "parameters": {"PORTS": "80"}}
        nics["eth1"] = {"bridge": bridges[0], **draw(one_of({}, {"filter": reference}))}
    network = {
        "hosts": {"new": {}},
        "forward": "isolated",
        "bridge": {"name": "virbr9"},
        "addresses": ["198.18.0.1/24"],
    }
    guest = {"hosts": ["new"], "interfaces": nics}
    return {"hosts/new.yaml": data, "networks/of-new.yaml": network, "guests/of-new.yaml": guest}


NO_FIREWALL_WORDS: Mapping[str, tuple[str, ...]] = {
    "el6": ("zones", "policies", "ipv6-rpfilter"),
    "el7": ("policies", "chain-policies"),
    "el9.4": ("direct", "chains", "chain-policies"),
}


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
    lacking = NO_FIREWALL_WORDS.get(data["platform"], ("chain-policies",))
    for key in lacking:
        data.get("firewall", {}).pop(key, None)


NOT_BRIDGED = ("forward-dev", "nat", "guest-ipv6", "addresses", "dhcp", "domain", "domain-local-only", "dns", "routes")
"""What libvirt refuses on a bridge of the host's."""


@st.composite
def _networks(draw: st.DrawFn) -> Files:
    data = draw(_documents("network"))
    if data["forward"] == "bridge" and draw(one_of(True, True, False)):
        data = {key: data[key] for key in data if key not in NOT_BRIDGED} | {"bridge": {"name": "br1"}}
    home = min(data["hosts"])
    nic = {"network": "new", **draw(one_of({}, {"addresses": ["198.51.100.40/24", "2001:db8:1::40/64"]}))}
    guest = {"hosts": [home], "interfaces": {"eth0": nic}}
    return {"networks/new.yaml": data, **({"guests/on-new.yaml": guest} if draw(st.booleans()) else {})}


ON_DEVICES = ("libvirt-name", "uuid", "managed", "segment", "vlan", "portgroups", "autostart")
"""What a network has whose guests are on devices of the host."""


@st.composite
def _device_networks(draw: st.DrawFn) -> Files:
    """Networks by macvtap, of virtual functions, and on a bridge of Open vSwitch, each with a guest."""
    mode = draw(one_of("hostdev", "hostdev", "private", "vepa", "passthrough", "openvswitch", "bridge"))
    way = draw(one_of(*(("pci-addresses", "pf") if mode == "hostdev" else ("devices", "devices", "devices", "pf"))))
    data = draw(_documents("network"))
    kept = ON_DEVICES if draw(one_of(True, True, True, False)) else data.keys()
    made = {"pf": "eno2", "devices": ["eno2"], "pci-addresses": ["0000:07:10.0"]}
    plug = {"bridge": {"name": "ovs0"}} if mode == "openvswitch" else {way: data.get(way, made[way])}
    forward = "bridge" if mode == "openvswitch" else mode
    data = {key: value for key, value in data.items() if key in kept} | plug
    data |= {"hosts": {"new": {}}, "forward": forward}
    if mode != "hostdev":
        data.pop("managed", None)
    nic = {"network": "new", **draw(one_of({"anti-spoofing": "none"}, {"anti-spoofing": "none", "vlan": 7}, {}))}
    bridges = {"ovs0": {"openvswitch": True}, "br0": {}, "br1": {}}
    host = {"platform": "el9.4", "ethernets": {"eno1": {}, "eno2": {}}, "bridges": bridges}
    return {
        "networks/new.yaml": data,
        "hosts/new.yaml": host,
        "guests/on-new.yaml": {"hosts": ["new"], "interfaces": {"eth0": nic}},
    }


def _guests() -> Strategy:
    return _documents("guest").map(lambda data: {"guests/new.yaml": data})


@st.composite
def _insides(draw: st.DrawFn) -> Files:
    data = draw(_documents("guest")) | {"platform": draw(one_of("el6", "el7", "el8", "el8.6", "el9", "el10"))}
    if "sysctl" not in data and draw(st.booleans()):
        data["sysctl"] = {"net.ipv4.ip_forward": 1}
    return {"guests/new.yaml": data}


@st.composite
def _filters(draw: st.DrawFn) -> Files:
    data = draw(_documents("filter"))
    used = set(re.findall(r"\$([A-Za-z0-9_]+)", json.dumps(data)))
    parameters = {name: value for name, value in VARIABLES.items() if name in used}
    reference = {"name": "new", "parameters": parameters}
    addresses = draw(one_of([], [], ["192.0.2.30/24"], ["192.0.2.30/24", "2001:db8::30/64"]))
    nic = {"bridge": "br0", "filter": reference, **({"addresses": addresses} if addresses else {})}
    return {
        "filters/new.yaml": data,
        "guests/uses-new.yaml": {"hosts": [draw(one_of(*HOSTS))], "interfaces": {"eth0": nic}},
    }


@st.composite
def _policies(draw: st.DrawFn) -> Files:
    data = draw(_documents("policy"))
    addresses = draw(one_of(["192.0.2.30/24"], ["192.0.2.30/24", "2001:db8::30/64"]))
    nic = {"bridge": "br0", "addresses": addresses, "policies": draw(one_of(["new"], ["few", "new"]))}
    return {
        "policies/new.yaml": data,
        "guests/chooses-new.yaml": {"hosts": [draw(one_of(*HOSTS))], "interfaces": {"eth0": nic}},
    }


_FAR = {
    "ethernets": {"eno1": {"addresses": ["198.51.100.1/24"], "routes": [{"to": "10.0.0.0/8", "via": "198.51.100.9"}]}}
}
_DIRECT = {"firewall": {"direct": [{"family": "both", "chain": "INPUT", "rule": "-p tcp --dport 25 -j DROP"}]}}
_APART = {"ethernets": {"eno1": {}}, "bridges": {"br0": {"ports": ["eno1"], "isolation": "guests"}}}
_FUNCTIONS = {"hosts": {"new": {}}, "forward": "hostdev", "pci-addresses": ["0000:07:10.0", "0001:81:1f.7"]}

SUBJECTS: Mapping[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject("site", "site", _sites()),
        Subject("host-el6", "host", _hosts("el6"), ({"hosts/new.yaml": {"platform": "el6", **_FAR, **_DIRECT}},)),
        Subject("host-el7", "host", _hosts("el7")),
        Subject("host-el8.6", "host", _hosts("el8.6")),
        Subject("host-el9.4", "host", _hosts("el9.4"), ({"hosts/new.yaml": {"platform": "el9.4", **_APART}},)),
        Subject("network", "network", _networks()),
        Subject(
            "network-devices",
            "network",
            _device_networks(),
            ({"networks/new.yaml": _FUNCTIONS, "hosts/new.yaml": {"platform": "el9.4"}},),
        ),
        Subject("guest", "guest", _guests()),
        Subject("inside", "guest", _insides()),
        Subject("filter", "filter", _filters()),
        Subject("policy", "policy", _policies()),
    )
}
