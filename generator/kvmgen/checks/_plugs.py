"""What guests' interfaces are plugged into on each host, as far as it isn't a Linux bridge."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Origin
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.network import Plug, VirtualNetwork
from kvmgen.model.site import Site

TAGS_ON_BRIDGES = (11, 0)
"""The first libvirt that puts a guest's port on a Linux bridge into VLANs."""


class Plugs:
    """Looked up, not searched; empty on a site where all guests are on Linux bridges."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._found: dict[tuple[str, str | None, str | None], Plug] = {
            (network.host, network.name, None): network.plug
            for network in site.carried()
            if network.plug is not Plug.BRIDGE
        }
        self._found |= {
            (host.name, None, bridge.name): Plug.OPENVSWITCH
            for host in site.hosts.values()
            for bridge in host.bridges
            if bridge.openvswitch
        }

    def of(self, host: str, nic: GuestInterface) -> Plug:
        """What an interface is plugged into on a host."""
        return self._found.get((host, nic.network, nic.bridge), Plug.BRIDGE)

    def elsewhere(self) -> Iterator[tuple[str, Plug, Guest, GuestInterface]]:
        """Every interface that isn't on a Linux bridge, on the first of its guest's hosts where that is so."""
        for guest, nic in self._site.nics() if self._found else ():
            host = next((host for host in guest.hosts if self.of(host, nic) is not Plug.BRIDGE), None)
            if host is not None:
                yield host, self.of(host, nic), guest, nic

    def network(self, host: str, nic: GuestInterface) -> VirtualNetwork | None:
        """An interface's network on a host."""
        return self._site.networks[host].get(nic.network) if nic.network is not None else None

    def place(self, host: str, nic: GuestInterface) -> tuple[Origin, str]:
        """Where it is said what an interface is plugged into, and what that is."""
        network = self.network(host, nic)
        if network is not None:
            return network.origin.at("forward"), f"the network {network.name!r}"
        bridge = next(bridge for bridge in self._site.hosts[host].bridges if bridge.name == nic.bridge)
        return bridge.origin.at("openvswitch"), f"the bridge {bridge.name!r} of {host}"
