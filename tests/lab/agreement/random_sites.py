"""Small sites that nobody thought of: one host, a few networks and guests, policies and filters that make no sense.

A seed makes always the same site. What kvmgen refuses is left out piece by piece, until the site is one that it would
build: what a refused filter means nobody has to know.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab.agreement.inventories import Files, repaired
from tests.lab.agreement.random_rules import ODD_PARAMETERS, odd_filters, plain_filter, policy

HOST = "kvm01"
PLATFORMS = ("el7", "el8.6", "el9.4")
MODES = ("nat", "route", "isolated", "open")
OF_BRIDGES = (None, None, "guests", "groups", "all")
OF_NETWORKS = (None, None, "guests", "groups")
ISOLATION_GROUPS = (None, "red", "red", "blue")
GUESTS = (2, 4)
POLICIES = (0, 3)

Place = tuple[Mapping[str, str], list[str]]
"""What a guest's interface says of where it is plugged in, and the subnets there."""


def write_site(seed: int, folder: Path) -> bool:
    """Write the site of a seed; ``False`` where nothing of it is left that kvmgen would build."""
    return repaired(_site(random.Random(seed), seed), folder) is not None


def _site(generator: random.Random, seed: int) -> Files:
    site: Files = {"site.yaml": {"name": "random", "domain": "example.org"}}
    site[f"hosts/{HOST}.yaml"] = _host(generator, generator.choice(PLATFORMS))
    modes = generator.sample(MODES, generator.randint(0, 2))
    for number, mode in enumerate(modes):
        site[f"networks/{mode}.yaml"] = _network(generator, number, mode)
    guests = [f"guest{number}" for number in range(generator.randint(*GUESTS))]
    filters = _filters(generator, seed, site)
    policies = [f"policy{number}" for number in range(generator.randint(*POLICIES))]
    for name in policies:
        site[f"policies/{name}.yaml"] = policy(generator, policies, guests, modes)
    places = _places(site)
    for number, name in enumerate(guests):
        site[f"guests/{name}.yaml"] = _guest(generator, number, places, filters, policies)
    return site


def _filters(generator: random.Random, seed: int, site: Files) -> list[Any]:
    """What interfaces may be under: plain filters, and sometimes one of odd words with its parameters."""
    names: list[Any] = [f"filter{number}" for number in range(generator.randint(0, 2))]
    for name in names:
        site[f"filters/{name}.yaml"] = plain_filter(generator)
    if generator.random() < 0.4:
        site |= {f"filters/{name}.yaml": document for name, document in odd_filters(seed).items()}
        names.append({"name": "root", "parameters": ODD_PARAMETERS})
    return names


def _host(generator: random.Random, platform: str) -> Files:
    bridges: Files = {
        "br0": {"ports": ["eno1"], "addresses": ["192.0.2.5/24", "2001:db8::5/64"]},
        "br1": {"ports": ["eno2"]},
    }
    bridges["br0"]["routes"] = [{"to": "default", "via": "192.0.2.1"}, {"to": "default", "via": "2001:db8::1"}]
    word = generator.choice(OF_BRIDGES)
    if word is not None:
        bridges["br1"]["isolation"] = word
    # Without a route back, firewalld would drop the IPv6 of the guests there.
    firewall: Files = {"firewall": {"ipv6-rpfilter": False}} if generator.random() < 0.5 else {}
    if not firewall:
        bridges["br1"]["addresses"] = ["198.18.1.5/24", "2001:db8:1::5/64"]
    return {
        **firewall,
        "platform": platform,
        "management": "br0",
        "ethernets": {"eno1": {"mac": "00:16:3e:00:00:01"}, "eno2": {"mac": "00:16:3e:00:00:02"}},
        "bridges": bridges,
    }


def _network(generator: random.Random, number: int, mode: str) -> Files:
    addresses = [f"10.{number}.0.1/24"]
    if generator.random() < 0.5:
        addresses.append(f"fd00:{number + 1}::1/64")
    made: Files = {"hosts": {HOST: {}}, "forward": mode, "bridge": {"name": f"virbr{number}"}, "addresses": addresses}
    word = generator.choice(OF_NETWORKS)
    return made if word is None else {**made, "isolation": word}


def _places(site: Files) -> list[Place]:
    """Where a guest may be plugged in; bridges and networks that isolate by groups say so."""
    bridges = site[f"hosts/{HOST}.yaml"]["bridges"]
    found: list[Place] = [
        ({"bridge": "br0"}, ["192.0.2.{}/24", "2001:db8::{}/64"]),
        ({"bridge": "br1", **_groups(bridges["br1"])}, ["198.18.1.{}/24", "2001:db8:1::{}/64"]),
    ]
    for path, content in site.items():
        if path.startswith("networks/"):
            subnets = [address.replace(".1/", ".{}/").replace("::1/", "::{}/") for address in content["addresses"]]
            name = path.split("/")[1].removesuffix(".yaml")
            found.append(({"network": name, **_groups(content)}, subnets))
    return found


def _groups(place: Files) -> dict[str, str]:
    return {"isolation": "groups"} if place.get("isolation") == "groups" else {}


def _guest(
    generator: random.Random,
    number: int,
    places: Sequence[Place],
    filters: Sequence[Any],
    policies: Sequence[str],
) -> Files:
    place, subnets = generator.choice(places)
    plug = dict(place)
    group = generator.choice(ISOLATION_GROUPS) if plug.pop("isolation", None) else None
    nic: Files = {**plug, "addresses": [subnet.format(20 + number) for subnet in subnets]}
    nic |= {} if group is None else {"isolation-group": group}
    nic |= _kept_in_check(generator, filters, policies)
    if "bridge" in plug and generator.random() < 0.5:
        routers = {"br0": ["192.0.2.1", "2001:db8::1"], "br1": ["198.18.1.254", "2001:db8:1::fe"]}[plug["bridge"]]
        nic["routes"] = [{"to": "default", "via": router} for router in routers]
    return {"hosts": [HOST], "memory": "1 GiB", "vcpus": 1, "interfaces": {"eth0": nic}}


def _kept_in_check(generator: random.Random, filters: Sequence[Any], policies: Sequence[str]) -> Files:
    """What an interface says of its packets."""
    if policies and generator.random() < 0.6:
        return {"policies": generator.sample(policies, min(len(policies), generator.choice((1, 1, 2))))}
    if filters and generator.random() < 0.7:
        return {"filter": generator.choice(filters)}
    return {"anti-spoofing": generator.choice(("mac", "none"))} if generator.random() < 0.4 else {}
