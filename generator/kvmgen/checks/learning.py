"""How libvirt finds out the IPv4 address of a guest whose address nobody says."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._filter_use import LEARNING, uses
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.site import Site

UNKNOWN_WAY = Rule(code="KV530", title="A way of learning that libvirt doesn't know")
GUESTS_CHOICE = Rule(code="KV531", title="An address that the guest chooses itself", severity=Severity.WARNING)
NO_LEASE = Rule(code="KV532", title="An address learned from a lease that nobody asks for", severity=Severity.WARNING)

_WAYS = ("none", "dhcp", "any")


def unknown_way(site: Site) -> Iterator[Diagnostic]:
    """CTRL_IP_LEARNING is `dhcp`, `any` or `none`; with another word the guest doesn't start.

    libvirt looks at it only when a rule reads $IP and the address isn't given.

    Bad::

        # guests/web01.yaml
        eth0:
          network: default
          dhcp4: true
          filter: {name: clean-traffic, parameters: {CTRL_IP_LEARNING: lease}}

    Good::

        # guests/web01.yaml
        eth0:
          network: default
          dhcp4: true
          filter: {name: clean-traffic, parameters: {CTRL_IP_LEARNING: dhcp}}

    Source: libvirt's "Automatic IP address detection" (https://libvirt.org/formatnwfilter.html).
    """
    for use in uses(site):
        if LEARNING in use.said and use.learns() not in (None, *_WAYS):
            yield Diagnostic(
                rule=UNKNOWN_WAY,
                message=f"libvirt knows no {LEARNING} {use.values[LEARNING][0]!r}: {use.guest.name} doesn't start",
                hint="Write dhcp (the default here) or any, or leave it out.",
                origin=use.parameter(LEARNING, 0),
            )


def guests_choice(site: Site) -> Iterator[Diagnostic]:
    """With `any`, libvirt believes the first address that the guest uses, and holds it to that one.

    Whoever controls the guest when it starts can take a neighbour's address or the gateway's, and the filter that was
    to prevent it protects the theft. kvmgen's default is `dhcp`: the address is the one that a server leases.

    Bad::

        # guests/web01.yaml
        eth0:
          network: default
          dhcp4: true
          filter: {name: clean-traffic, parameters: {CTRL_IP_LEARNING: any}}

    Good::

        # guests/web01.yaml
        eth0:
          network: default
          dhcp4: true
          filter: clean-traffic

    Source: libvirt's "Automatic IP address detection" (https://libvirt.org/formatnwfilter.html).
    """
    for use in uses(site):
        if LEARNING in use.said and use.learns() == "any":
            yield Diagnostic(
                rule=GUESTS_CHOICE,
                message=f"{use.whose} may take any IPv4 address: its filter is made for the first one that it uses",
                hint=f"Leave {LEARNING} out: the address is then learned from the DHCP server's answer.",
                origin=use.parameter(LEARNING, 0),
            )


def no_lease(site: Site) -> Iterator[Diagnostic]:
    """Until libvirt sees a DHCP server's answer, a guest whose filter reads $IP can send nothing but DHCP requests.

    That is how it should be for a guest that asks for a lease. One that doesn't stays cut off for good, with IPv6 too:
    the rest of its filter comes into force only when IP is known.

    Bad::

        # guests/web01.yaml
        eth1: {bridge: br0, addresses: ["2001:db8::20/64"], filter: web}

        # filters/web.yaml
        - filter: kvmgen-anti-spoofing

    Good::

        # guests/web01.yaml
        eth1: {bridge: br0, addresses: ["2001:db8::20/64"], filter: web}

        # filters/web.yaml
        - filter: kvmgen-anti-spoofing-ipv6

    Source: libvirt's "Automatic IP address detection" (https://libvirt.org/formatnwfilter.html).
    """
    for use in uses(site):
        if use.learns() == "dhcp" and LEARNING not in use.said and not use.nic.addressing.dhcp4:
            yield Diagnostic(
                rule=NO_LEASE,
                message=f"{use.whose} can send nothing before it leases an IPv4 address: the filter {use.filter} reads "
                "$IP, and no address is known",
                hint="Write `dhcp4: true`, or give its IPv4 `addresses`; for IPv6 alone take a filter that doesn't "
                "read $IP.",
                origin=use.place,
            )
