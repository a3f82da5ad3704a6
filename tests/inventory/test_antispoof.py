"""Which of kvmgen's own filters an interface gets, and with which parameters."""

from __future__ import annotations

import re
from ipaddress import ip_interface, ip_network

import pytest

from kvmgen.inventory.antispoof import anti_spoofing, known_parameters
from kvmgen.model.builtin_filters import BUILT_IN_FILTERS
from kvmgen.model.filter_trees import FilterTrees
from kvmgen.model.filters import FilterInclude
from kvmgen.model.values import Mac
from tests.inventory.nwfilters import own_filters

MAC = Mac("52:54:00:24:4c:ee")
LINK_LOCAL = "fe80::5054:ff:fe24:4cee"
V4, V4_TOO, V6 = "192.0.2.10/24", "192.0.2.11/24", "2001:db8::10/64"

CASES = [
    ("addresses", [V4], [], "-ipv4", {"IP": "192.0.2.10"}),
    ("addresses", [V4, V4_TOO], [], "-ipv4", {"IP": "192.0.2.10 192.0.2.11"}),
    ("addresses", [V6], [], "-ipv6", {"IPV6": f"{LINK_LOCAL} 2001:db8::10", "IPV6_MASK": "128 128"}),
    ("addresses", [V4, "fe80::203/64"], [], "", {"IP": "192.0.2.10", "IPV6": "fe80::203", "IPV6_MASK": "128"}),
    ("addresses", [V4], ["192.0.2.99/32"], "-ipv4", {"IP": "192.0.2.10 192.0.2.99"}),
    (
        "addresses",
        [V4],
        ["172.16.12.0/24", "2001:db8:5::/56"],
        "-segments",
        {
            "IP": "192.0.2.10",
            "IPV6": f"{LINK_LOCAL} 2001:db8:5::",
            "IPV6_MASK": "128 56",
            "IP_SEGMENT": "172.16.12.0",
            "IP_SEGMENT_MASK": "24",
        },
    ),
    (
        "addresses",
        [],
        ["172.16.12.0/24"],
        "-ipv4-segments",
        {"IP": "172.16.12.0", "IP_SEGMENT": "172.16.12.0", "IP_SEGMENT_MASK": "24"},
    ),
    ("dhcp", [], [], "-ipv4", {}),
    ("dhcp", [], ["2001:db8::/64"], "", {"IPV6": f"{LINK_LOCAL} 2001:db8::", "IPV6_MASK": "128 64"}),
    ("dhcp", [V4], [], "-ipv4-segments", {"IP_SEGMENT": "192.0.2.10", "IP_SEGMENT_MASK": "32"}),
]


@pytest.mark.parametrize(("word", "addresses", "allowed", "suffix", "parameters"), CASES)
def test_filter_and_parameters(
    word: str, addresses: list[str], allowed: list[str], suffix: str, parameters: dict[str, str]
) -> None:
    """Every variable of the filter has a value (or is IP and learned), and none is given that it doesn't use."""
    found = anti_spoofing(word, MAC, list(map(ip_interface, addresses)), list(map(ip_network, allowed)))
    assert found is not None
    assert found.filter == f"kvmgen-anti-spoofing{suffix}"
    learning = "dhcp" if word == "dhcp" else "none"
    wanted = {name: tuple(values.split()) for name, values in parameters.items()} | {"CTRL_IP_LEARNING": (learning,)}
    assert found.parameters == tuple(sorted(wanted.items()))
    missing = FilterTrees(own_filters()).of(found.filter).needs - wanted.keys() - {"MAC"}
    assert missing == ({"IP"} if word == "dhcp" else set())
    assert wanted.keys() - FilterTrees(own_filters()).of(found.filter).needs == {"CTRL_IP_LEARNING"}


def test_words_without_addresses() -> None:
    """`none` is no filter; where nothing is known, the MAC is held."""
    assert anti_spoofing("none", MAC, [ip_interface(V4)], []) is None
    for found in (anti_spoofing("mac", MAC, [ip_interface(V4)], []), anti_spoofing("addresses", MAC, [], [])):
        assert found is not None
        assert (found.filter, found.parameters) == ("kvmgen-anti-spoofing-mac", ())


EVERY_VARIABLE = {"IP", "IP_SEGMENT", "IP_SEGMENT_MASK", "IPV6", "IPV6_MASK"}


def test_known_parameters() -> None:
    """For a filter of the inventory's own: an address is learned from DHCP where none is known."""
    none = known_parameters(MAC, [], [], EVERY_VARIABLE)
    assert none == {"CTRL_IP_LEARNING": ("dhcp",), "IPV6": (LINK_LOCAL,), "IPV6_MASK": ("128",)}
    addresses, segments = [ip_interface(V4), ip_interface(V6)], [ip_network("172.16.12.0/24")]
    all_known = known_parameters(MAC, addresses, segments, EVERY_VARIABLE)
    needed = FilterTrees(own_filters()).of("kvmgen-anti-spoofing-segments").needs
    assert set(all_known) == needed - {"MAC"} | {"CTRL_IP_LEARNING"}
    assert all_known["CTRL_IP_LEARNING"] == ("none",)


def test_parameters_are_what_libvirt_reads() -> None:
    """Others it throws away without a word."""
    for word, addresses, allowed, _, _ in CASES:
        found = anti_spoofing(word, MAC, list(map(ip_interface, addresses)), list(map(ip_network, allowed)))
        assert found is not None
        for name, values in found.parameters:
            assert re.fullmatch("[a-zA-Z0-9_]+", name)
            assert all(re.fullmatch("[a-zA-Z0-9_.:]+", value) for value in values)


def test_the_family_needs_nobody_else() -> None:
    """No member depends on a built-in filter, which an administrator may have edited or not installed."""
    filters = own_filters()
    for filter_ in filters.values():
        assert filter_.name not in BUILT_IN_FILTERS
        assert set(filter_.includes) <= set(filters)


def test_chains_of_the_family() -> None:
    """One chain has one priority, and its rules have one each: libvirt sorts equal ones as it likes."""
    rules: dict[str, list[int | None]] = {}
    priorities: dict[str, set[int | None]] = {}
    for filter_ in own_filters().values():
        if filter_.chain != "root":
            priorities.setdefault(filter_.chain, set()).add(filter_.priority)
            own = [entry.priority for entry in filter_.entries if not isinstance(entry, FilterInclude)]
            rules.setdefault(filter_.chain, []).extend(own)
    assert all(len(found) == 1 for found in priorities.values())
    assert all(None not in found and len(set(found)) == len(found) for found in rules.values())
