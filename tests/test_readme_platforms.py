"""The table of what each platform can, held to what is compiled and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from kvmgen.pipeline import validate
from tests import readme
from tests.sites import SITE, write

PLATFORMS = ("el6", "el7", "el8", "el9", "el10")
HEADING = f"| feature | {' | '.join(PLATFORMS)} |"

Files = Mapping[str, Mapping[str, Any]]

BASE: Files = {
    "hosts/kvm01.yaml": {
        "ethernets": {"eno1": {}, "eno2": {}, "eno3": {}},
        "bridges": {"br0": {"ports": ["eno1"], "addresses": ["2001:db8::11/64"]}},
    },
    "networks/default.yaml": {
        "hosts": {"kvm01": {}},
        "forward": "nat",
        "bridge": {"name": "virbr0"},
        "addresses": ["192.168.122.1/24"],
    },
    "guests/web01.yaml": {
        "hosts": ["kvm01"],
        "memory": "1 GiB",
        "disks": {"vda": {"file": "/srv/web01.qcow2"}},
        "interfaces": {"eth0": {"bridge": "br0", "addresses": ["192.0.2.20/24", "2001:db8::20/64"]}},
    },
}

POOL = {"bridge": None, "addresses": None}
ON_POOL = {"interfaces": {"eth0": {"bridge": None, "addresses": None, "network": "default", "anti-spoofing": "none"}}}
DROP = {"priority": 1000, "action": "drop", "direction": "inout"}
SSH = {"priority": 500, "action": "accept", "direction": "in", "tcp": {"dstportstart": 22}}
WEB = {"rules": [SSH, {**DROP, "all": {}}, {**DROP, "all-ipv6": {}}]}

SAID: dict[str, Files] = {
    "bonds, VLANs and bridges": {
        "hosts/kvm01.yaml": {
            "bonds": {"bond0": {"ports": ["eno2", "eno3"], "mode": "active-backup", "miimon": 100}},
            "vlans": {"bond0.11": {"parent": "bond0", "id": 11}},
            "bridges": {"br11": {"ports": ["bond0.11"]}},
        }
    },
    "networks: nat, route, isolated, bridge": {},
    "networks: open": {"networks/default.yaml": {"forward": "open"}},
    "networks: NAT of IPv6": {"networks/default.yaml": {"addresses": ["fd00:122::1/64"], "nat": {"ipv6": True}}},
    "networks and guests: isolated ports": {"networks/default.yaml": {"isolated-ports": True}},
    "networks: macvtap": {
        "networks/default.yaml": {**POOL, "forward": "private", "devices": ["eno2"]},
        "guests/web01.yaml": ON_POOL,
    },
    "networks: SR-IOV pools": {
        "networks/default.yaml": {**POOL, "forward": "hostdev", "pf": "eno2"},
        "guests/web01.yaml": ON_POOL,
    },
    "bridges: Open vSwitch": {
        "hosts/kvm01.yaml": {"bridges": {"ovs0": {"ports": ["eno2"], "openvswitch": True}}},
        "guests/web01.yaml": {"interfaces": {"eth0": {"bridge": "ovs0", "vlan": 11, "anti-spoofing": "none"}}},
    },
    "bridges: a guest's VLAN on a Linux bridge": {
        "hosts/kvm01.yaml": {"bridges": {"br0": {"vlans": [11]}}},
        "guests/web01.yaml": {"interfaces": {"eth0": {"vlan": 11}}},
    },
    "bridges: `isolation: guests`": {"hosts/kvm01.yaml": {"bridges": {"br0": {"isolation": "guests"}}}},
    "bridges: `isolation: groups`": {
        "hosts/kvm01.yaml": {"bridges": {"br0": {"isolation": "groups"}}},
        "guests/web01.yaml": {"interfaces": {"eth0": {"isolation-group": "shop"}}},
    },
    "bridges: `isolation: all`": {
        "hosts/kvm01.yaml": {"bridges": {"br0": {"isolation": "all", "addresses": ["192.0.2.1/24", "2001:db8::11/64"]}}}
    },
    "networks: `isolation: guests`, `groups`": {
        "networks/default.yaml": {"isolation": "groups"},
        "guests/web01.yaml": {"interfaces": {"eth0": None, "eth1": {"network": "default", "isolation-group": "shop"}}},
    },
    "guests: anti-spoofing, IPv4 and IPv6": {},
    "guests: whole segments as senders": {
        "guests/web01.yaml": {"interfaces": {"eth0": {"allowed-addresses": ["198.51.100.0/24"]}}}
    },
    "guests: filters with ports, on a bridge": {
        "filters/web.yaml": WEB,
        "guests/web01.yaml": {"interfaces": {"eth0": {"filter": "web"}}},
    },
    "guests: UEFI": {"guests/web01.yaml": {"chipset": "q35", "firmware": "efi"}},
    "firewall: zones": {"hosts/kvm01.yaml": {"firewall": {"zones": {"lan": {"services": ["ssh"]}}}}},
    "firewall: policies": {
        "hosts/kvm01.yaml": {
            "firewall": {
                "policies": {"in": {"ingress-zones": ["public"], "egress-zones": ["HOST"], "services": ["ssh"]}}
            }
        }
    },
    "firewall: no reverse path filter for IPv6": {"hosts/kvm01.yaml": {"firewall": {"ipv6-rpfilter": False}}},
}


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping over another, key by key; ``None`` takes a key away."""
    found = deepcopy(dict(base))
    for key, value in more.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key, {}), value) if isinstance(value, Mapping) else value
    return found


def works(feature: str, platform: str, place: Path) -> bool:
    """Whether the feature compiles on a host of a platform."""
    files = {name: merged(BASE.get(name, {}), SAID[feature].get(name, {})) for name in (*BASE, *SAID[feature])}
    files["hosts/kvm01.yaml"]["platform"] = platform
    write(place, {"site.yaml": SITE, **{name: json.dumps(data) for name, data in files.items()}})
    return validate(place).is_good


def rows() -> dict[str, list[str]]:
    table = readme.PLATFORMS.read_text().partition(HEADING)[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in table.splitlines()[2:]]
    return {feature: said for feature, *said in cells}


def claims() -> Iterator[tuple[str, str, bool]]:
    """What the table says: a feature, a platform, and whether it works there."""
    for feature, said in rows().items():
        for platform, cell in zip(PLATFORMS, said, strict=True):
            yield feature, platform, cell == "yes"
            if cell not in ("yes", "no"):
                yield feature, cell, True


def test_the_table_has_every_feature() -> None:
    assert list(rows()) == list(SAID)


@pytest.mark.parametrize(("feature", "platform", "said"), list(claims()))
def test_the_table_tells_the_truth(feature: str, platform: str, said: bool, tmp_path: Path) -> None:
    assert works(feature, platform, tmp_path) is said
