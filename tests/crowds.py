"""Sites with many machines that are alike, and some that are not quite: what classes of equal ends are tried on.

A seed makes always the same site. Hosts and guests are of a few kinds, and each has a chance to differ a little.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kvmgen.model.site import Site
from kvmgen.pipeline import load

PLATFORMS = ("el7", "el8.6", "el9.4", "el10")
PORTS = (22, 53, 80, 443, 5432)
HOSTS, GUESTS, KINDS = 3, 24, 4

Content = dict[str, Any]


def crowd(seed: int, folder: Path, guests: int = GUESTS) -> Site:
    """The site of a seed, its inventory written to a folder. What checks say of it is left aside."""
    for path, content in _crowd(random.Random(seed), guests).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n")
    site = load(folder).site
    assert site is not None
    return site


def repeated(seed: int, folder: Path, *, hosts: int = HOSTS, gaps: bool = True) -> Site:
    """The site of a seed whose hosts have each the same networks, and guests of the same addresses.

    With ``gaps`` some guests are missing, some have an address that nobody else has, and hosts may share a wire.
    """
    for path, content in _repeated(random.Random(seed), hosts, gaps=gaps).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n")
    site = load(folder).site
    assert site is not None
    return site


def _repeated(generator: random.Random, hosts: int, *, gaps: bool) -> Mapping[str, Content]:
    names = [f"kvm{number:02d}" for number in range(1, hosts + 1)]
    site: dict[str, Content] = {"site.yaml": {"name": "repeated", "domain": "example.org"}}
    shared, platform = gaps and generator.random() < 0.5, generator.choice(PLATFORMS)
    for number, name in enumerate(names, 1):
        site[f"hosts/{name}.yaml"] = _host(generator, number, platform, shared=shared)
        if not gaps:
            for bridge in site[f"hosts/{name}.yaml"]["bridges"].values():
                bridge.pop("isolation", None)
            site[f"hosts/{name}.yaml"].pop("sysctl", None)
    modes = ("nat", generator.choice(("route", "isolated", "open")))
    for number, mode in enumerate(modes):
        site[f"networks/{mode}.yaml"] = {
            "hosts": {name: {} for name in names},
            "forward": mode,
            "bridge": {"name": f"virbr{number}"},
            "addresses": [f"10.{number}.0.1/24", f"fd00:{number}::1/64"],
        }
    site["policies/one.yaml"], site["policies/two.yaml"] = _policy(generator), _policy(generator)
    plugs: list[Content] = [*({"network": mode} for mode in modes), *([] if shared else [{"bridge": "br1"}])]
    kinds = [{**plug, **chosen} for plug in plugs for chosen in ({"policies": ["one"]}, {"policies": ["two"]}, {})]
    for number, name in enumerate(names):
        for place, kind in enumerate(kinds * 2):
            if gaps and generator.random() < 0.2:
                continue
            own = place if not gaps or generator.random() < 0.9 else 50 + 20 * number + place
            guest = _guest(random.Random(0), own, name, kind, site)
            guest["interfaces"]["eth0"].update(kind)
            guest["interfaces"].pop("eth1", None)
            if gaps and "network" in kind and generator.random() < 0.15:
                guest["interfaces"]["eth1"] = {"bridge": "br1", "addresses": [f"198.18.1.{10 + own}/24"]}
            site[f"guests/{name}-{place:02d}.yaml"] = guest
    return site


def _crowd(generator: random.Random, guests: int) -> Mapping[str, Content]:
    hosts = [f"kvm{number:02d}" for number in range(1, HOSTS + 1)]
    site: dict[str, Content] = {"site.yaml": {"name": "crowd", "domain": "example.org"}}
    wire, platform = generator.random() < 0.5, generator.choice(PLATFORMS)
    for number, name in enumerate(hosts, 1):
        site[f"hosts/{name}.yaml"] = _host(generator, number, platform, shared=wire)
    modes = generator.sample(("nat", "route", "isolated", "open"), 2)
    for number, mode in enumerate(modes):
        site[f"networks/{mode}.yaml"] = {
            "hosts": {name: {} for name in hosts},
            "forward": mode,
            "bridge": {"name": f"virbr{number}"},
            "addresses": [f"10.{number}.0.1/24", f"fd00:{number}::1/64"][: generator.randint(1, 2)],
        }
    for name in ("one", "two"):
        site[f"filters/{name}.yaml"] = {"rules": list(_rules(generator))}
        site[f"policies/{name}.yaml"] = _policy(generator)
    kinds = [_kind(generator, modes) for _ in range(KINDS)]
    for number in range(guests):
        host = generator.randrange(HOSTS)
        kind = kinds[number % KINDS]
        site[f"guests/guest{number:02d}.yaml"] = _guest(generator, number, hosts[host], kind, site)
    if generator.random() < 0.5:
        site["guests/router.yaml"] = _router(generator, generator.choice(hosts))
    return site


def _router(generator: random.Random, host: str) -> Content:
    """A guest whose inside is known, between the two bridges."""
    reject = {"family": "ipv4", "chain": "FORWARD", "rule": "-p tcp --dport 22 -j REJECT"}
    return {
        "hosts": [host],
        "memory": "1 GiB",
        "vcpus": 1,
        "platform": "el7",
        "interfaces": {
            "eth0": {
                "bridge": "br0",
                "addresses": ["192.0.2.200/24"],
                "routes": [{"to": "default", "via": "192.0.2.254"}],
            },
            "eth1": {"bridge": "br1", "addresses": ["198.18.1.254/24"], "anti-spoofing": "mac"},
        },
        "sysctl": {"net.ipv4.ip_forward": 1},
        "firewall": {"direct": [reject] if generator.random() < 0.5 else []},
    }


def _host(generator: random.Random, number: int, platform: str, *, shared: bool) -> Content:
    wan: Content = {
        "ports": ["eno1"],
        "addresses": [f"192.0.2.{number}/24", f"2001:db8::{number}/64"],
        "routes": [{"to": "default", "via": "192.0.2.254"}, {"to": "default", "via": "2001:db8::fe"}],
    }
    lan: Content = {"ports": ["eno2"]}
    if shared:
        wan["segment"], lan["segment"] = "wire", "lan"
    if generator.random() < 0.3:
        lan["isolation"] = "guests"
    host: Content = {
        "platform": platform,
        "management": "br0",
        "ethernets": {f"eno{nic}": {"mac": f"00:16:3e:00:0{number}:0{nic}"} for nic in (1, 2)},
        "bridges": {"br0": wan, "br1": lan},
    }
    if generator.random() < 0.3:
        host["sysctl"] = {"net.ipv4.ip_forward": 1}
    return host


def _policy(generator: random.Random) -> Content:
    peers = generator.choice(({"policy": "one"}, {"policy": "two"}, "host", "192.0.2.0/26", "10.0.0.0/8"))
    rules: Content = {"allow-in": [{"tcp": generator.choice(PORTS), "from": peers}]}
    if generator.random() < 0.5:
        rules["allow-out"] = ["dns", {"tcp": generator.choice(PORTS)}]
    return rules


def _kind(generator: random.Random, modes: list[str]) -> Content:
    plug = generator.choice(({"bridge": "br0"}, {"bridge": "br1"}, *({"network": mode} for mode in modes)))
    kind: Content = {**plug}
    kind.update(
        generator.choice(({"filter": "one"}, {"filter": "two"}, {"policies": ["one"]}, {"policies": ["two"]}, {}))
    )
    return kind


def _guest(generator: random.Random, number: int, host: str, kind: Content, site: Mapping[str, Content]) -> Content:
    nic = dict(kind)
    own = 10 + number if generator.random() < 0.8 else 100 + number
    nic["addresses"] = [subnet.format(own) for subnet in _subnets(kind, site)]
    if "bridge" in kind and generator.random() < 0.8:
        router = {"br0": "192.0.2.254", "br1": "198.18.1.254"}[kind["bridge"]]
        nic["routes"] = [{"to": "default", "via": router}]
    if generator.random() < 0.1:
        nic.pop("filter", None)
        nic["policies"] = ["two"]
    nics = {"eth0": nic}
    if generator.random() < 0.15:
        nics["eth1"] = {"bridge": "br1" if kind.get("bridge") == "br0" else "br0", "dhcp4": True}
    return {"hosts": [host], "memory": "1 GiB", "vcpus": 1, "interfaces": nics}


def _subnets(kind: Content, site: Mapping[str, Content]) -> list[str]:
    if "bridge" in kind:
        return {
            "br0": ["192.0.2.{}/24", "2001:db8::{}/64"],
            "br1": ["198.18.1.{}/24", "2001:db8:1::{}/64"],
        }[kind["bridge"]]
    addresses = site[f"networks/{kind['network']}.yaml"]["addresses"]
    return [address.replace(".1/", ".{}/").replace("::1/", "::{}/") for address in addresses]


def _rules(generator: random.Random) -> Iterator[Content]:
    yield {"filter": generator.choice(("kvmgen-anti-spoofing", "clean-traffic", "kvmgen-anti-spoofing-mac"))}
    for number in range(generator.randint(1, 4)):
        version = generator.choice(("", "-ipv6"))
        match: Content = {"dstportstart": generator.choice(PORTS)}
        if not version and generator.random() < 0.6:
            match |= generator.choice(
                (
                    {"srcipaddr": "192.0.2.0", "srcipmask": 28},
                    {"srcipfrom": "192.0.2.12", "srcipto": "192.0.2.17"},
                    {"dstipaddr": "10.0.0.1"},
                )
            )
        yield {
            "priority": 100 + 10 * number,
            "action": generator.choice(("accept", "drop")),
            "direction": generator.choice(("in", "out", "inout")),
            f"{generator.choice(('tcp', 'udp'))}{version}": match,
        }
    if generator.random() < 0.7:
        yield {"priority": 900, "action": "drop", "direction": "inout", "all": {}}
        yield {"priority": 910, "action": "drop", "direction": "inout", "all-ipv6": {}}
