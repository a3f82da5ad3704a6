"""Kernel settings that the rest of a machine's description speaks against, or that the kernel refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kvmgen.checks._sysctl import Key, is_on, parts, settings, switched_off
from kvmgen.checks.rule_interfaces import Interfaces
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.host import Host, Link, Node, Sysctl
from kvmgen.model.network import Forward, VirtualNetwork
from kvmgen.model.site import Site

NOT_FORWARDING = Rule(code="KV632", title="Forwarding switched off on a host that routes")
IPV6_OFF = Rule(code="KV633", title="IPv6 switched off beside IPv6 addresses")
RA_IGNORED = Rule(code="KV634", title="Router advertisements that forwarding ignores", severity=Severity.WARNING)
NO_SUCH_LINK = Rule(code="KV635", title="A kernel setting for an interface that isn't there", severity=Severity.WARNING)
NO_NUMBER = Rule(code="KV636", title="A value that the kernel refuses")
TWO_VALUES = Rule(code="KV637", title="One kernel setting with two values")

_FORWARDING = {
    4: ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"),
    6: ("net.ipv6.conf.all.forwarding",),
}
_ROUTED = (Forward.NAT, Forward.ROUTE, Forward.OPEN)


def not_forwarding(site: Site) -> Iterator[Diagnostic]:
    """A nat, routed or open network leads out of its host by forwarding, and a setting switches that off.

    libvirt switches it on when a network starts, and the next run of sysctl switches it off again: the guests lose the
    world at a moment that nobody connects with this line.

    Bad::

        # hosts/kvm01.yaml
        sysctl: {net.ipv4.ip_forward: 0}

    Good::

        # hosts/kvm01.yaml
        sysctl: {net.ipv4.ip_forward: 1}

    Source: https://libvirt.org/formatnetwork.html#connectivity; ip_forward in
    https://docs.kernel.org/networking/ip-sysctl.html.
    """
    for host in site.hosts.values():
        found = settings(host) if host.sysctl else {}
        for version, keys in _FORWARDING.items():
            for setting in switched_off(found, *keys):
                network = _routed(site, host, version)
                if network is not None:
                    yield Diagnostic(
                        rule=NOT_FORWARDING,
                        message=f"{host.name} carries the network {network.name!r} (forward: {network.forward}), "
                        f"which gets nowhere while {setting.key} is 0",
                        hint="Leave the setting out: kvmgen sets what its networks need.",
                        origin=setting.origin,
                        related=((network.origin, "the network"),),
                    )


def _routed(site: Site, host: Host, version: int) -> VirtualNetwork | None:
    for network in site.networks.get(host.name, {}).values():
        if network.forward in _ROUTED and any(address.version == version for address in network.addresses):
            return network
    return None


def ipv6_off(site: Site) -> Iterator[Diagnostic]:
    """With disable_ipv6 the kernel takes no IPv6 address: those of the inventory are missing, and what needs them.

    Bad::

        # hosts/kvm01.yaml
        sysctl: {net.ipv6.conf.all.disable_ipv6: 1}
        addresses: [192.0.2.11/24, "2001:db8::11/64"]

    Good::

        # hosts/kvm01.yaml
        sysctl: {net.ipv6.conf.all.disable_ipv6: 0}
        addresses: [192.0.2.11/24, "2001:db8::11/64"]

    Source: disable_ipv6 in https://docs.kernel.org/networking/ip-sysctl.html.
    """
    for node in site.nodes():
        for key, setting in settings(node).items() if node.sysctl else ():
            if key[:3] == ("net", "ipv6", "conf") and key[4:] == ("disable_ipv6",) and setting.value.strip() != "0":
                link = next(
                    (link for link in node.links if key[3] in ("all", "default", link.name) and _has_ipv6(link)), None
                )
                if link is not None:
                    yield Diagnostic(
                        rule=IPV6_OFF,
                        message=f"{setting.key} switches IPv6 off, and {link.name} of {node.name} has IPv6 addresses",
                        hint="Remove the setting, or the link's IPv6 addresses, dhcp6 and accept-ra.",
                        origin=setting.origin,
                        related=((link.origin, "the link"),),
                    )


def _has_ipv6(link: Link) -> bool:
    said = link.addressing
    return said.dhcp6 or said.accept_ra or any(address.version == 6 for address in said.addresses)


def ra_ignored(site: Site) -> Iterator[Diagnostic]:
    """A machine that forwards IPv6 is a router, and a router ignores advertisements unless accept_ra is 2.

    The default route that the link learned goes when forwarding is switched on, at the latest when a network with IPv6
    starts; newer libvirt refuses to start such a network instead.

    Bad::

        # hosts/kvm01.yaml
        br0:
          accept-ra: true
        sysctl: {net.ipv6.conf.all.forwarding: 1}

    Good::

        # hosts/kvm01.yaml
        br0:
          accept-ra: true
        sysctl: {net.ipv6.conf.all.forwarding: 1, net.ipv6.conf.br0.accept_ra: 2}

    Source: accept_ra in https://docs.kernel.org/networking/ip-sysctl.html.
    """
    for node in site.nodes():
        found = settings(node) if node.sysctl and node.platform.uses_ifcfg else {}
        if is_on(found, "net.ipv6.conf.all.forwarding"):
            for link in node.links:
                if link.addressing.accept_ra and not _accepts_ra(found.get(_accept_ra(link.name))):
                    yield Diagnostic(
                        rule=RA_IGNORED,
                        message=f"{node.name} forwards IPv6, so that {link.name} ignores router advertisements",
                        hint=f"Add `net.ipv6.conf.{link.name.replace('.', '/')}.accept_ra: 2` to `sysctl`, "
                        "or write the address and the default route.",
                        origin=link.origin.at("accept-ra"),
                        related=((found[_ALL_FORWARD].origin, "forwards IPv6"),),
                    )


_ALL_FORWARD: Key = parts("net.ipv6.conf.all.forwarding")


def _accept_ra(link: str) -> Key:
    return ("net", "ipv6", "conf", link, "accept_ra")


def _accepts_ra(setting: Sysctl | None) -> bool:
    return setting is not None and setting.value.strip() == "2"


def no_such_link(site: Site) -> Iterator[Diagnostic]:
    """A setting of an interface that the machine doesn't have is skipped at boot, with a line in the log at most.

    In a key with dots a dot of the interface's own name is written as `/`: net.ipv4.conf.bond0/11.rp_filter.

    Bad::

        # hosts/kvm01.yaml
        sysctl:
          net.ipv4.conf.bro.rp_filter: 2
          net.ipv4.conf.bond0.11.rp_filter: 2

    Good::

        # hosts/kvm01.yaml
        sysctl:
          net.ipv4.conf.br0.rp_filter: 2
          net.ipv4.conf.bond0/11.rp_filter: 2

    Source: https://www.freedesktop.org/software/systemd/man/latest/sysctl.d.html.
    """
    known = Interfaces(site)
    for node in site.nodes():
        for key, setting in settings(node).items() if node.sysctl else ():
            name = key[3] if len(key) > 4 and key[1] in ("ipv4", "ipv6") and key[2] in ("conf", "neigh") else None
            if name and name not in ("all", "default") and "*" not in name and not _is_there(known, node, key):
                yield Diagnostic(
                    rule=NO_SUCH_LINK,
                    message=f"{node.name} has no interface {name!r}: {setting.key} sets nothing",
                    hint=f"There is: {', '.join(known.of(node)) or 'none yet'}. A dot of a name is written as '/'.",
                    origin=setting.origin,
                    on_key=True,
                )


def _is_there(known: Interfaces, node: Node, key: Key) -> bool:
    return known.has(node, key[3]) and len(key) == 5


_NUMBERS = re.compile(
    r"net/ipv[46]/(conf|neigh)/[^/]+/(?!stable_secret$)\w+"
    r"|net/bridge/bridge-nf-\S+"
    r"|net/ipv4/(ip_forward|tcp_syncookies|tcp_timestamps|tcp_sack|tcp_window_scaling|tcp_fin_timeout|tcp_tw_reuse"
    r"|icmp_echo_ignore_(all|broadcasts)|icmp_ignore_bogus_error_responses|ip_nonlocal_bind|tcp_max_syn_backlog)"
    r"|net/netfilter/nf_conntrack_max|net/core/(somaxconn|netdev_max_backlog|[rw]mem_(max|default))"
    r"|kernel/(sysrq|core_uses_pid|panic|panic_on_oops|randomize_va_space|dmesg_restrict|pid_max)"
    r"|vm/(swappiness|overcommit_memory|dirty_ratio|dirty_background_ratio|nr_hugepages)|fs/file-max"
)
"""Settings that are one number."""

_NUMBER = re.compile(r"-?(0[xX][0-9A-Fa-f]+|[0-9]+)")


def no_number(site: Site) -> Iterator[Diagnostic]:
    """The kernel takes numbers here and refuses words: the setting stays what it was, with a line in the log at most.

    Bad::

        # hosts/kvm01.yaml
        sysctl: {net.ipv4.ip_forward: yes, net.ipv4.conf.all.rp_filter: "on"}

    Good::

        # hosts/kvm01.yaml
        sysctl: {net.ipv4.ip_forward: 1, net.ipv4.conf.all.rp_filter: 1}

    Source: https://docs.kernel.org/networking/ip-sysctl.html.
    """
    for node in site.nodes():
        for key, setting in settings(node).items() if node.sysctl else ():
            if not _NUMBER.fullmatch(setting.value.strip()) and _NUMBERS.fullmatch("/".join(key)):
                yield Diagnostic(
                    rule=NO_NUMBER,
                    message=f"the kernel refuses {setting.value!r} for {setting.key}, which is a number",
                    hint="Write the number: 1 for on, 0 for off.",
                    origin=setting.origin,
                )


def two_values(site: Site) -> Iterator[Diagnostic]:
    """One setting under two spellings, or two keys for one switch, with different values: whichever is set last holds.

    net.ipv4.ip_forward is net.ipv4.conf.all.forwarding by another name.

    Bad::

        # hosts/kvm01.yaml
        sysctl: {net.ipv4.ip_forward: 1, net.ipv4.conf.all.forwarding: 0}

    Good::

        # hosts/kvm01.yaml
        sysctl: {net.ipv4.ip_forward: 1, net.ipv4.conf.all.forwarding: 1}

    Source: ip_forward in https://docs.kernel.org/networking/ip-sysctl.html.
    """
    for node in site.nodes():
        first: dict[Key, Sysctl] = {}
        for setting in node.sysctl:
            if setting.why is None:
                other = first.setdefault(_TWINS.get(parts(setting.key), parts(setting.key)), setting)
                if other.value.strip() != setting.value.strip():
                    yield Diagnostic(
                        rule=TWO_VALUES,
                        message=f"{setting.key} is {other.key} under another name, and they have different values",
                        hint="Leave one of them out.",
                        origin=setting.origin,
                        related=((other.origin, "the other value"),),
                    )


_TWINS: dict[Key, Key] = {parts("net.ipv4.conf.all.forwarding"): parts("net.ipv4.ip_forward")}
