"""The inventory's language for nwfilters: all of libvirt's, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from kvmgen.diagnostics import Origin
from kvmgen.inventory import schema
from kvmgen.inventory.filters import ATTRIBUTES
from kvmgen.model.filters import FilterInclude, FilterRule, Match
from tests.inventory.nwfilters import BEYOND_LIBVIRTS_SCHEMA, everything, lowered

LIBVIRTS_SCHEMA = Path("/usr/share/libvirt/schemas/nwfilter.rng")
RNG = "{http://relaxng.org/ns/structure/1.0}"

LIMIT = """
uuid: 1c3384c7-093a-5689-2cf3-320ef716ba2e
chain: root
rules:
  - {priority: 400, action: drop, direction: in, icmp: {connlimit-above: 2, state: NEW}}
  - {action: accept, direction: inout, statematch: false, ipv6: {match: false, srcipmask: 0x40, srcipaddr: "fe80::"}}
  - filter: clean-traffic
    parameters: {PORTS: [80, "443"], IP: 192.0.2.10}
  - {priority: 1000, action: drop, direction: inout}
"""


def told(**rule: Any) -> list[tuple[str, str]]:
    """The findings on a filter with this one rule."""
    complete = rule if "filter" in rule else {"action": "accept", "direction": "in", **rule}
    return [(found.message, found.hint) for found in schema.validate("filter", {"rules": [complete]}, "filters/x.yaml")]


def test_lowering() -> None:
    """Attributes come in libvirt's order, values as text, and each entry knows its place."""
    found = lowered(LIMIT)
    drop, accept, include, final = found.entries
    assert (found.chain, found.priority, found.includes) == ("root", None, ("clean-traffic",))
    assert isinstance(drop, FilterRule)
    assert drop.match == Match(protocol="icmp", attributes=(("connlimit-above", "2"), ("state", "NEW")))
    assert drop.origin == Origin("filters/web.yaml", ("rules", 0))
    assert isinstance(accept, FilterRule)
    assert (accept.priority, accept.state_match) == (None, False)
    assert accept.match == Match(
        protocol="ipv6", attributes=(("srcipaddr", "fe80::"), ("srcipmask", "64")), negated=True
    )
    assert isinstance(include, FilterInclude)
    assert include.parameters == (("IP", ("192.0.2.10",)), ("PORTS", ("80", "443")))
    assert isinstance(final, FilterRule)
    assert final.match is None


def test_every_attribute_is_allowed_and_lowered_in_order() -> None:
    """The schema and the lowering's table know the same words, and a document's order doesn't matter."""
    *rules, _ = lowered(everything()).entries
    said: dict[str, set[str]] = {}
    for rule in rules:
        assert isinstance(rule, FilterRule)
        assert rule.match is not None
        names = [name for name, _ in rule.match.attributes]
        assert names == [name for name in ATTRIBUTES[rule.match.protocol] if name in names]
        said.setdefault(rule.match.protocol, set()).update(names)
    assert said == {protocol: set(attributes) for protocol, attributes in ATTRIBUTES.items()}
    definitions = schema.load("filter")["$defs"]
    for protocol, attributes in ATTRIBUTES.items():
        shape = definitions[definitions["rule"]["properties"][protocol]["$ref"].rpartition("/")[2]]
        assert set(shape["properties"]) == {"match", *attributes}


@pytest.mark.real
def test_all_of_libvirts_language_can_be_said() -> None:
    """libvirt's schema has no attribute that the inventory hasn't, and lacks only what is known to be missing."""
    libvirts = dict(_libvirts_attributes())
    assert libvirts.keys() == ATTRIBUTES.keys()
    for protocol, attributes in ATTRIBUTES.items():
        beyond = BEYOND_LIBVIRTS_SCHEMA.get(protocol, frozenset())
        assert set(attributes) - beyond == libvirts[protocol] - {"match"}, protocol


def _libvirts_attributes() -> Iterator[tuple[str, set[str]]]:
    grammar = etree.parse(LIBVIRTS_SCHEMA)
    defined = {definition.get("name"): definition for definition in grammar.iter(f"{RNG}define")}

    def attributes(node: Any) -> Iterator[str]:
        if node.tag == f"{RNG}attribute":
            yield node.get("name")
        elif node.tag == f"{RNG}ref":
            yield from attributes(defined[node.get("name")])
        else:
            for child in node:
                yield from attributes(child)

    for element in grammar.findall(f".//{RNG}element[@name='rule']//{RNG}element"):
        yield element.get("name", ""), set(attributes(element))


@pytest.mark.parametrize(
    ("rule", "message", "hint"),
    [
        ({"tpc": {}}, '"tpc" is not a key of rules[0]', "Did you mean 'tcp'?"),
        ({"tcp": {"dstport": 22}}, '"dstport" is not a key of rules[0].tcp', "Did you mean 'dstportend'?"),
        ({"icmp": {"srcmacmask": "ff:ff:ff:ff:ff:ff"}}, '"srcmacmask" is not a key of rules[0].icmp', "Did you mean"),
        ({"tcp": {}, "udp": {}}, "rules[0] is a mapping", "one protocol at most"),
        ({"priority": 5000}, "at most 1000", "-1000"),
        ({"direction": "forward"}, "must be one of in, out, inout", "guest"),
        ({"tcp": {"dstportstart": 70000}}, "at most 65535", "65535"),
        ({"tcp": {"dstportstart": "22; reboot"}}, "isn't of the form", "variable"),
        ({"tcp": {"comment": "$(reboot)"}}, "isn't of the form", "256"),
        ({"tcp": {"comment": "a\nb"}}, "isn't of the form", "256"),
        ({"tcp": {"flags": "SYN"}}, "isn't of the form", "MASK/FLAGS"),
        ({"tcp": {"ipsetflags": "src"}}, "isn't of the form", "tcp"),
        ({"icmp": {"type": "$TYPE"}}, "isn't of the form", "0x1f"),
        ({"ip": {"srcipaddr": "192.0.2.0/24"}}, "isn't of the form", "prefix length"),
        ({"ip": {"srcipaddr": "0::0"}}, "isn't of the form", "IPv4"),
        ({"ip": {"srcipaddr": "192.0.2.256"}}, "isn't of the form", "IPv4"),
        ({"tcp-ipv6": {"dstipto": "2001:db8::9"}}, "isn't of the form", "only as a variable"),
        ({"ipv6": {"srcipaddr": "1:::2"}}, "isn't of the form", "IPv6"),
        ({"ipv6": {"srcipaddr": "1::2::3"}}, "isn't of the form", "IPv6"),
        ({"mac": {"srcmacaddr": "52:54:00:00:00"}}, "isn't of the form", "Six pairs"),
        ({"filter": "clean-traffic", "parameters": {"IP": "192.0.2.0/24"}}, "isn't of the form", "slash"),
        ({"filter": "clean-traffic", "parameters": {"IP": []}}, "is empty", "list"),
        ({"filter": "clean-traffic", "parameters": {"I-P": 1}}, '"I-P" can\'t be a key', "dollar"),
        ({"filter": "clean-traffic", "action": "drop"}, '"action" is not a key', "filter"),
    ],
)
def test_what_libvirt_would_misread_is_refused(rule: dict[str, Any], message: str, hint: str) -> None:
    """Each once, with a word about what to do."""
    ((its_message, its_hint),) = told(**rule)
    assert message in its_message
    assert hint in its_hint


@pytest.mark.parametrize("text", ["::", "::1", "fe80::1", "1:2:3:4:5:6:7:8", "2001:db8::", "$IPV6", "$A[@1]", "$A[0]"])
def test_ipv6_addresses(text: str) -> None:
    """The unspecified address and variables among them."""
    assert told(ipv6={"srcipaddr": text}) == []


@pytest.mark.parametrize(
    ("chain", "valid"), [("ipv4-kvmgen", True), ("arp", True), ("ipv4-too-long", False), ("tcp", False), ("", False)]
)
def test_chain_names(chain: str, valid: bool) -> None:
    """libvirt's prefixes, twelve characters at most."""
    assert (schema.validate("filter", {"chain": chain, "rules": []}, "x") == []) is valid
