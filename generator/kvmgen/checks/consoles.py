"""Graphical consoles of guests."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.host import Host
from kvmgen.model.site import Site

NOT_THE_HOSTS = Rule(
    code="KV490", title="A console at an address that the host doesn't have", severity=Severity.WARNING
)

_DEFAULT = "127.0.0.1"


def not_the_hosts(site: Site) -> Iterator[Diagnostic]:
    """QEMU can't listen at an address that isn't the host's own: the guest doesn't start.

    A guest that can move needs one that all of its hosts have: the loopback address, which a tunnel leads to, or
    0.0.0.0. Told of where kvmgen knows all of the host's addresses; one that something else on the host brings and
    takes away needs a silence.

    Bad::

        # guests/web01.yaml
        graphics: {type: vnc, listen: 192.0.2.12}

    Good::

        # guests/web01.yaml
        graphics: {type: vnc, listen: 192.0.2.11}

    Source: `listen` of https://libvirt.org/formatdomain.html#graphical-framebuffers.
    """
    known: dict[str, frozenset[str] | None] = {}
    for guest in site.guests.values():
        if guest.graphics is None or guest.graphics.listen == _DEFAULT:
            continue
        for name in guest.hosts:
            if name not in known:
                known[name] = _addresses(site, site.hosts[name])
            addresses = known[name]
            if addresses is not None and _is_elsewhere(guest.graphics.listen, addresses):
                yield Diagnostic(
                    rule=NOT_THE_HOSTS,
                    message=f"{name}, which can carry {guest.name}, has no address {guest.graphics.listen} for its "
                    "console: the guest doesn't start there",
                    hint="Let it listen at 127.0.0.1 and come in through a tunnel, or at an address of the host.",
                    origin=guest.at("graphics").at("listen"),
                )


def _addresses(site: Site, host: Host) -> frozenset[str] | None:
    """A host's addresses; ``None`` where it gets some that the inventory doesn't know."""
    ways = [link.addressing for link in host.links]
    if not ways or any(way.dhcp4 or way.dhcp6 or way.accept_ra for way in ways):
        return None
    own = [address for way in ways for address in way.addresses]
    own += (address for network in site.networks[host.name].values() for address in network.addresses)
    return frozenset(str(address.ip) for address in own)


def _is_elsewhere(text: str, addresses: frozenset[str]) -> bool:
    try:
        address = ip_address(text)
    except ValueError:  # told of already
        return False
    return (
        not (address.is_loopback or address.is_unspecified or address.is_link_local) and str(address) not in addresses
    )
