"""Names: who is asked for them, and who has the same one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.network import VirtualNetwork
from kvmgen.model.site import Site

TOO_MANY_SERVERS = Rule(code="KV107", title="More than three resolvers", severity=Severity.WARNING)
NAME_OF_TWO = Rule(code="KV115", title="Guests that a network's DNS knows by one name", severity=Severity.WARNING)
HOSTNAME_TWICE = Rule(code="KV117", title="Two machines of one host name", severity=Severity.WARNING)
TOO_MANY_DOMAINS = Rule(code="KV120", title="More search domains than are searched", severity=Severity.WARNING)
LINK_LOCAL_SERVER = Rule(code="KV121", title="A resolver at a link-local address")

MOST_SERVERS = 3
MOST_DOMAINS = 6
"""The C library's MAXNS, and its MAXDNSRCH up to glibc 2.25 (el6 has 2.12, el7 2.17, el8 2.28)."""


def servers(site: Site) -> Iterator[Diagnostic]:
    """The C library asks the first three resolvers of resolv.conf and never looks at the others.

    initscripts and NetworkManager write no more than three either. A fourth that is meant for when the first ones are
    down is not asked then.

    Bad::

        # hosts/kvm01.yaml
        dns: {servers: [192.0.2.53, 192.0.2.54, "2001:db8::53", "2001:db8::54"]}

    Good::

        # hosts/kvm01.yaml
        dns: {servers: [192.0.2.53, 192.0.2.54, "2001:db8::53"]}

    Source: resolv.conf(5), MAXNS (https://man7.org/linux/man-pages/man5/resolv.conf.5.html).
    """
    for node in site.nodes():
        if len(node.dns.servers) > MOST_SERVERS and node.dns.origin:
            yield Diagnostic(
                rule=TOO_MANY_SERVERS,
                message=f"{node.dns.servers[MOST_SERVERS]} and what follows is never asked: three resolvers are read",
                hint="Keep the three that matter.",
                origin=node.dns.origin.at("servers", MOST_SERVERS),
            )


def domains(site: Site) -> Iterator[Diagnostic]:
    """The C library of el6 and el7 searches the first six domains; a short name of the seventh isn't found.

    Bad::

        # hosts/kvm01.yaml
        platform: el7
        dns:
          servers: [192.0.2.53]
          search: [a.example, b.example, c.example, d.example, e.example, f.example, example.org]

    Good::

        # hosts/kvm01.yaml
        platform: el7
        dns:
          servers: [192.0.2.53]
          search: [a.example, b.example, c.example, d.example, e.example, example.org]

    Source: resolv.conf(5), search (https://man7.org/linux/man-pages/man5/resolv.conf.5.html).
    """
    for node in site.nodes():
        if node.platform.major < 8 and len(node.dns.search) > MOST_DOMAINS and node.dns.origin:
            domain = node.dns.search[MOST_DOMAINS]
            yield Diagnostic(
                rule=TOO_MANY_DOMAINS,
                message=f"{domain} and what follows isn't searched: el{node.platform.major} searches six domains",
                hint="Keep six, or write names in full.",
                origin=node.dns.origin.at("search", MOST_DOMAINS),
            )


def link_local_servers(site: Site) -> Iterator[Diagnostic]:
    """A link-local address means nothing without its link, which a resolver can't be given here.

    The C library gets "Invalid argument" from the kernel and goes on to the next one: where it is the only resolver,
    no name is found.

    Bad::

        # hosts/kvm01.yaml
        dns: {servers: [192.0.2.53, "fe80::53"]}

    Good::

        # hosts/kvm01.yaml
        dns: {servers: [192.0.2.53, "2001:db8::53"]}

    Source: RFC 4007, section 6, zones of addresses (https://www.rfc-editor.org/rfc/rfc4007).
    """
    for node in site.nodes():
        for index, server in enumerate(node.dns.servers):
            if server.version == 6 and server.is_link_local and node.dns.origin:
                yield Diagnostic(
                    rule=LINK_LOCAL_SERVER,
                    message=f"the resolver {server} has a link-local address, which can't be reached without its link",
                    hint="Write one of the resolver's other addresses.",
                    origin=node.dns.origin.at("servers", index),
                )


def guests_names(site: Site) -> Iterator[Diagnostic]:
    """A network's DNS knows a guest by its name up to the first dot: of two with the same, it gives out both addresses.

    Whoever asks for the name comes to either, in turns; and dnsmasq leases both by one name.

    Bad::

        # guests/web.dev.yaml
        interfaces:
          eth0: {network: default, addresses: [192.168.122.31/24]}

        # guests/web.test.yaml
        interfaces:
          eth0: {network: default, addresses: [192.168.122.32/24]}

    Good::

        # guests/web-dev.yaml
        interfaces:
          eth0: {network: default, addresses: [192.168.122.31/24]}

        # guests/web-test.yaml
        interfaces:
          eth0: {network: default, addresses: [192.168.122.32/24]}

    Source: https://libvirt.org/formatnetwork.html, the element dns.
    """
    for name, guests in _by_short_name(site).items():
        first: dict[tuple[str, str], tuple[str, Origin]] = {}
        for guest in guests:
            for network, nic in _named_by(site, guest):
                other, place = first.setdefault((network.host, network.name), (guest.name, nic.origin))
                if other != guest.name:
                    yield Diagnostic(
                        rule=NAME_OF_TWO,
                        message=f"the DNS of network {network.name} knows both {other} and {guest.name} as {name!r}, "
                        "which leads to either",
                        hint="Give one of them another name in front of the first dot.",
                        origin=nic.origin,
                        related=((place, f"{other} is on it too"),),
                        on_key=True,
                    )


def _by_short_name(site: Site) -> dict[str, Sequence[Guest]]:
    """The guests of those names that several have; names differ by more than case."""
    found: defaultdict[str, list[Guest]] = defaultdict(list)
    for guest in site.guests.values():
        found[guest.name.partition(".")[0].lower()].append(guest)
    return {name: guests for name, guests in found.items() if len(guests) > 1}


def _named_by(site: Site, guest: Guest) -> Iterator[tuple[VirtualNetwork, GuestInterface]]:
    """The networks whose DNS has the guest's name, and the interface that it is for."""
    for nic in guest.interfaces:
        for host in guest.hosts:
            network = site.networks.get(host, {}).get(nic.network or "")
            if network is None or not network.forward.makes_bridge or network.dns.enable is False:
                continue
            subnets = [address.network for address in network.addresses]
            if any(own in subnet for own in nic.addressing.addresses for subnet in subnets):
                yield network, nic


def hostnames(site: Site) -> Iterator[Diagnostic]:
    """Two machines that call themselves the same can't be told apart in logs, in monitoring, or by their certificates.

    DNS can have the name for one of them only. Told of hosts, and of guests whose inside is described.

    Bad::

        # guests/db01.yaml
        hosts: [kvm01]
        platform: el7
        hostname: kvm01.example.org

    Good::

        # guests/db01.yaml
        hosts: [kvm01]
        platform: el7
        hostname: db01.example.org

    Source: hostname(7), https://man7.org/linux/man-pages/man7/hostname.7.html.
    """
    first: dict[str, tuple[str, Origin]] = {}
    for node in site.nodes():
        place = node.origin.at("hostname")
        other, others = first.setdefault(node.hostname.lower(), (node.name, place))
        if others is not place:
            yield Diagnostic(
                rule=HOSTNAME_TWICE,
                message=f"{node.name} calls itself {node.hostname}, as {other} does",
                hint="Write the full name that each has in DNS: `hostname: NAME.DOMAIN`.",
                origin=place,
                related=((others, f"{other} has it"),),
            )
