"""Values of nwfilters' rules that libvirt forgets, refuses or takes for nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from types import MappingProxyType

from kvmgen.checks._filters import PORTS, conditions, family_of, number, own_rules
from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.filters import FilterRule, Match
from kvmgen.model.site import Site

FORGOTTEN = Rule(code="KV513", title="Conditions that libvirt forgets or misreads")
REVERSED = Rule(code="KV522", title="Reversed ranges in a filter", guards=True)
HALF = Rule(code="KV523", title="Conditions that lack another one")


def forgotten(site: Site) -> Iterator[Diagnostic]:
    """Some conditions are read by libvirt, kept in the filter and left out of the rule that it makes.

    What is left is wider than what stands here: an accept for the members of a set accepts everybody. libvirt 9.0 heeds
    a set in rules for all and all-ipv6 that have flags; without flags, other protocols don't even start. It never
    writes the flags of tcp-ipv6 nor ``gratuitous: false``, takes an address for the whole range beside it, and drops
    the state where state matching is off. In ip, ``dscp`` is compared with the whole byte that DSCP is six bits of.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 100, action: accept, direction: in, tcp: {ipset: office, ipsetflags: src}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 100, action: accept, direction: in, all: {ipset: office, ipsetflags: src}}

    Source: https://github.com/libvirt/libvirt/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c
    """
    for _, rule in own_rules(site):
        if rule.match is not None:
            for name, why in _forgotten(rule, rule.match, conditions(rule)):
                forgets = f"libvirt forgets {name} {why}: the rule matches more than it says"
                misreads = f"ebtables compares {name} with the whole TOS byte: the rule matches other packets"
                yield Diagnostic(
                    rule=FORGOTTEN,
                    message=misreads if name == "dscp" else forgets,
                    hint="Say it in another way or leave it out.",
                    origin=rule.origin.at(rule.match.protocol, name),
                )


def _forgotten(rule: FilterRule, match: Match, said: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if "ipset" in said and match.protocol not in ("all", "all-ipv6"):
        yield "ipset", f"in rules for {match.protocol}"
    elif "ipset" in said and "ipsetflags" not in said:
        yield "ipset", "without ipsetflags"
    if match.protocol == "tcp-ipv6" and "flags" in said:
        yield "flags", "in rules for tcp-ipv6"
    if said.get("gratuitous") == "no":
        yield "gratuitous", "where it is false"
    if "state" in said and not rule.state_match:
        yield "state", "beside statematch: false"
    if match.protocol == "ip" and said.get("dscp", "0") not in ("0", "0x0", "0x00"):
        yield "dscp", ""
    for side in ("src", "dst"):
        if f"{side}ipfrom" in said and f"{side}ipaddr" in said:
            yield f"{side}ipfrom", f"beside {side}ipaddr"


_ENDS: Mapping[str, str] = MappingProxyType(
    {
        "srcportend": "srcportstart",
        "dstportend": "dstportstart",
        "srcipto": "srcipfrom",
        "dstipto": "dstipfrom",
        "typeend": "type",
        "codeend": "code",
        **{
            f"{name}-hi": name
            for name in ("root-priority", "root-cost", "sender-priority", "port", "age", "max-age", "hello-time")
        },
        "forward-delay-hi": "forward-delay",
    }
)
"""Where each range ends, and where it starts."""


def reversed_ranges(site: Site) -> Iterator[Diagnostic]:
    """libvirt hands on a range whose end is before its start; whether it says so depends on who gets it.

    iptables and ebtables refuse such ports, types and numbers, and the guest doesn't start. A range of addresses is
    accepted and matches no packet.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 100, action: accept, direction: in, tcp: {dstportstart: 8090, dstportend: 8080}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 100, action: accept, direction: in, tcp: {dstportstart: 8080, dstportend: 8090}}

    Source: iptables-extensions(8) (https://man7.org/linux/man-pages/man8/iptables-extensions.8.html).
    """
    for _, rule in own_rules(site):
        said = conditions(rule)
        for end, start in _ENDS.items():
            if end in said and start in said and rule.match is not None:
                last, first = _value(end, said[end]), _value(start, said[start])
                if last is not None and first is not None and last < first:
                    yield _reversed(rule, rule.match, start, end, said)


def _value(name: str, text: str) -> int | None:
    if not name.startswith(("srcip", "dstip")):
        return number(text)
    try:
        return int(ip_address(text))
    except ValueError:  # a variable
        return None


def _reversed(rule: FilterRule, match: Match, start: str, end: str, said: Mapping[str, str]) -> Diagnostic:
    effect = "the rule matches no packet" if "ip" in start[:5] else "a guest with this rule doesn't start"
    return Diagnostic(
        rule=REVERSED,
        message=f"{end} {said[end]} is before {start} {said[start]}: {effect}",
        hint="Swap them.",
        origin=rule.origin.at(match.protocol, end),
        related=((rule.origin.at(match.protocol, start), "the start of the range"),),
    )


_NEEDS: Mapping[str, str] = MappingProxyType(
    {
        **{end: start for end, start in _ENDS.items() if end not in ("typeend", "codeend")},
        **{f"{side}ipmask": f"{side}ipaddr" for side in ("src", "dst", "arpsrc", "arpdst")},
        **{f"{side}macmask": f"{side}macaddr" for side in ("src", "dst")},
        "root-address-mask": "root-address",
        "sender-address-mask": "sender-address",
    }
)
"""What libvirt writes only together with another condition."""

_WITH_PORTS = frozenset(("tcp", "udp", "sctp", "6", "17", "33", "132"))
_ICMPV6 = frozenset(("icmpv6", "58"))


def halves(site: Site) -> Iterator[Diagnostic]:
    """A condition that says only half is dropped or refused: a mask needs its address, an end its start.

    An ICMP code needs its type. Dropped, it leaves a rule that matches every packet of its protocol. In rules for ip
    and ipv6, ports need a protocol that has them, and ICMPv6 types need ``protocol: icmpv6``: libvirt or ebtables
    refuses the filter otherwise.

    Bad::

        # filters/web.yaml
        rules:
          - {priority: 100, action: drop, direction: in, tcp: {srcipmask: 8}}
          - {priority: 110, action: drop, direction: in, ip: {dstportstart: 25}}

    Good::

        # filters/web.yaml
        rules:
          - {priority: 100, action: drop, direction: in, tcp: {srcipaddr: 10.0.0.0, srcipmask: 8}}
          - {priority: 110, action: drop, direction: in, ip: {protocol: tcp, dstportstart: 25}}

    Source: libvirt's "Supported protocols" (https://libvirt.org/formatnwfilter.html#supported-protocols), and
    https://github.com/libvirt/libvirt/blob/master/src/conf/nwfilter_conf.c.
    """
    for _, rule in own_rules(site):
        if rule.match is not None:
            yield from _halves(rule, rule.match, conditions(rule))


def _halves(rule: FilterRule, match: Match, said: Mapping[str, str]) -> Iterator[Diagnostic]:
    for name in said:
        needed = "type" if name == "code" and family_of(rule) else _NEEDS.get(name)
        if needed is not None and needed not in said:
            effect = "libvirt leaves it out, and the rule matches more than it says"
            yield _half(
                rule, match, name, f"{name} needs {needed}: without it, {effect}", f"Add {needed}, or remove it."
            )
    if match.protocol in ("ip", "ipv6"):
        yield from _without_protocol(rule, match, said)


def _without_protocol(rule: FilterRule, match: Match, said: Mapping[str, str]) -> Iterator[Diagnostic]:
    protocol = said.get("protocol", "")
    value = number(protocol)
    protocol = protocol if value is None else str(value)
    port = next((name for name in PORTS if name in said), None)
    type_ = next((name for name in ("type", "typeend", "code", "codeend") if name in said), None)
    if port and not protocol.startswith("$") and protocol not in _WITH_PORTS:
        message = f"{port} needs a protocol that has ports: libvirt refuses the filter"
        yield _half(rule, match, port, message, "Add protocol: tcp, udp or sctp.")
    if type_ and not protocol.startswith("$") and protocol not in _ICMPV6:
        message = f"{type_} needs the protocol that has it: a guest with this rule doesn't start"
        yield _half(rule, match, type_, message, "Add protocol: icmpv6.")


def _half(rule: FilterRule, match: Match, name: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=HALF, message=message, hint=hint, origin=rule.origin.at(match.protocol, name), on_key=True)
