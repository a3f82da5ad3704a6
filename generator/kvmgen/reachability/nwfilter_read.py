"""An nwfilter's XML as libvirt's parser takes it: what it doesn't know, it skips without a word.

Source: ``virNWFilterRuleParse`` and the tables of attributes in
https://gitlab.com/libvirt/libvirt/-/blob/master/src/conf/nwfilter_conf.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from kvmgen.model.builtin_filters import BUILT_IN_FILTERS
from kvmgen.model.filters import READ_SINCE, Filter, FilterInclude
from kvmgen.model.platform import Version
from kvmgen.reachability._xml import Element, attributes, children, line_of, read
from kvmgen.reachability.step import Cause
from kvmgen.value import value

_MACS = ("srcmacaddr", "srcmacmask", "dstmacaddr", "dstmacmask")
_ADDRESSES = ("srcipaddr", "srcipmask", "dstipaddr", "dstipmask")
_PORTS = ("srcportstart", "srcportend", "dstportstart", "dstportend")
_TRACKED = ("dscp", "connlimit-above", "state", "ipset", "ipsetflags")
_PLAIN = ("srcmacaddr", *_ADDRESSES, "srcipfrom", "srcipto", "dstipfrom", "dstipto", *_TRACKED, "comment")
_WITH_PORTS = (*_PLAIN, *_PORTS)
_MESSAGE = (*_PLAIN, "type", "code")
_ARP = (
    *_MACS,
    *("hwtype", "protocoltype", "opcode", "arpsrcmacaddr", "arpdstmacaddr"),
    *("arpsrcipaddr", "arpsrcipmask", "arpdstipaddr", "arpdstipmask", "gratuitous"),
)
STP_FIELDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "type": ("--stp-type", ""),
        "flags": ("--stp-flags", ""),
        "root-priority": ("--stp-root-pri", "root-priority-hi"),
        "root-address": ("--stp-root-addr", "root-address-mask"),
        "root-cost": ("--stp-root-cost", "root-cost-hi"),
        "sender-priority": ("--stp-sender-prio", "sender-priority-hi"),
        "sender-address": ("--stp-sender-addr", "sender-address-mask"),
        "port": ("--stp-port", "port-hi"),
        "age": ("--stp-msg-age", "age-hi"),
        "max-age": ("--stp-max-age", "max-age-hi"),
        "hello-time": ("--stp-hello-time", "hello-time-hi"),
        "forward-delay": ("--stp-forward-delay", "forward-delay-hi"),
    }
)
"""A spanning tree message's fields: ebtables' option, and the attribute with its range's end or its mask."""

_STP = ("srcmacaddr", "srcmacmask", *(name for field, (_, end) in STP_FIELDS.items() for name in (field, end) if name))

_READ: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "arp": _ARP,
        "rarp": _ARP,
        "mac": (*_MACS, "protocolid"),
        "vlan": (*_MACS, "vlanid", "encap-protocol"),
        "stp": _STP,
        "ip": (*_MACS, *_ADDRESSES, "protocol", *_PORTS, "dscp"),
        "ipv6": (*_MACS, *_ADDRESSES, "protocol", *_PORTS, "type", "typeend", "code", "codeend"),
        "tcp": (*_WITH_PORTS, "option", "flags"),
        "tcp-ipv6": (*_WITH_PORTS, "option"),
        **dict.fromkeys(("udp", "sctp", "udp-ipv6", "sctp-ipv6"), _WITH_PORTS),
        **dict.fromkeys(("icmp", "icmpv6"), _MESSAGE),
        **dict.fromkeys(("udplite", "esp", "ah", "all", "igmp"), _PLAIN),
        **dict.fromkeys(("udplite-ipv6", "esp-ipv6", "ah-ipv6", "all-ipv6"), _PLAIN),
    }
)
"""What libvirt reads of each protocol, in its order; ``flags`` of ``tcp-ipv6`` isn't among it."""

_CHAIN_PRIORITIES = {"root": 0, "stp": -810, "mac": -800, "vlan": -750, "ipv4": -700, "ipv6": -600, "arp": -500}
_RARP_PRIORITY = -400
_DEFAULT_PRIORITY = 500
_LIMIT = 1000


@value
class ReadRule:
    """A rule. ``protocol`` is empty where it fits every packet, ``said`` holds the attributes that count."""

    action: str
    direction: str
    priority: int
    protocol: str
    said: Mapping[str, str]
    negated: bool
    state_match: bool
    cause: Cause


@value
class ReadInclude:
    """A reference to another filter."""

    filter: str
    parameters: Mapping[str, tuple[str, ...]]


@value
class ReadFilter:
    """A filter; ``priority`` is its chain's."""

    name: str
    chain: str
    priority: int
    entries: tuple[ReadRule | ReadInclude, ...]


def read_filter(path: str, text: str, libvirt: Version) -> ReadFilter:
    """A filter from its file; an XML error where it isn't well-formed, an attribute error where libvirt refuses it."""
    root = read(text)
    words = attributes(root)
    chain = words.get("chain", "root")
    return ReadFilter(
        name=words["name"],
        chain=chain,
        priority=int(words.get("priority", default_priority(chain))),
        entries=tuple(_entries(root, path, libvirt)),
    )


def built_in(name: str, libvirt: Version) -> ReadFilter | None:
    """One of libvirt's own filters."""
    filter_ = BUILT_IN_FILTERS.get(name)
    if filter_ is None:
        return None
    priority = default_priority(filter_.chain) if filter_.priority is None else filter_.priority
    entries = tuple(_built_in_entries(filter_, libvirt))
    return ReadFilter(name=name, chain=filter_.chain, priority=priority, entries=entries)


def default_priority(chain: str) -> int:
    """The priority of a chain that names none: that of its protocol."""
    if chain.startswith("rarp"):
        return _RARP_PRIORITY
    return next((priority for prefix, priority in _CHAIN_PRIORITIES.items() if chain.startswith(prefix)), 0)


def _entries(root: Element, path: str, libvirt: Version) -> Iterator[ReadRule | ReadInclude]:
    for element in children(root):
        if element.tag == "rule":
            yield _rule(element, path, libvirt)
        elif element.tag == "filterref":
            yield ReadInclude(filter=attributes(element)["filter"], parameters=_parameters(element))


def _parameters(element: Element) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for parameter in map(attributes, children(element, "parameter")):
        name = parameter["name"]
        found[name] = (*found.get(name, ()), parameter["value"])
    return found


def _rule(element: Element, path: str, libvirt: Version) -> ReadRule:
    protocol, match = "", dict[str, str]()
    for inner in children(element):
        tag = str(inner.tag)
        if tag in _READ and protocol in ("", tag):
            protocol = tag
            match |= attributes(inner)
    words = attributes(element)
    action, direction = words["action"], words["direction"]
    priority = _priority(words.get("priority"))
    shown = _shown(action, direction, protocol, match, priority)
    return ReadRule(
        action=action,
        direction=direction,
        priority=priority,
        protocol=protocol,
        said=_said(protocol, match, libvirt),
        negated=match.get("match") == "no",
        state_match=words.get("statematch", "").lower() not in ("0", "false"),
        cause=Cause(file=path, line=line_of(element), text=shown),
    )


def _priority(text: str | None) -> int:
    """What is beyond the limits is silently the default."""
    try:
        number = int(text or "")
    except ValueError:
        return _DEFAULT_PRIORITY
    return number if -_LIMIT <= number <= _LIMIT else _DEFAULT_PRIORITY


def _built_in_entries(filter_: Filter, libvirt: Version) -> Iterator[ReadRule | ReadInclude]:
    for entry in filter_.entries:
        if isinstance(entry, FilterInclude):
            yield ReadInclude(filter=entry.filter, parameters=dict(entry.parameters))
            continue
        protocol = entry.match.protocol if entry.match else ""
        match = dict(entry.match.attributes) if entry.match else {}
        priority = _DEFAULT_PRIORITY if entry.priority is None else entry.priority
        yield ReadRule(
            action=entry.action,
            direction=entry.direction,
            priority=priority,
            protocol=protocol,
            said=_said(protocol, match, libvirt),
            negated=bool(entry.match and entry.match.negated),
            state_match=entry.state_match,
            cause=Cause(
                file=f"libvirt:{filter_.name}",
                text=_shown(entry.action, entry.direction, protocol, match, priority),
            ),
        )


def _said(protocol: str, match: Mapping[str, str], libvirt: Version) -> dict[str, str]:
    """What libvirt keeps of the attributes, in its own order: iterators walk in that order."""
    known = (name for name in _READ.get(protocol, ()) if name in match)
    return {name: match[name] for name in known if libvirt >= READ_SINCE.get((protocol, name), ())}


def _shown(action: str, direction: str, protocol: str, match: Mapping[str, str], priority: int) -> str:
    words = [action, direction, protocol, *(f"{name}='{text}'" for name, text in match.items())]
    return " ".join((*filter(None, words), f"(priority {priority})"))
