"""Which rules a tree of nwfilters becomes on a tap: what libvirt should install, and what it did install.

A rule is counted by its table's program, its chain and the sender that it asks for. libvirt's own manner, as far as
filters use it (https://libvirt.org/formatnwfilter.html):

- Rules of the link layer, ``ip`` and ``ipv6`` are ebtables rules: ``out`` in I- chains, ``in`` in O- chains. A filter
  of the chain ``root`` stands in ``libvirt-I-TAP``, from where each other chain that holds a rule is called once.
- ``tcp``, ``all`` and the like are rules of iptables or ip6tables in FI-TAP and HI-TAP (from the guest, to others and
  to the host) and in FO-TAP (to it). A rule is mirrored into the other direction unless it names a ``state`` or an
  ICMP type.
- Where a variable of a rule holds several values, the rule is there once for each.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from xml.etree.ElementTree import Element

Rules = Counter[tuple[str, str, str]]
"""How often a rule is there, by program, chain and source (``""`` where the rule asks for none)."""

Variables = Mapping[str, tuple[str, ...]]

EBTABLES = ("mac", "vlan", "stp", "arp", "rarp", "ip", "ipv6")
SOURCES = ("srcipaddr", "arpsrcipaddr")
_VARIABLE = re.compile(r"\$(\w+)(?:\[@(\d+)\])?")
_APPENDED = re.compile(r"-A (\S+)(.*)")
_SOURCE = re.compile(r" --(?:arp-ip|ip|ip6)-src (\S+)")


def expected_rules(tree: Callable[[str], Element], filter_name: str, variables: Variables, tap: str) -> Rules:
    """What libvirt should install on a tap for a filter; ``tree`` gives a filter's definition by its name."""
    rules: Rules = Counter()
    called: set[tuple[str, str]] = set()
    for chain, rule, known in _rules(tree(filter_name), tree, variables):
        match = rule[0] if len(rule) else None
        if match is None or match.tag in EBTABLES:
            for way in _ways(rule, "I", "O"):
                rules.update(("ebtables", _chain(way, tap, chain), source) for source in _sources(match, known, way))
                called.add((way, chain))
        else:
            program = "ip6tables" if match.tag.endswith("v6") else "iptables"
            rules.update((program, f"{place}-{tap}", "") for place in _places(rule, match) for _ in _each(match, known))
    rules.update(("ebtables", _chain(way, tap, "root"), "") for way, chain in called if chain != "root")
    return rules


def installed_rules(saved: Mapping[str, str], tap: str) -> Rules:
    """What stands in a tap's chains; ``saved`` is what each program's ``-save`` printed."""
    own = re.compile(rf"(?:libvirt-)?[A-Z]+-{re.escape(tap)}(?:-.*)?")
    rules: Rules = Counter()
    for program, text in saved.items():
        for chain, rule in _APPENDED.findall(text):
            if own.fullmatch(chain):
                found = _SOURCE.search(rule) if chain.startswith(("I-", "libvirt-I-")) else None
                rules[program, chain, _network(found[1]) if found else ""] += 1
    return rules


def learning_rules(tap: str) -> Rules:
    """What stands on a tap whose address is still to be learned from DHCP: only DHCP passes."""
    return Counter({("ebtables", f"libvirt-I-{tap}", ""): 2, ("ebtables", f"libvirt-O-{tap}", ""): 3})


def needs(tree: Callable[[str], Element], filter_name: str, variable: str) -> bool:
    """Whether a rule of the filter's tree uses a variable."""
    matches = (match for _, rule, _ in _rules(tree(filter_name), tree, {}) for match in rule)
    return any(name == variable for match in matches for name, _ in _used(match))


def _rules(
    root: Element, tree: Callable[[str], Element], variables: Variables
) -> Iterator[tuple[str, Element, Variables]]:
    """Every rule of a tree with its chain and its variables; an outer value wins over a reference's own."""
    for entry in root:
        if entry.tag == "rule":
            yield root.get("chain", "root"), entry, variables
        elif entry.tag == "filterref":
            yield from _rules(tree(entry.get("filter", "")), tree, parameters(entry) | dict(variables))


def parameters(reference: Element) -> dict[str, tuple[str, ...]]:
    """A filterref's parameters; a repeated one is a list."""
    values: dict[str, tuple[str, ...]] = {}
    for parameter in reference.iterfind("parameter"):
        name = parameter.get("name", "")
        values[name] = (*values.get(name, ()), parameter.get("value", ""))
    return values


def _ways(rule: Element, out: str, into: str) -> str:
    return {"out": out, "in": into, "inout": out + into}[rule.get("direction", "")]


def _places(rule: Element, match: Element) -> list[str]:
    if "state" in match.attrib or (match.tag in ("icmp", "icmpv6") and "type" in match.attrib):
        one_way = {"out": ["FI", "HI"], "in": ["FO"]}
        return one_way[rule.get("direction", "")]
    return ["FI", "HI", "FO"]


def _chain(way: str, tap: str, chain: str) -> str:
    return f"libvirt-{way}-{tap}" if chain == "root" else f"{way}-{tap}-{chain}"


@dataclass(frozen=True, slots=True)
class _Instance:
    """One rule of those that a rule with lists becomes: which place of its list each iterator stands at."""

    known: Variables
    places: Mapping[str, int]

    def value(self, text: str) -> str:
        return _VARIABLE.sub(lambda found: self.known[found[1]][self.places[found[2] or "0"]], text)


def _used(match: Element) -> list[tuple[str, str]]:
    return [(name, place or "0") for value in match.attrib.values() for name, place in _VARIABLE.findall(value)]


def _each(match: Element | None, known: Variables) -> Iterator[_Instance]:
    """A rule's instances; lists on one iterator run side by side and are of one length."""
    lengths = {place: len(known[name]) for name, place in ([] if match is None else _used(match))}
    assert len(lengths) <= 1, "no filter of the site crosses two lists"
    for place, length in lengths.items():
        yield from (_Instance(known, {place: number}) for number in range(length))
    if not lengths:
        yield _Instance(known, {})


def _sources(match: Element | None, known: Variables, way: str) -> Iterator[str]:
    for instance in _each(match, known):
        yield _source(match, instance) if match is not None and way == "I" else ""


def _source(match: Element, instance: _Instance) -> str:
    for attribute in SOURCES:
        if attribute in match.attrib:
            address = instance.value(match.attrib[attribute])
            mask = match.get(attribute.replace("addr", "mask"))
            return _network(address if mask is None else f"{address}/{instance.value(mask)}")
    return ""


def _network(text: str) -> str:
    return str(ip_network(text, strict=False))
