"""The bridges on which guests are kept apart, and which of them an interface is on."""

from __future__ import annotations

from collections.abc import Mapping

from kvmgen.model.guest import GuestInterface
from kvmgen.model.host import Isolation
from kvmgen.model.site import Site

Place = tuple[str, str]
"""A host and a bridge on it, its own or one of libvirt's."""


def isolating(site: Site) -> Mapping[Place, Isolation]:
    """The bridges of all hosts that isolate."""
    return {(host.name, found.bridge): found for host in site.hosts.values() for found in host.isolations}


def plugged(site: Site, host: str, nic: GuestInterface) -> Place | None:
    """The bridge that an interface is on when its guest runs on a host; nothing on a network without one."""
    network = site.networks[host].get(nic.network) if nic.network else None
    bridge = network.bridge if network else nic.bridge
    return (host, bridge) if bridge else None
