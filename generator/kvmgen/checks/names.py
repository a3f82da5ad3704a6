"""Names that mean two things, or that somebody else uses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.site import Site

LIBVIRTS_BRIDGE_NAME = Rule(
    code="KV201", title="A host's bridge named as libvirt names its own", severity=Severity.WARNING
)
NETWORK_NAME_TWICE = Rule(code="KV301", title="Two networks of one name on a host")
BRIDGE_TWICE = Rule(code="KV302", title="Two networks with one bridge, or a network with a host's bridge")

_LIBVIRTS = re.compile(r"virbr[0-9]+")


def bridge_names(site: Site) -> Iterator[Diagnostic]:
    """A host's bridge called virbrN stands where libvirt would put one of its own.

    A network that names no bridge (made by hand, or by an installer) gets the first virbrN that is free, and which one
    that is depends on what came up first. And whoever reads the name takes the bridge for libvirt's.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          virbr1: {}

    Good::

        # hosts/kvm01.yaml
        bridges:
          br1: {}

    Source: https://libvirt.org/formatnetwork.html#connectivity.
    """
    for host in site.hosts.values():
        for bridge in host.bridges:
            if _LIBVIRTS.fullmatch(bridge.name):
                message = f"the host's bridge {bridge.name!r} is named as libvirt names its own"
                hint = "Call it br0, br1 or by what it connects."
                yield Diagnostic(
                    rule=LIBVIRTS_BRIDGE_NAME, message=message, hint=hint, origin=bridge.origin, on_key=True
                )


def network_names(site: Site) -> Iterator[Diagnostic]:
    """libvirt knows a network by its name: the second definition of a name on a host is refused.

    The name is `libvirt-name`, or else the file's. Networks of one name on different hosts are no clash: that is what
    `libvirt-name` is for.

    Bad::

        # networks/lab.yaml
        libvirt-name: default

    Good::

        # networks/lab.yaml
        libvirt-name: default-lab

    Source: https://libvirt.org/formatnetwork.html#general-metadata.
    """
    for host, carried in site.networks.items():
        first: dict[str, str] = {}
        for network in carried.values():
            other = first.setdefault(network.libvirt_name, network.name)
            if other != network.name:
                message = (
                    f"libvirt on {host} would know both {other!r} and {network.name!r} as {network.libvirt_name!r}: "
                    "it refuses the second"
                )
                yield Diagnostic(
                    rule=NETWORK_NAME_TWICE,
                    message=message,
                    hint="Give one of them another `libvirt-name`.",
                    origin=network.at("libvirt-name"),
                    related=((carried[other].at("libvirt-name"), "the other network"),),
                )


def bridges(site: Site) -> Iterator[Diagnostic]:
    """libvirt makes a network's bridge when it starts it: a name that is taken keeps the network down.

    The definition is taken all the same, so that it is the next boot which shows it.

    Bad::

        # networks/dmz.yaml
        forward: isolated
        bridge: {name: br0}

    Good::

        # networks/dmz.yaml
        forward: isolated
        bridge: {name: brdmz}

    Source: https://libvirt.org/formatnetwork.html#connectivity.
    """
    for host, carried in site.networks.items():
        taken = {link.name: (link.origin, f"{host}'s link {link.name!r}") for link in site.hosts[host].links}
        for network in carried.values():
            if not network.forward.makes_bridge or not network.bridge:
                continue
            origin = network.at("bridge", "name")
            if network.bridge in taken:
                other, whose = taken[network.bridge]
                message = f"the bridge {network.bridge!r} of network {network.name!r} is also {whose}: it won't start"
                yield Diagnostic(
                    rule=BRIDGE_TWICE,
                    message=message,
                    hint="Give the network's bridge another name, or write `forward: bridge` to use the host's.",
                    origin=origin,
                    related=((other, whose),),
                )
            taken[network.bridge] = (origin, f"the bridge of network {network.name!r}")
