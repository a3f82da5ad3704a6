"""Small sites that nobody thought of: one host, a few networks and guests, filters that make no sense.

A seed makes always the same site. What kvmgen refuses is left out piece by piece, until the site is one that it would
build: what a refused filter means nobody has to know.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kvmgen.pipeline import load

HOST = "kvm01"
PLATFORMS = ("el7", "el8.6", "el9.4")
MODES = ("nat", "route", "isolated", "open")
PORTS = (22, 53, 80, 443, 5432)
GUESTS = (2, 4)
RULES = (1, 5)

Site = dict[str, Any]
"""Files' contents by their path in the inventory."""


def write_site(seed: int, folder: Path) -> bool:
    """Write the site of a seed; ``False`` where nothing of it is left that kvmgen would build."""
    site = _site(random.Random(seed))
    for _ in range(len(site) + 1):
        shutil.rmtree(folder, ignore_errors=True)
        for path, content in site.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(content, indent=1) + "\n")
        result = load(folder)
        if result.is_good:
            return any(path.startswith("guests/") for path in site)
        guilty = [found.origin.file for found in result.diagnostics if found.is_error and found.origin]
        gone = next((path for path in site if any(file.endswith(path) for file in guilty)), None)
        if gone is None or gone.startswith(("hosts/", "site")):
            return False
        _leave_out(site, gone)
    return False


def _leave_out(site: Site, path: str) -> None:
    """Take a file away, and what names it."""
    del site[path]
    kind, _, name = path.removesuffix(".yaml").partition("/")
    for content in site.values():
        for nic in content.get("interfaces", {}).values():
            if nic.get(kind.removesuffix("s")) == name:
                nic.pop(kind.removesuffix("s"))
                nic.update({"bridge": "br0"} if kind == "networks" else {})


def _site(generator: random.Random) -> Site:
    platform = generator.choice(PLATFORMS)
    site: Site = {"site.yaml": {"name": "random", "domain": "example.org"}}
    site[f"hosts/{HOST}.yaml"] = _host(generator, platform)
    networks = generator.sample(MODES, generator.randint(0, 2))
    for number, mode in enumerate(networks):
        site[f"networks/{mode}.yaml"] = _network(generator, number, mode)
    names = [f"filter{number}" for number in range(generator.randint(0, 2))]
    for name in names:
        site[f"filters/{name}.yaml"] = {"rules": list(_rules(generator))}
    places = _places(site)
    for number in range(generator.randint(*GUESTS)):
        site[f"guests/guest{number}.yaml"] = _guest(generator, number, places, names)
    return site


def _host(generator: random.Random, platform: str) -> Site:
    bridges: Site = {
        "br0": {"ports": ["eno1"], "addresses": ["192.0.2.5/24", "2001:db8::5/64"]},
        "br1": {"ports": ["eno2"]},
    }
    bridges["br0"]["routes"] = [{"to": "default", "via": "192.0.2.1"}, {"to": "default", "via": "2001:db8::1"}]
    if generator.random() < 0.4:
        bridges["br1"]["isolation"] = "guests"
    return {
        "platform": platform,
        "management": "br0",
        "ethernets": {"eno1": {"mac": "00:16:3e:00:00:01"}, "eno2": {"mac": "00:16:3e:00:00:02"}},
        "bridges": bridges,
    }


def _network(generator: random.Random, number: int, mode: str) -> Site:
    addresses = [f"10.{number}.0.1/24"]
    if generator.random() < 0.5:
        addresses.append(f"fd00:{number + 1}::1/64")
    return {"hosts": {HOST: {}}, "forward": mode, "bridge": {"name": f"virbr{number}"}, "addresses": addresses}


def _places(site: Site) -> list[tuple[Mapping[str, str], list[str]]]:
    """Where a guest may be plugged in, and the subnets there."""
    found: list[tuple[Mapping[str, str], list[str]]] = [
        ({"bridge": "br0"}, ["192.0.2.{}/24", "2001:db8::{}/64"]),
        ({"bridge": "br1"}, ["198.18.1.{}/24", "2001:db8:1::{}/64"]),
    ]
    for path, content in site.items():
        if path.startswith("networks/"):
            subnets = [address.replace(".1/", ".{}/").replace("::1/", "::{}/") for address in content["addresses"]]
            found.append(({"network": path.split("/")[1].removesuffix(".yaml")}, subnets))
    return found


def _guest(
    generator: random.Random, number: int, places: list[tuple[Mapping[str, str], list[str]]], filters: list[str]
) -> Site:
    plug, subnets = generator.choice(places)
    nic: Site = {**plug, "addresses": [subnet.format(20 + number) for subnet in subnets]}
    if filters and generator.random() < 0.7:
        nic["filter"] = generator.choice(filters)
    elif generator.random() < 0.3:
        nic["anti-spoofing"] = "mac"
    if "bridge" in plug and generator.random() < 0.5:
        routers = {"br0": ["192.0.2.1", "2001:db8::1"], "br1": ["198.18.1.254", "2001:db8:1::fe"]}[plug["bridge"]]
        nic["routes"] = [{"to": "default", "via": router} for router in routers]
    return {"hosts": [HOST], "memory": "1 GiB", "vcpus": 1, "interfaces": {"eth0": nic}}


def _rules(generator: random.Random) -> Iterator[Site]:
    yield {"filter": generator.choice(("kvmgen-anti-spoofing", "clean-traffic", "kvmgen-anti-spoofing-mac"))}
    for number in range(generator.randint(*RULES)):
        yield {
            "priority": 100 + 10 * number,
            "action": generator.choice(("accept", "accept", "drop", "reject")),
            "direction": generator.choice(("in", "out", "inout")),
            **_match(generator),
        }
    if generator.random() < 0.6:
        yield {"priority": 900, "action": "drop", "direction": "inout", "all": {}}
        yield {"priority": 910, "action": "drop", "direction": "inout", "all-ipv6": {}}


def _match(generator: random.Random) -> Site:
    version = generator.choice(("", "-ipv6"))
    kind = generator.choice(("tcp", "udp", "icmp", "all", "ip"))
    if kind in ("tcp", "udp"):
        return {f"{kind}{version}": {"dstportstart": generator.choice(PORTS)}}
    if kind == "icmp":
        return {"icmpv6" if version else "icmp": {}}
    if kind == "ip":
        return {"ipv6" if version else "ip": {"protocol": generator.choice(("tcp", "udp"))}}
    return {f"all{version}": {}}
