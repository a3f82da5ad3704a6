"""The host's ends of guests' NICs."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Origin, Rule
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.site import Site

DROPPED_TAP = Rule(code="KV406", title="A tap name that libvirt drops")
TAP_TAKEN = Rule(code="KV407", title="A tap name that is taken")

_LIBVIRTS = ("vnet", "macvtap", "macvlan")


def dropped_names(site: Site) -> Iterator[Diagnostic]:
    """libvirt gives names with certain prefixes itself, and drops them from a definition without a word.

    The tap then has whatever name is free when the guest starts, and what refers to the written one, a firewall rule,
    a monitor or a capture, waits for a device that never comes.

    Bad::

        # guests/web01.yaml
        interfaces:
          eth0: {network: default, target: vnet0}

    Good::

        # guests/web01.yaml
        interfaces:
          eth0: {network: default, target: web01-eth0}

    Source: what is said of the target element at https://libvirt.org/formatdomain.html#overriding-the-target-element;
    libvirt 9.0 keeps no name that starts with vnet, macvtap or macvlan.
    """
    for guest, nic in _named(site):
        if nic.target and nic.target.startswith(_LIBVIRTS):
            yield Diagnostic(
                rule=DROPPED_TAP,
                message=f"libvirt drops the tap name {nic.target!r} of {guest.name} ({nic.name}), and chooses one",
                hint=f"Name it by the guest ({_proposed(guest, nic)!r}), or leave `target` out.",
                origin=nic.origin.at("target"),
            )


def _named(site: Site) -> Iterator[tuple[Guest, GuestInterface]]:
    return ((guest, nic) for guest, nic in site.nics() if nic.target is not None)


def _proposed(guest: Guest, nic: GuestInterface) -> str:
    return f"{guest.name[: 14 - len(nic.name)]}-{nic.name}"


def taken_names(site: Site) -> Iterator[Diagnostic]:
    """A host's links have one name each: the second guest that asks for a name doesn't start.

    The same holds for a name that one of the host's own links has, or the bridge of one of its networks. A guest that
    several hosts can carry takes its name along to each of them.

    Bad::

        # guests/web01.yaml
        interfaces:
          eth0: {network: default, target: web}

        # guests/web02.yaml
        interfaces:
          eth0: {bridge: br0, target: web}

    Good::

        # guests/web01.yaml
        interfaces:
          eth0: {network: default, target: web}

        # guests/web02.yaml
        interfaces:
          eth0: {bridge: br0, target: web02}

    Source: https://libvirt.org/formatdomain.html#overriding-the-target-element; libvirt 9.0 ends the start with "The
    web interface already exists".
    """
    taken: dict[tuple[str, str], tuple[Origin, str]] = {}
    for guest, nic in _named(site):
        taken = taken or _names_of_hosts(site)
        whose = f"{guest.name} ({nic.name})"
        for host in guest.hosts:
            if nic.target is None or nic.target.startswith(_LIBVIRTS):
                continue
            place = nic.origin.at("isolation-group" if nic.isolation_group else "target")
            other, others = taken.setdefault((host, nic.target), (place, f"the tap of {whose}"))
            if other != place:
                yield Diagnostic(
                    rule=TAP_TAKEN,
                    message=f"the tap name {nic.target!r} of {whose} is also that of {others}: one of them can't start",
                    hint=f"Choose another one, such as {_proposed(guest, nic)!r}, or leave `target` out.",
                    origin=place,
                    related=((other, f"{others} has it"),),
                )


def _names_of_hosts(site: Site) -> dict[tuple[str, str], tuple[Origin, str]]:
    """What hosts call links themselves."""
    taken = {(host, "lo"): (site.hosts[host].origin, f"the loopback link of {host}") for host in site.hosts}
    for network in site.carried():
        if network.forward.makes_bridge:
            whose = f"the bridge of network {network.name!r} on {network.host}"
            taken[network.host, network.bridge] = (network.at("bridge", "name"), whose)
    for host in site.hosts.values():
        for link in host.links:
            taken[host.name, link.name] = (link.origin, f"the link {link.name!r} of {host.name}")
    return taken
