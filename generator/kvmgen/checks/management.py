"""The ways by which administrators come into a host."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._machines import Holder, is_default
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.host import Bridge, Host, Link
from kvmgen.model.site import Site

NO_WAY_IN = Rule(code="KV111", title="A management link without an address", severity=Severity.WARNING)
MANAGEMENT_TWICE = Rule(code="KV123", title="Two hosts with one address on their uplinks", severity=Severity.WARNING)


def no_way_in(site: Site) -> Iterator[Diagnostic]:
    """``management`` is the link that administrators come in through: without an address nobody comes in there.

    A bridge or bond takes its ports' addresses over, so it is easy to name the NIC where the bridge is meant.

    Bad::

        # hosts/kvm01.yaml
        management: bond0

    Good::

        # hosts/kvm01.yaml
        management: br0

    Source: ``ifup-eth`` flushes the addresses of a bridge's port (https://github.com/fedora-sysv/initscripts).
    """
    for host in site.hosts.values():
        link = next((link for link in host.links if link.name == host.management), None)
        if link is not None and link.addressing.is_empty:
            above = link.bond or link.bridge
            hint = f"Name {above!r}, which it is a port of" if above else "Give it an address"
            yield Diagnostic(
                rule=NO_WAY_IN,
                message=f"the management link {link.name!r} of {host.name} has no address and asks nobody for one",
                hint=f"{hint}; leave `management` out where administrators come in by other ways (IPMI).",
                origin=host.origin.at("management"),
                related=((link.origin, "the link"),),
            )


def management_twice(site: Site) -> Iterator[Diagnostic]:
    """A host that was copied from another and kept its address: whoever logs in comes to one of the two.

    Told of the links that lead to the world, the management link and those with a default route; hosts may well have
    the same address on links of their own (a bridge without a port, a cable between two machines).

    Bad::

        # hosts/kvm02.yaml
        ethernets:
          eno1:
            addresses: [192.0.2.11/24]
            routes: [{to: default, via: 192.0.2.254}]

    Good::

        # hosts/kvm02.yaml
        ethernets:
          eno1:
            addresses: [192.0.2.12/24]
            routes: [{to: default, via: 192.0.2.254}]

    Source: RFC 5227 on what two machines with one address do to each other (https://www.rfc-editor.org/rfc/rfc5227).
    """
    first: dict[tuple[int, int], tuple[Holder, str | None]] = {}
    for host in site.hosts.values():
        for link in _uplinks(host):
            segment = link.segment if isinstance(link, Bridge) else None
            for index, address in enumerate(link.addressing.addresses):
                holder = Holder(host.name, link.name, link.origin, index)
                other, others = first.setdefault((address.version, int(address)), (holder, segment))
                is_told_already = segment is not None and segment == others
                if other.machine != host.name and not is_told_already and not address.is_link_local:
                    yield Diagnostic(
                        rule=MANAGEMENT_TWICE,
                        message=f"the hosts {other} and {holder} have one address, {address.ip}",
                        hint="Give one of them another; if they are in separate networks, silence this with that.",
                        origin=holder.place,
                        related=((other.place, "the other host's"),),
                    )


def _uplinks(host: Host) -> Iterator[Link]:
    for link in host.links:
        if link.name == host.management or any(map(is_default, link.addressing.routes)):
            yield link
