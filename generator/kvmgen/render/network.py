"""libvirt virtual networks, in the order in which ``virsh net-dumpxml`` writes them.

Source: https://libvirt.org/formatnetwork.html
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from kvmgen.artifact import Artifact, Defines, Kind, Lines
from kvmgen.model.network import (
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
from kvmgen.model.site import HostView, Site
from kvmgen.model.values import Address, Interface, Range, Route
from kvmgen.render._bandwidth import bandwidth
from kvmgen.render._vlan import OPENVSWITCH, vlan
from kvmgen.render._xml import Element, document, el, when, yes_no


def render(view: HostView) -> Iterator[Artifact]:
    """One file for every network that the host carries."""
    for network in view.networks:
        text = network_xml(network)
        yield Artifact(
            path=f"libvirt/networks/{network.libvirt_name}.xml",
            text=text,
            kind=Kind.NETWORK,
            lines=partial(_lines, network, view.site, text),
            sources=(network.origin, network.origin.at("hosts", network.host), *network.named_from),
            defines=Defines(
                name=network.libvirt_name,
                uuid=network.uuid,
                autostart=network.autostart,
                validate=_is_in_schema(network),
            ),
        )


def _lines(network: VirtualNetwork, site: Site, text: str) -> Lines:
    from kvmgen.render.origins.network import network_places
    from kvmgen.render.origins.walk import xml_lines

    return xml_lines(text, network_places(network, site))


def _is_in_schema(network: VirtualNetwork) -> bool:
    """Whether libvirt's own schema allows the names: it knows no underscore, which dnsmasq and libvirtd take."""
    dns = network.dns
    names = [network.domain, *(forwarder.domain for forwarder in dns.forwarders), *(srv.domain for srv in dns.srvs)]
    names += [txt.name for txt in dns.txts]
    names += [name for host in dns.hosts for name in host.names]
    return not any("_" in name for name in names if name is not None)


def network_xml(network: VirtualNetwork) -> str:
    """The definition of one network on its host.

    UUID and MAC are always written: without the first a redefinition is refused, without the second it gets a new
    random MAC. A network on the host's own bridge or devices has no MAC, address or resolver: libvirt refuses them
    there.
    """
    root = el(
        "network",
        {"ipv6": "yes" if network.guest_ipv6 else None},
        el("name", {}, network.libvirt_name),
        el("uuid", {}, network.uuid),
        _forward(network),
        when(network.bridge, _bridge(network)),
        None if network.mtu is None else el("mtu", {"size": network.mtu}),
        None if network.mac is None else el("mac", {"address": network.mac}),
        _domain(network),
        _dns(network.dns),
        vlan(network.vlan),
        bandwidth(network.bandwidth),
        when(network.isolated, el("port", {"isolated": "yes"})),
        (_ip(network, address) for address in network.addresses),
        map(_route, network.routes),
        when(network.openvswitch, OPENVSWITCH),
        map(_portgroup, network.portgroups),
    )
    return document(root, network.origin)


def _forward(network: VirtualNetwork) -> Element | None:
    if network.forward is Forward.ISOLATED:
        return None
    hostdev = network.forward is Forward.HOSTDEV
    device = network.devices[0] if network.devices else network.forward_dev  # libvirt repeats the first one there
    return el(
        "forward",
        {"dev": device, "mode": network.forward.value, "managed": yes_no(network.managed) if hostdev else None},
        when(hostdev, el("driver", {"name": "vfio"})),
        _nat(network.nat),
        el("pf", {"dev": network.pf}) if network.pf else None,
        (el("interface", {"dev": name}) for name in network.devices),
        map(_function, network.pci_addresses),
    )


def _function(address: str) -> Element:
    """A virtual function by its address, ``0000:07:10.2``."""
    domain, bus, rest = address.split(":")
    slot, _, function = rest.partition(".")
    numbers = {"domain": domain, "bus": bus, "slot": slot, "function": function}
    return el("address", {"type": "pci", **{name: f"0x{number}" for name, number in numbers.items()}})


def _nat(nat: Nat | None) -> Element | None:
    if nat is None or nat == Nat():
        return None
    first, last = nat.ports or (None, None)
    return el(
        "nat",
        {"ipv6": "yes" if nat.ipv6 else None},
        None if nat.addresses is None else _range("address", nat.addresses),
        when(nat.ports, el("port", {"start": first, "end": last})),
    )


def _bridge(network: VirtualNetwork) -> Element:
    stp = None if network.stp is None else "on" if network.stp else "off"
    return el("bridge", {"name": network.bridge, "zone": network.zone, "stp": stp, "delay": network.forward_delay})


def _domain(network: VirtualNetwork) -> Element | None:
    if network.domain is None:
        return None
    return el("domain", {"name": network.domain, "localOnly": "yes" if network.domain_local_only else None})


def _dns(dns: NetworkDns) -> Element | None:
    if dns == NetworkDns():
        return None
    return el(
        "dns",
        {"enable": yes_no(dns.enable), "forwardPlainNames": yes_no(dns.forward_plain_names)},
        map(_forwarder, dns.forwarders),
        map(_txt, dns.txts),
        map(_srv, dns.srvs),
        map(_dns_host, dns.hosts),
    )


def _forwarder(forwarder: DnsForwarder) -> Element:
    address = None if forwarder.address is None else str(forwarder.address)
    return el("forwarder", {"domain": forwarder.domain, "addr": address})


def _txt(txt: DnsTxt) -> Element:
    return el("txt", {"name": txt.name, "value": txt.value})


def _srv(srv: DnsSrv) -> Element:
    """A service record; a priority or weight of 0 is the default, and libvirt doesn't write it back."""
    return el(
        "srv",
        {
            "service": srv.service,
            "protocol": srv.protocol,
            "domain": srv.domain,
            "target": srv.target,
            "port": srv.port,
            "priority": srv.priority or None,
            "weight": srv.weight or None,
        },
    )


def _dns_host(host: DnsHost) -> Element:
    return el("host", {"ip": str(host.address)}, (el("hostname", {}, name) for name in host.names))


def _ip(network: VirtualNetwork, address: Interface) -> Element:
    boots = address == boot_address(network)
    tftp = network.tftp if boots else None
    ip = str(address.ip)
    if address.version == 4:
        attributes = {"address": ip, "netmask": str(address.netmask)}
    else:
        attributes = {"family": "ipv6", "address": ip, "prefix": str(address.network.prefixlen)}
    return el("ip", attributes, when(tftp, el("tftp", {"root": tftp})), _dhcp(network, address, boots))


def home(network: VirtualNetwork, lease: Address) -> Interface | None:
    """The network's address in whose subnet a lease is; the first where several share one."""
    return next((address for address in network.addresses if lease in address.network), None)


def boot_address(network: VirtualNetwork) -> Interface | None:
    """The address that carries TFTP and BOOTP: libvirt reads them under IPv4 only, and leases on one IPv4 subnet."""
    leases = [*(leased.start for leased in network.dhcp.ranges), *(host.address for host in network.dhcp.hosts)]
    leasing = (home(network, lease) for lease in leases if lease.version == 4)
    first = next((address for address in network.addresses if address.version == 4), None)
    return next(leasing, first)


def _dhcp(network: VirtualNetwork, address: Interface, boots: bool) -> Element | None:
    """What is leased in this address's subnet. libvirt forgets a BOOTP file where nothing is."""
    ranges = [_range("range", leased) for leased in network.dhcp.ranges if home(network, leased.start) == address]
    hosts = [_dhcp_host(host) for host in network.dhcp.hosts if home(network, host.address) == address]
    file = network.bootp_file if boots else None
    bootp = when(file, el("bootp", {"file": file, "server": network.bootp_server}))
    return when(ranges or hosts, el("dhcp", {}, ranges, hosts, bootp))


def _dhcp_host(host: DhcpHost) -> Element:
    mac = host.mac if host.address.version == 4 else None
    return el("host", {"mac": mac, "id": host.id, "name": host.name, "ip": str(host.address)})


def _range(tag: str, addresses: Range) -> Element:
    return el(tag, {"start": str(addresses.start), "end": str(addresses.end)})


def _route(route: Route) -> Element:
    version = route.version
    everywhere = "0.0.0.0" if version == 4 else "::"  # noqa: S104 - a destination, nothing listens on it
    return el(
        "route",
        {
            "family": f"ipv{version}",
            "address": everywhere if route.to is None else str(route.to.network_address),
            "prefix": 0 if route.to is None else route.to.prefixlen,
            "gateway": str(route.via),
            "metric": route.metric,
        },
    )


def _portgroup(portgroup: Portgroup) -> Element:
    """A portgroup. libvirt knows no ``<port isolated>`` in it: each domain's interface says that for itself."""
    return el(
        "portgroup",
        {"name": portgroup.name, "default": "yes" if portgroup.default else None},
        vlan(portgroup.vlan),
        bandwidth(portgroup.bandwidth),
    )
