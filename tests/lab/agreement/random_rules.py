"""What a random site says of packets: policies, and filters that a person might have written, sensible or not."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.lab.random_filters import trees

PORTS = (22, 53, 80, 443, 5432)
RULES = (1, 5)
ENTRIES = (0, 3)
DRAWN, FILTERS_OF_A_TREE = 4, 8

Document = dict[str, Any]

ODD_PARAMETERS: Document = {
    "ADDRESSES": ["192.0.2.20", "198.18.1.21", "192.0.2.1"],
    "ADDRESSES6": ["2001:db8::20", "2001:db8:1::21"],
    "LENGTHS": ["32", "24", "24"],
    "PORTS": ["22", "53", "80"],
    "OTHERS": ["80", "443", "8080"],
    "IPV6_TYPE": ["0x86dd"],
}
"""What the variables of odd filters are given, beside the addresses of the guest."""


# -- filters -----------------------------------------------------------------------------------------------------------


def plain_filter(generator: random.Random) -> Document:
    """A filter that begins with what kvmgen or libvirt have, with rules of the common kinds behind it."""
    return {"rules": list(_rules(generator))}


def odd_filters(number: int) -> dict[str, Document]:
    """A filter called ``root``, with what it includes, of all words that there are: most are refused in part."""
    drawn: list[dict[str, Document]] = []

    @seed(number)
    @settings(
        max_examples=DRAWN,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(documents=trees(most=FILTERS_OF_A_TREE, limits=False))
    def draw(documents: dict[str, Document]) -> None:
        drawn.append(documents)

    draw()
    return drawn[-1]


def _rules(generator: random.Random) -> Iterator[Document]:
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


def _match(generator: random.Random) -> Document:
    version = generator.choice(("", "-ipv6"))
    kind = generator.choice(("tcp", "udp", "icmp", "all", "ip"))
    if kind in ("tcp", "udp"):
        return {f"{kind}{version}": {"dstportstart": generator.choice(PORTS)}}
    if kind == "icmp":
        return {"icmpv6" if version else "icmp": {}}
    if kind == "ip":
        return {"ipv6" if version else "ip": {"protocol": generator.choice(("tcp", "udp"))}}
    return {f"all{version}": {}}


# -- policies ----------------------------------------------------------------------------------------------------------


def policy(generator: random.Random, policies: Sequence[str], guests: Sequence[str], networks: Collection[str]) -> Any:
    """A policy that says something of one direction or both; it knows the others' names."""
    peers = [*({"policy": name} for name in policies), *({"guest": name} for name in guests)]
    peers += [{"network": name} for name in networks]
    said: Document = {}
    for key in generator.choice((("allow-in",), ("allow-out",), ("allow-in", "allow-out"))):
        word = "from" if key == "allow-in" else "to"
        said[key] = [_entry(generator, word, peers) for _ in range(generator.randint(*ENTRIES))]
    return said


def _entry(generator: random.Random, word: str, peers: Sequence[Document]) -> Any:
    if generator.random() < 0.2:
        return generator.choice(("ping", "dns", "ntp", "dhcp", "ssh", "https", "anything"))
    entry = _asked(generator)
    if generator.random() < 0.6:
        entry[word] = _peers(generator, peers)
    if generator.random() < 0.2 and not {"icmp", "icmpv6"} & entry.keys():
        entry["family"] = generator.choice(("ipv4", "ipv6"))
    if "tcp" in entry and generator.random() < 0.25:
        entry["connections"] = generator.randint(1, 3)
    return entry


def _asked(generator: random.Random) -> Document:
    kind = generator.choice(("tcp", "tcp", "udp", "icmp", "icmpv6", "service"))
    if kind == "icmp":
        return {"icmp": generator.choice(("echo-request", "timestamp-request"))}
    if kind == "icmpv6":
        return {"icmpv6": generator.choice(("echo-request", "router-advertisement", "redirect"))}
    if kind == "service":
        return {"service": generator.choice(("ping", "dns", "ntp", "ssh", "http"))}
    ports: Any = sorted(generator.sample(PORTS, generator.randint(1, 3)))
    return {kind: generator.choice((ports, ports[0], "79-444"))}


def _peers(generator: random.Random, named: Sequence[Document]) -> Any:
    words = ["host", "anyone", "192.0.2.0/24", "198.18.1.20", "203.0.113.0/24", "10.0.0.0/8", "2001:db8::/32"]
    several = [generator.choice([*named, *words]) for _ in range(generator.randint(1, 3))]
    return several[0] if len(several) == 1 else several
