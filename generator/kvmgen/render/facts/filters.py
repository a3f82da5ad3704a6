"""What libvirt makes of nwfilters."""

from __future__ import annotations

from functools import partial

from kvmgen.render.facts.fact import Fact

_FORMAT = "https://libvirt.org/formatnwfilter.html"
_DRIVER = "https://github.com/libvirt/libvirt/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c"
_MEASURED = "measured on libvirt 9.0"

_fact = partial(Fact, file=r"libvirt/nwfilters/.+\.xml", source=_FORMAT)

FILTERS: tuple[Fact, ...] = (
    _fact(
        line="<uuid>",
        reason="made of the site's and the filter's name: a definition with another UUID, or none, is refused where "
        "the filter exists. libvirt's built-in filters have others on each host, and are never defined anew",
        source=_MEASURED,
        rules=("KV021", "KV404"),
    ),
    _fact(
        line="<filter .*chain='(?!root)",
        reason="a chain's name starts with its protocol and has at most 12 characters; its priority says when it is "
        "passed, and must be the same wherever it is named",
        source=f"{_FORMAT}#filtering-chains",
        rules=("KV502", "KV534"),
    ),
    _fact(
        line="<filter .*chain='root'",
        reason="rules for tcp, udp, icmp and all work in chain root alone: elsewhere their accept lands behind the "
        "drop of root",
        source=_MEASURED,
        rules=("KV504",),
    ),
    _fact(
        line="^  <filterref ",
        reason="libvirt defines a filter whose include is missing, and then starts no guest with it: on the host the "
        "included ones are defined first",
        source=_MEASURED,
        rules=("KV020", "KV501"),
    ),
    _fact(
        line="<rule .*priority='500'",
        reason="500 is what libvirt takes for a rule that says none; it is written out so that the order can be read "
        "here. Equal priorities have no order",
        source=f"{_FORMAT}#filtering-rules",
        rules=("KV505",),
    ),
    _fact(
        line="<rule .*priority='(-?(?!500')[0-9]+)'",
        reason="the lowest priority is asked first; beyond -1000 and 1000 libvirt takes 500 without a word",
        source=f"{_FORMAT}#filtering-rules",
        rules=("KV505", "KV506"),
    ),
    _fact(
        line="<rule action='drop' direction='inout' priority='(999|1000)'",
        reason="what nothing before it accepted: libvirt lets pass what no rule judges",
        source=f"{_FORMAT}#filtering-rules",
        rules=("KV519", "KV520"),
    ),
    _fact(
        line="statematch='false'",
        reason="libvirt adds states to every rule at iptables' layer; connection tracking gives neighbour discovery "
        "none, so that only a rule without them fits it",
        source=f"{_FORMAT}#advanced-filter-configuration-topics",
        rules=("KV521",),
    ),
    _fact(
        line="<all-ipv6",
        reason="`all` is IPv4 only: without its twin IPv6 passes every rule for tcp, udp, icmp or all",
        source=_MEASURED,
        rules=("KV520",),
    ),
    _fact(
        line="<all(?!-)",
        reason="IPv4 at iptables' layer. A drop there holds both directions, which only the final one should",
        source=_MEASURED,
        rules=("KV508", "KV520"),
    ),
    _fact(
        line="connlimit-above=",
        reason="a drop ahead of the accept, of packets in state NEW: in an accept it would accept only what is above "
        "the limit, and without the state it also kills the connections that are allowed",
        source=f"{_FORMAT}#limiting-number-of-connections",
        rules=("KV516", "KV517", "KV518"),
    ),
    _fact(
        line="state='[A-Z,]*RELATED",
        reason="libvirt never accepts RELATED by itself: without it the errors that belong to a connection are lost, "
        "and with them path MTU discovery",
        source=_DRIVER,
        rules=("KV510",),
    ),
    _fact(
        line="<(tcp|udp|icmp|icmpv6|tcp-ipv6|udp-ipv6|sctp)(?=[ /])(?!.*(state|connlimit))",
        reason="at iptables' layer an accept also lets the answers of its connections back. It sees what is bridged "
        "and what the guest sends, but not what the host sends or routes to the guest",
        source=_MEASURED,
        rules=("KV509", "KV511", "KV612"),
    ),
    _fact(
        line="<icmp(v6)? .*type=",
        reason="a type has one direction: with `inout` libvirt makes no rule at all",
        source=_MEASURED,
        rules=("KV511",),
    ),
    _fact(
        line="<ip(v6)? .*protocol=",
        reason="Ethernet's layer: it knows no connections, but it is the only one that sees what the host sends or "
        "routes to the guest",
        source=_MEASURED,
        rules=("KV537",),
    ),
    _fact(
        line="<ipv6 .* type=",
        reason="libvirt reads the type here since 1.2.12; before, the rule means all ICMPv6, so that these only ever "
        "let pass",
        source="https://gitlab.com/libvirt/libvirt/-/commits/master/src/conf/nwfilter_conf.c",
        rules=("KV535",),
    ),
    _fact(
        line="arp(src|dst)ipmask=",
        reason="libvirt's parser reads a mask of ARP addresses since 1.2.3 and its schema doesn't know it: this file "
        "is defined without --validate, as the manifest says",
        source=_MEASURED,
        rules=("KV535",),
    ),
    _fact(
        line=r"='\$[A-Z]",
        reason="a variable: each interface gives its own values, a list makes a rule for each. So one filter serves "
        "many guests, and a new member changes parameters only",
        source=f"{_FORMAT}#advanced-filter-configuration-topics",
        rules=("KV525", "KV526", "KV528"),
    ),
    _fact(
        line="match='no'",
        reason="the opposite of all that stands here together; of a port alone libvirt forgets the `no`",
        source=_MEASURED,
        rules=("KV512",),
    ),
)
