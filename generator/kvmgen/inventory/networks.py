"""Lowering virtual networks: one for each host that carries it, with that host's differences and its guests' names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kvmgen.diagnostics import Origin
from kvmgen.inventory.context import (
    NOT_TOGETHER,
    Context,
    Data,
    Document,
    bandwidths,
    mac,
    optional_mac,
    vlan_tags,
)
from kvmgen.inventory.isolation import by_ports
from kvmgen.inventory.network_words import Place, has_pool, refuse_combinations
from kvmgen.inventory.schema import defaults
from kvmgen.model.host import BUILT_IN_ZONES, Host
from kvmgen.model.network import (
    Dhcp,
    DhcpHost,
    DnsForwarder,
    DnsHost,
    DnsSrv,
    DnsTxt,
    Forward,
    Nat,
    NetworkDns,
    Portgroup,
    VirtualNetwork,
)
from kvmgen.model.values import Address, Interface, Mac, Range
from kvmgen.value import record


@record
class Lease:
    """A guest's interface on a network: what the network's DHCP and DNS say of it."""

    name: str
    mac: Mac
    addresses: tuple[Interface, ...]
    origin: Origin


def lower_network(
    context: Context, name: str, document: Document, hosts: Mapping[str, Host]
) -> Iterator[VirtualNetwork]:
    """The network on each host that carries it, still without its guests' leases."""
    for host_name, own in document.data["hosts"].items():
        host = hosts.get(host_name)
        if host is None:
            place = document.origin.at("hosts", host_name)
            context.no_reference(place, "host", host_name, hosts)
            continue
        data = {key: value for key, value in document.data.items() if key != "hosts"}
        merged = Place({**data, **own}, document.origin, frozenset(own), host_name)
        yield _on_host(context, name, merged, host, document.origin)


def _on_host(context: Context, name: str, place: Place, host: Host, origin: Origin) -> VirtualNetwork:
    data = place.data
    forward = Forward(data["forward"])
    refuse_combinations(context, place, forward)
    dhcp = data.get("dhcp", {})
    return VirtualNetwork(
        name=name,
        libvirt_name=data.get("libvirt-name", name),
        host=host.name,
        origin=origin,
        uuid=context.uuid(data, "network", host.name, name),
        forward=forward,
        own_keys=place.own_keys,
        autostart=data.get("autostart", defaults("network")["autostart"]),
        **_plugs(context, name, place, host, forward),
        forward_dev=data.get("forward-dev"),
        nat=_nat(context, data.get("nat"), place.at("nat")),
        guest_ipv6=data.get("guest-ipv6", False),
        isolated=data.get("isolated-ports", False) or by_ports(data.get("isolation"), host.platform),
        isolation=data.get("isolation"),
        domain=data.get("domain"),
        domain_local_only=data.get("domain-local-only", False),
        addresses=context.interfaces(data.get("addresses", ()), place.at("addresses")),
        tftp=dhcp.get("tftp"),
        bootp_file=dhcp.get("bootp", {}).get("file"),
        bootp_server=dhcp.get("bootp", {}).get("server"),
        dhcp=_dhcp(context, dhcp, place.at("dhcp")),
        dns=_dns(context, data.get("dns", {}), place.at("dns")),
        routes=context.routes(data.get("routes", ()), place.at("routes")),
        vlan=vlan_tags(context, data.get("vlan"), place.at("vlan")),
        portgroups=_portgroups(context, data.get("portgroups", {}), place.at("portgroups")),
        bandwidth=bandwidths(data.get("bandwidth")),
    )


def _plugs(context: Context, name: str, place: Place, host: Host, forward: Forward) -> dict[str, Any]:
    """What guests are plugged into: a bridge that libvirt makes, one of the host's, or the host's devices."""
    if forward.makes_bridge:
        return _libvirts_bridge(context, name, place, host)
    if forward is Forward.BRIDGE and not has_pool(place.data):
        return _hosts_bridge(context, place, host)
    return _devices(context, name, place, host)


def _libvirts_bridge(context: Context, name: str, place: Place, host: Host) -> dict[str, Any]:
    bridge, default = place.data.get("bridge", {}), defaults("network", "bridge")
    if "zone" in bridge:
        _refer_to_zone(context, place, host, bridge["zone"])
    return {
        "bridge": bridge.get("name", ""),
        "segment": f"{host.name}/{name}",
        "mac": optional_mac(bridge) or context.identity.mac("network", host.name, name),
        "stp": bridge.get("stp", default["stp"]),
        "forward_delay": bridge.get("delay", default["delay"]),
        "zone": bridge.get("zone"),
        "mtu": bridge.get("mtu"),
    }


def _hosts_bridge(context: Context, place: Place, host: Host) -> dict[str, Any]:
    name = place.data.get("bridge", {}).get("name", "")
    known = {link.name: link for link in host.bridges}
    if name and name not in known:
        context.no_reference(place.at("bridge").at("name"), f"bridge on {host.name} called", name, known)
    segment = known[name].segment if name in known else f"{host.name}/{name}"
    return {"bridge": name, "segment": segment, "mac": None, "openvswitch": name in known and known[name].openvswitch}


def _devices(context: Context, name: str, place: Place, host: Host) -> dict[str, Any]:
    """The devices of a network without a bridge. Two networks on one device are in one segment."""
    data = place.data
    devices, pf = tuple(data.get("devices", ())), data.get("pf")
    links = [link.name for link in host.links]
    for index, device in enumerate(devices):
        if device not in links:
            context.no_reference(place.at("devices").at(index), f"link on {host.name} called", device, links)
    cards = [link.name for link in host.ethernets]
    if pf is not None and pf not in cards:
        context.no_reference(place.at("pf"), f"ethernet on {host.name} called", pf, cards)
    own = devices[0] if devices else pf or name
    return {
        "bridge": "",
        "segment": data.get("segment", f"{host.name}/{own}"),
        "mac": None,
        "devices": devices,
        "pf": pf,
        "pci_addresses": tuple(data.get("pci-addresses", ())),
        "managed": data.get("managed", defaults("network")["managed"]),
    }


def _refer_to_zone(context: Context, place: Place, host: Host, zone: str) -> None:
    """Hold a zone against those that the host's firewalld knows; a host without firewalld is told of elsewhere."""
    known = BUILT_IN_ZONES.union(own.name for own in host.firewall.zones) if host.firewall else BUILT_IN_ZONES
    if host.platform.firewalld is not None and zone not in known:
        context.no_reference(place.at("bridge").at("zone"), f"zone on {host.name} called", zone, known)


def _nat(context: Context, data: Data | None, origin: Origin) -> Nat | None:
    if data is None:
        return None
    addresses = context.range(data["addresses"], origin.at("addresses")) if "addresses" in data else None
    return Nat(ports=_ports(data.get("ports")), addresses=addresses, ipv6=data.get("ipv6", False))


def _ports(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, _, last = text.partition("-")
    return int(first), int(last)


def _dhcp(context: Context, data: Data, origin: Origin) -> Dhcp:
    ranges = [context.range(text, origin.at("ranges", index)) for index, text in enumerate(data.get("ranges", ()))]
    hosts = [_dhcp_host(context, host, origin.at("hosts", index)) for index, host in enumerate(data.get("hosts", ()))]
    return Dhcp(
        ranges=tuple(range_ for range_ in ranges if range_ is not None),
        hosts=tuple(host for host in hosts if host is not None),
    )


def _dhcp_host(context: Context, data: Data, origin: Origin) -> DhcpHost | None:
    address = context.address(data["address"], origin.at("address"))
    if address is None:
        return None
    if (address.version == 6) == ("mac" in data):
        message = "libvirt knows an IPv4 lease by its MAC, and an IPv6 lease by a name or a DUID, never a MAC"
        context.error(NOT_TOGETHER, origin, message, "Give `mac` for IPv4; `name` or `id` for IPv6.")
    return DhcpHost(
        address=address,
        name=data.get("name"),
        mac=mac(data["mac"]) if "mac" in data else None,
        id=data.get("id"),
        origin=origin,
    )


def _dns(context: Context, data: Data, origin: Origin) -> NetworkDns:
    forwarders = []
    for index, forwarder in enumerate(data.get("forwarders", ())):
        place = origin.at("forwarders", index, "address")
        address = context.address(forwarder["address"], place) if "address" in forwarder else None
        forwarders.append(DnsForwarder(address=address, domain=forwarder.get("domain")))
    return NetworkDns(
        enable=data.get("enable"),
        forward_plain_names=data.get("forward-plain-names"),
        forwarders=tuple(forwarders),
        hosts=tuple(_dns_hosts(context, data, origin)),
        txts=tuple(DnsTxt(**record) for record in data.get("txt", ())),
        srvs=tuple(DnsSrv(**record) for record in data.get("srv", ())),
    )


def _dns_hosts(context: Context, data: Data, origin: Origin) -> Iterator[DnsHost]:
    for index, host in enumerate(data.get("hosts", ())):
        address = context.address(host["address"], origin.at("hosts", index, "address"))
        if address is not None:
            yield DnsHost(address=address, names=tuple(host["names"]))


def _portgroups(context: Context, groups: Data, origin: Origin) -> tuple[Portgroup, ...]:
    return tuple(
        Portgroup(
            name=name,
            default=said.get("default", False),
            isolated=said.get("isolated", False),
            bandwidth=bandwidths(said.get("bandwidth")),
            vlan=vlan_tags(context, said.get("vlan"), origin.at(name, "vlan")),
        )
        for name, said in sorted(groups.items())
    )


def with_leases(network: VirtualNetwork, leases: Sequence[Lease]) -> tuple[Dhcp, NetworkDns]:
    """The network's DHCP and DNS with its guests' own addresses in them, in the order of the guests' names.

    The names of guests with addresses of the network's subnets are in its DNS whether they ask DHCP or not.
    """
    subnets = [interface.network for interface in network.addresses]
    names: dict[Address, str] = {}
    for lease in leases:
        names |= {own.ip: lease.name for own in lease.addresses if any(own in subnet for subnet in subnets)}
    dns = network.dns
    known = tuple(DnsHost(address=address, names=(name,)) for address, name in names.items())
    if dns.enable is not False and known:
        dns = _with_hosts(dns, known)
    hosts = (*network.dhcp.hosts, *_leased(network, leases))
    return Dhcp(ranges=network.dhcp.ranges, hosts=hosts), dns


def _leased(network: VirtualNetwork, leases: Sequence[Lease]) -> Iterator[DhcpHost]:
    """The leases of guests: IPv4 by the interface's MAC, IPv6 by the guest's name.

    Only a subnet with a range is leased from: libvirt takes one of each IP version. An interface gets one address of
    each, its first there; what the inventory leases by hand stands.
    """
    subnets = [own.network for own in network.addresses if any(_in(own, range_) for range_ in network.dhcp.ranges)]
    given = {host.address for host in network.dhcp.hosts}
    pinned = {host.mac for host in network.dhcp.hosts}
    for lease in leases:
        for subnet in subnets:
            address = next((own.ip for own in lease.addresses if own in subnet), None)
            mac = lease.mac if subnet.version == 4 else None
            if address is not None and address not in given and (mac is None or mac not in pinned):
                yield DhcpHost(address=address, name=lease.name, mac=mac)


def _in(own: Interface, range_: Range) -> bool:
    return range_.start in own.network


def _with_hosts(dns: NetworkDns, hosts: tuple[DnsHost, ...]) -> NetworkDns:
    return NetworkDns(
        enable=dns.enable,
        forward_plain_names=dns.forward_plain_names,
        forwarders=dns.forwarders,
        hosts=(*dns.hosts, *hosts),
        txts=dns.txts,
        srvs=dns.srvs,
    )
