"""Filters as a person might write them: Hypothesis strategies, with few values, so that packets meet them.

``python -m tests.lab.random_filters --filters 500 --seed 1`` compares so many with a real libvirtd and kernel.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from kvmgen.inventory.filters import ATTRIBUTES
from kvmgen.model.filters import EBTABLES_PROTOCOLS
from kvmgen.model.platform import Platform
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.nwfilter import Filters
from kvmgen.render.nwfilter import filter_xml
from tests.inventory.nwfilters import lowered
from tests.lab.filter_packets import FILTERED_MAC, Ground
from tests.lab.filter_packets import ground as open_ground
from tests.lab.filter_rules import BELIEVED
from tests.lab.host import LabHost

PLATFORM = Platform.parse("el9.2")
"""Its libvirt is the one that runs here."""

MACS = ("52:54:00:00:00:01", "52:54:00:00:00:02", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01")
IPV4 = ("192.0.2.11", "192.0.2.12", "192.0.2.0", "198.51.100.7", "0.0.0.0", "224.0.0.1")
IPV6 = ("2001:db8::11", "2001:db8::12", "2001:db8::", "fe80::5054:ff:fe00:1", "fe80::", "::", "ff02::1")
PARAMETERS: Mapping[str, Sequence[str]] = {
    "IP": ["192.0.2.11"],
    "IPV6": ["2001:db8::11"],
    "ADDRESSES": ["192.0.2.12", "198.51.100.7", "192.0.2.12"],
    "ADDRESSES6": ["2001:db8::12", "fe80::5054:ff:fe00:1"],
    "LENGTHS": ["32", "24", "24"],
    "PORTS": ["22", "53", "1024:2000"],
    "OTHERS": ["80", "53", "22"],
    "IPV6_TYPE": ["0x86dd"],
    "CTRL_IP_LEARNING": ["none"],
}
"""What the generated filters' variables are given; ``MAC`` is there by itself."""

_PORTS = st.sampled_from((22, 53, 67, 68, 80, 546, 547, 1024))
_ONE = {
    "srcmacaddr": st.sampled_from((*MACS, "$MAC")),
    "dstmacaddr": st.sampled_from((*MACS, "$MAC")),
    "srcmacmask": st.sampled_from(("ff:ff:ff:ff:ff:ff", "ff:ff:ff:00:00:00")),
    "dstmacmask": st.sampled_from(("ff:ff:ff:ff:ff:ff", "ff:ff:ff:00:00:00")),
    "protocolid": st.sampled_from(("ipv4", "ipv6", "arp", "rarp", "vlan", "0x88cc")),
    "encap-protocol": st.sampled_from(("ipv4", "arp", 2048, "0x800")),
    "vlanid": st.sampled_from((0, 7, 8, 4094)),
    "hwtype": st.sampled_from((1, 6)),
    "protocoltype": st.sampled_from((2048, 2054)),
    "opcode": st.sampled_from(("Request", "Reply", 3, 9, 17)),
    "gratuitous": st.booleans(),
    "dscp": st.sampled_from((0, 10, 46)),
    "connlimit-above": st.sampled_from((1, 2)),
    "state": st.sampled_from(("NEW", "ESTABLISHED", "NEW,ESTABLISHED", "ESTABLISHED,RELATED", "INVALID", "NONE")),
    "flags": st.sampled_from(("SYN/SYN", "SYN,ACK/SYN", "ALL/NONE", "SYN,RST,ACK,FIN/ACK")),
    "comment": st.sampled_from(("why (because), 100%", "x")),
}
_STP_MACS = {name: st.sampled_from(MACS[:2]) for name in ("root-address", "sender-address")}
_STP_MACS |= {f"{name}-mask": st.just("ff:ff:ff:00:00:00") for name in _STP_MACS}
_RANGE = {"portstart": (22, 53, 67), "portend": (67, 80, 1024)}
_LISTS = {"srcportstart": ("$PORTS", "$PORTS[1]"), "dstportstart": ("$PORTS", "$OTHERS", "$OTHERS[@1]")}


def _value(protocol: str, attribute: str) -> st.SearchStrategy[Any]:
    """A value that libvirt and ebtables or iptables take."""
    if protocol == "stp":
        return _STP_MACS.get(attribute, _ONE["srcmacaddr"] if "mac" in attribute else _stp_number(attribute))
    if attribute in _ONE:
        return _ONE[attribute]
    if attribute.endswith("macaddr"):
        return _ONE["srcmacaddr"]
    if attribute in ("type", "typeend"):
        numbers = (128, 133, 134, 135) if protocol.endswith("v6") else (0, 3, 8)
        return st.sampled_from(numbers if attribute == "type" else (135, 136, 255))
    if attribute in ("code", "codeend"):
        return st.sampled_from((0, 1) if attribute == "code" else (1, 255))
    if attribute == "protocol":
        return st.sampled_from(("udp", "tcp", "icmpv6", "icmp", 17, "0x06", 89))
    if attribute.endswith(("portstart", "portend")):
        return st.sampled_from((*_RANGE[attribute[3:]], *_LISTS.get(attribute, ())))
    return _address(protocol, attribute)


def _stp_number(attribute: str) -> st.SearchStrategy[Any]:
    if attribute in ("type", "flags"):
        return st.sampled_from((0, 1))
    return st.sampled_from((8, 9) if attribute.endswith("-hi") else (2, 3))


def _address(protocol: str, attribute: str) -> st.SearchStrategy[Any]:
    six = protocol.endswith("v6")
    if attribute.endswith("mask"):
        return st.sampled_from((10, 64, 128) if six else (8, 24, 32, "255.255.255.0"))
    if attribute.endswith("ipfrom"):
        return st.just("2001:db8::1" if six else "192.0.2.1")
    if attribute.endswith("ipto"):
        return st.just("$IPV6" if attribute == "dstipto" else "2001:db8::ff") if six else st.just("192.0.2.200")
    variables = ("$IPV6", "$ADDRESSES6", "$ADDRESSES6[@1]") if six else ("$IP", "$ADDRESSES", "$ADDRESSES[@2]")
    return st.sampled_from((*(IPV6 if six else IPV4), *variables))


_UNREAD = {"ipset", "ipsetflags"}
_NEEDS = (("-mask", ""), ("macmask", "macaddr"), ("ipmask", "ipaddr"), ("ipto", "ipfrom"), ("portend", "portstart"))


@st.composite
def _said(draw: st.DrawFn, protocol: str, direction: str) -> dict[str, Any]:
    """A few attributes of a protocol, with what they need beside them."""
    known = [name for name in ATTRIBUTES[protocol] if name not in _UNREAD]
    if protocol == "tcp-ipv6":
        known.remove("flags")
    names = set(draw(st.lists(st.sampled_from(known), max_size=4, unique=True)))
    for ending, other in (*_NEEDS, ("-hi", "")):
        names |= {name.removesuffix(ending) + other for name in names if name.endswith(ending)} & set(known)
    said = {name: draw(_value(protocol, name)) for name in known if name in names}
    if draw(st.integers(0, 4)) == 0:
        said["match"] = False
    _fit(protocol, direction, said)
    return said


def _fit(protocol: str, direction: str, said: dict[str, Any]) -> None:
    """Take away what libvirt or ebtables refuses."""
    ports = [name for name in said if "port" in name and protocol in ("ip", "ipv6")]
    types = [name for name in ("type", "typeend", "code", "codeend") if name in said and protocol == "ipv6"]
    if types or ports:
        said.pop("match", None)
        said["protocol"] = "icmpv6" if types else "udp"
        for name in ports if types else ():
            del said[name]
    if protocol == "stp" and direction == "inout":
        said.pop("srcmacaddr", None)
        said.pop("srcmacmask", None)
    for side in ("src", "dst"):
        if isinstance(said.get(f"{side}portstart"), str):
            said.pop(f"{side}portend", None)
    # Two lists that one iterator walks through are as long as each other.
    lists = [name for name, text in said.items() if str(text).startswith("$") and not str(text).endswith("]")]
    for number, name in enumerate(lists):
        said[name] = f"{said[name]}[@{number}]" if number else said[name]


def _own_protocols(chain: str) -> tuple[str, ...]:
    """The protocols that mean something in a chain."""
    if chain == "root":
        return tuple(ATTRIBUTES)
    kind = chain.partition("-")[0]
    return tuple(dict.fromkeys(("mac", {"ipv4": "ip"}.get(kind, kind))))


@st.composite
def _rule(draw: st.DrawFn, chain: str, priority: int) -> dict[str, Any]:
    direction = draw(st.sampled_from(("in", "out", "inout")))
    protocol = draw(st.sampled_from((*_own_protocols(chain), "")))
    actions = ["accept", "accept", "drop", "reject", "return"]
    if not protocol or protocol in EBTABLES_PROTOCOLS:
        actions.append("continue")
    rule: dict[str, Any] = {"priority": priority, "action": draw(st.sampled_from(actions)), "direction": direction}
    if draw(st.integers(0, 6)) == 0:
        rule["statematch"] = False
    if protocol:
        rule[protocol] = draw(_said(protocol, direction))
    return rule


CHAINS = ("root", "root", "mac", "vlan", "stp", "arp-own", "rarp", "ipv4", "ipv4-own", "ipv6", "ipv6-own")


@st.composite
def one_filter(draw: st.DrawFn, most: int = 20, chains: Sequence[str] = CHAINS) -> dict[str, Any]:
    """One filter, as the inventory has it; each rule has a priority of its own."""
    chain = draw(st.sampled_from(chains))
    priorities = draw(st.lists(st.integers(-1000, 1000), min_size=1, max_size=most, unique=True))
    rules = [draw(_rule(chain, priority)) for priority in priorities]
    return {"chain": chain, "rules": rules}


@st.composite
def trees(draw: st.DrawFn, most: int = 20, limits: bool = True) -> dict[str, dict[str, Any]]:
    """A filter called ``root`` and those that it includes, leaves first; no two chains have one priority.

    With ``limits``, rules may limit connections.
    """
    names = draw(st.lists(st.sampled_from(CHAINS[2:]), max_size=3, unique=True))
    found: dict[str, dict[str, Any]] = {}
    for number, chain in enumerate(names):
        # Rules of different filters stand in different chains, so that equal priorities never meet.
        leaf = draw(one_filter(most=most // 3 + 1, chains=(chain,)))
        found[f"leaf{number}"] = {**leaf, "priority": 10 * number - draw(st.integers(0, 80)) * 10 - number}
    root = draw(one_filter(most=most, chains=("root",)))
    includes: list[dict[str, Any]] = [{"filter": name} for name in found]
    if draw(st.booleans()):
        includes = [{**one, "parameters": {"OTHERS": ["80", "443", "8080"]}} for one in includes]
    documents = {**found, "root": {**root, "rules": [*includes, *root["rules"]]}}
    return documents if limits else {name: _without_limits(document) for name, document in documents.items()}


def _without_limits(document: dict[str, Any]) -> dict[str, Any]:
    """The filter without limits of connections, which packets beside it could reach."""
    rules = [
        {key: _without(value, "connlimit-above") if isinstance(value, dict) else value for key, value in rule.items()}
        for rule in document["rules"]
    ]
    return {**document, "rules": rules}


def _without(said: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in said.items() if key != name}


def bound(ground: Ground, documents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Define filters, leaves first, and say what ``root`` does otherwise than predicted."""
    texts = {name: filter_xml(lowered(document, name)) for name, document in documents.items()}
    return disagreements(ground, texts, "root", PARAMETERS)


def disagreements(
    ground: Ground, texts: Mapping[str, str], name: str, parameters: Mapping[str, Sequence[str]]
) -> list[str]:
    """The same for filters as XML, of which one is bound."""
    host = ground.filtered.host
    files = {f"libvirt/nwfilters/{one}.xml": text for one, text in texts.items()}
    folder = Folder(name=host.name, platform=PLATFORM, files=files, guest_platforms={})
    believed = Filters(folder).bind(name, parameters, FILTERED_MAC, BELIEVED)
    try:
        for text in texts.values():
            host.virsh_with("nwfilter-define", text)
        return ground.disagreements(believed, name, parameters)
    finally:
        for one in reversed([*texts]):
            host.virsh("nwfilter-undefine", one, check=False)


def _main() -> int:
    """Compare many random filters and reduce what differs; the small filter is printed as a case for tests/cases."""
    parser = argparse.ArgumentParser(description=_main.__doc__)
    parser.add_argument("--filters", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with LabHost() as host:
        host.start_libvirtd()
        with open_ground(host, asked.seed) as ground:
            try:
                _all(ground, asked.filters, asked.seed)
            except AssertionError as error:
                print(error)
                return 1
            print(f"{asked.filters} filters, {ground.count} frames, {ground.unknown} of them unknown: no disagreement")
    return 0


def _all(ground: Ground, count: int, chosen: int) -> None:
    @seed(chosen)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(documents=trees(most=14, limits=False))
    def agree(documents: dict[str, dict[str, Any]]) -> None:
        found = bound(ground, documents)
        assert not found, "\n".join([*found[:3], yaml.safe_dump(documents, sort_keys=False)])

    agree()


if __name__ == "__main__":
    raise SystemExit(_main())
