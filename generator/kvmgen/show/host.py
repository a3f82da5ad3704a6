"""A host with everything resolved."""

from __future__ import annotations

from typing import Any

from kvmgen.model.host import Bond, Bridge, Ethernet, Firewall, Host, Link, Vlan
from kvmgen.model.site import Site, views
from kvmgen.show._words import addressing, amount, present, resolver, texts


def host(site: Site, name: str) -> dict[str, Any]:
    """Its keys, what is on it, and what its guests need of it."""
    found = site.hosts[name]
    (view,) = (view for view in views(site) if view.host.name == name)
    movers = [guest.name for guest in site.guests.values() if name in guest.hosts[1:]]
    return present(
        {
            "platform": str(found.platform),
            "versions": _versions(found),
            "hostname": found.hostname,
            "memory": amount(found.memory),
            "cpus": found.cpus,
            "management": found.management,
            "dns": resolver(found.dns),
            "ethernets": {link.name: _link(link) for link in found.ethernets},
            "bonds": {link.name: _link(link) for link in found.bonds},
            "vlans": {link.name: _link(link) for link in found.vlans},
            "bridges": {link.name: _link(link) for link in found.bridges},
            "sysctl": {setting.key: setting.value for setting in found.sysctl},
            "bridge-netfilter": found.bridge_netfilter,
            "ipv6-rpfilter": None if found.firewall is None else found.firewall.ipv6_rpfilter,
            "firewall": _firewall(found.firewall) if found.firewall is not None else None,
            "networks": [network.name for network in view.networks],
            "filters": [filter_.name for filter_ in view.filters],
            "guests": [guest.name for guest in view.guests],
            "guests-that-can-move-here": movers,
        }
    )


def _versions(found: Host) -> dict[str, Any]:
    versions = found.platform.versions
    known = {"libvirt": versions.libvirt, "firewalld": versions.firewalld, "qemu": versions.qemu}
    return {name: ".".join(map(str, version)) for name, version in known.items() if version is not None}


def _link(link: Link) -> dict[str, Any]:
    words: dict[str, Any] = {}
    match link:
        case Ethernet():
            words = {"mac": link.mac, "ethtool": link.ethtool}
        case Bond():
            words = {"ports": list(link.ports), **dict(link.options)}
        case Vlan():
            words = {"parent": link.parent, "id": link.id}
        case Bridge():
            words = {
                "ports": list(link.ports),
                "stp": link.stp,
                "forward-delay": link.forward_delay,
                "mac": link.mac,
                "segment": link.segment,
                "isolation": link.isolation,
                "openvswitch": link.openvswitch or None,
                "vlans": list(link.vlans),
            }
    own = {"mtu": link.mtu, "zone": link.zone, "bond": link.bond, "bridge": link.bridge}
    return present({**words, **own, **addressing(link.addressing)})


def _firewall(firewall: Firewall) -> dict[str, Any]:
    zones = {
        zone.name: present(
            {
                "target": zone.target,
                "interfaces": list(zone.interfaces),
                "services": list(zone.services),
                "ports": [f"{port.port}/{port.protocol}" for port in zone.ports],
                "forward": zone.forward or None,
                "masquerade": zone.masquerade or None,
                "rules": len(zone.rules) or None,
            }
        )
        for zone in firewall.zones
    }
    direct = [f"{rule.family} {rule.table} {rule.chain} {rule.priority}: {rule.rule}" for rule in firewall.rules]
    return present({"zones": zones, "policies": texts(policy.name for policy in firewall.policies), "direct": direct})
