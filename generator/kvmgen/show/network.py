"""A network with everything resolved, as each host has it."""

from __future__ import annotations

from typing import Any

from kvmgen.model.network import DhcpHost, VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.show._words import plugs, present, texts


def network(site: Site, name: str) -> dict[str, Any]:
    """What each host carries, and who is on it."""
    carried = {host: known[name] for host, known in site.networks.items() if name in known}
    return {
        "hosts": {host: _carried(one) for host, one in carried.items()},
        "guests": plugs(site, lambda _, nic: nic.network == name),
    }


def _carried(one: VirtualNetwork) -> dict[str, Any]:
    return present(
        {
            "libvirt-name": one.libvirt_name,
            "uuid": one.uuid,
            "forward": str(one.forward),
            "forward-dev": one.forward_dev,
            "devices": list(one.devices),
            "pf": one.pf,
            "bridge": present(
                {"name": one.bridge, "mac": one.mac, "stp": one.stp, "delay": one.forward_delay, "zone": one.zone}
            ),
            "segment": one.segment,
            "mtu": one.mtu,
            "isolated-ports": one.isolated or None,
            "isolation": one.isolation,
            "domain": one.domain,
            "addresses": texts(one.addresses),
            "dhcp": present(
                {
                    "ranges": [f"{found.start}-{found.end}" for found in one.dhcp.ranges],
                    "hosts": [_lease(lease) for lease in one.dhcp.hosts],
                }
            ),
            "portgroups": {group.name: present({"default": group.default or None}) for group in one.portgroups},
            "autostart": one.autostart,
        }
    )


def _lease(lease: DhcpHost) -> dict[str, Any]:
    return present({"address": str(lease.address), "mac": lease.mac, "name": lease.name, "id": lease.id})
