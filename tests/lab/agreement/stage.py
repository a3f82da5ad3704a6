"""One host of any inventory, with everything on it alive: its guests, and a machine behind each of its NICs.

Each machine is a network namespace with the addresses and routes that the inventory gives it; what the compiler made
for the host (kernel settings, packet filter, libvirt's networks and nwfilters) is loaded by the real programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface
from typing import Literal
from xml.etree.ElementTree import fromstring

from kvmgen.artifact import Kind
from kvmgen.model.guest import Guest
from kvmgen.model.site import Site
from kvmgen.model.values import Address, Interface
from kvmgen.proof import parties
from kvmgen.reachability.place import OUTSIDE_ADDRESSES, OUTSIDE_MAC
from kvmgen.reachability.topology import Party
from tests.lab.guest import LabGuest
from tests.real.packets import (
    Compiled,
    ExampleHost,
    apply_sysctl,
    load_iptables,
    nic_of,
    running_files,
    take_lease,
    wait_until_forwarding,
)

QUIET = (
    "net.ipv4.ip_forward=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.default.dad_transmits=0",
    "net.ipv6.conf.default.accept_ra=0",
    "net.ipv4.icmp_ratelimit=0",
    "net.ipv6.icmp.ratelimit=0",
    "net.ipv4.tcp_challenge_ack_limit=2147483647",
)
BRIDGE_NETFILTER = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
LEASES = 900.0
"""Seconds; longer than anybody looks at a stage, and the end of a DHCP server that nobody stopped."""
LEARNING_TRIES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """An interface of a machine; ``tap`` is its other end on the host, empty for the host's own."""

    name: str
    mac: str
    addresses: tuple[Interface, ...]
    tap: str = ""
    bridge: str = ""
    filtered: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class Machine:
    """A guest, the host itself, or a machine outside; a node of the laboratory."""

    name: str
    kind: Literal["guest", "host", "outside"]
    netns: int
    nics: list[Nic]
    far: tuple[Address, ...] = ()

    def addresses(self, version: int) -> list[Address]:
        """What others call it by, of one IP version; of what is outside that is where it is far away."""
        if self.far:
            return [address for address in self.far if address.version == version]
        every = [address.ip for nic in self.nics for address in nic.addresses]
        return [address for address in every if address.version == version and not address.is_link_local]

    @property
    def shell(self) -> str | None:
        """The named namespace on the host; ``None`` for the host itself."""
        return None if self.kind == "host" else self.name


@dataclass(slots=True)
class Stage:
    """A host that runs, with the machines on and around it."""

    lab: ExampleHost
    parties: dict[str, Party] = field(default_factory=dict)
    machines: list[Machine] = field(default_factory=list)

    def machine(self, name: str) -> Machine:
        """The machine of this name."""
        (found,) = (machine for machine in self.machines if machine.name == name)
        return found


@contextmanager
def staged(files: Compiled, site: Site) -> Iterator[Stage]:
    """The host of these files with its guests and what is outside."""
    networks = [path.split("/")[-1].removesuffix(".xml") for path in files.of_kind(Kind.NETWORK)]
    with running_files(files, networks) as lab:
        _settle_host(lab)
        stage = Stage(lab, {party.mac: party for party in parties(site) if party.name in files.guests})
        for guest in files.guests.values():
            stage.machines.append(_guest(stage, site, guest))
        stage.machines += _outside(stage)
        stage.machines.append(_host(stage))
        for guest in files.guests.values():
            _prepare_inside(stage, guest)
        for nic in (nic for machine in stage.machines for nic in machine.nics):
            if nic.tap and nic.bridge:
                wait_until_forwarding(lab, nic.tap)
        for machine in [machine for machine in stage.machines if machine.kind == "guest"]:
            _take_leases(stage, machine)
        _lead_through_guests(stage)
        _name_ports_for_bridges(stage)
        yield stage


# -- the host ----------------------------------------------------------------------------------------------------------


def _settle_host(lab: ExampleHost) -> None:
    lab.run("sysctl", "-qw", *(line for line in QUIET if "icmp" in line or "tcp" in line))
    said = "".join(lab.files.texts[path] for path in lab.files.of_kind(Kind.SYSCTL))
    if "bridge-nf-call" not in said:
        # No file of the host loads br_netfilter, and without it iptables sees no bridged frame.
        lab.run("sysctl", "-qw", *(f"{key}=0" for key in BRIDGE_NETFILTER))


def _host(stage: Stage) -> Machine:
    """The host's own addresses, on its links and on the bridges of libvirt's networks."""
    lab = stage.lab
    nics = [
        Nic(name=link.name, mac=_mac_of(lab, link.name), addresses=link.addressing.addresses, bridge=link.name)
        for link in lab.files.host.links
        if link.addressing.addresses and _exists(lab, link.name)
    ]
    for path in lab.files.of_kind(Kind.NETWORK):
        network = fromstring(lab.files.texts[path])
        bridge = network.find("bridge")
        addresses = tuple(_network_address(element.attrib) for element in network.findall("ip"))
        if bridge is not None and addresses:
            name = bridge.attrib["name"]
            nics.append(Nic(name=name, mac=_mac_of(lab, name), addresses=addresses, bridge=name))
    return Machine(name=lab.files.host.name, kind="host", netns=lab.netns, nics=nics)


def _network_address(given: dict[str, str]) -> Interface:
    return ip_interface(f"{given['address']}/{given.get('prefix') or given['netmask']}")


def _mac_of(lab: ExampleHost, link: str) -> str:
    return lab.run("cat", f"/sys/class/net/{link}/address").stdout.strip()


def _exists(lab: ExampleHost, link: str) -> bool:
    return lab.run("test", "-e", f"/sys/class/net/{link}", check=False).returncode == 0


# -- guests ------------------------------------------------------------------------------------------------------------


def _guest(stage: Stage, site: Site, guest: Guest) -> Machine:
    """A guest in its namespace, each NIC under the filter of its compiled domain."""
    lab = stage.lab
    networks = site.networks[lab.files.host.name]
    nics, gateways = [], []
    ports = []
    for meant in guest.interfaces:
        if meant.openvswitch:
            continue
        made = nic_of(lab.files, guest.name, meant.mac)
        tap = meant.target or "vnet" + meant.mac.replace(":", "")[4:]
        addresses = meant.addressing.addresses
        nics.append(
            Nic(
                name=meant.name,
                mac=meant.mac,
                addresses=addresses,
                tap=tap,
                bridge=made.bridge,
                filtered=made.filter or "",
            )
        )
        gateways += [str(route.via) for route in meant.addressing.routes if route.to is None]
        network = networks.get(meant.network or "")
        if network is not None and network.forward.makes_bridge and network.forward != "isolated":
            ports += [str(address.ip) for address in network.addresses]
    versions = {ip_address(gateway).version for gateway in gateways}
    gateways += [gateway for gateway in ports if ip_address(gateway).version not in versions]
    machine = _start(lab, guest.name, nics, gateways)
    for nic, meant in zip(nics, (meant for meant in guest.interfaces if not meant.openvswitch), strict=True):
        made = nic_of(lab.files, guest.name, nic.mac)
        if made.filter is not None:
            handle = LabGuest(lab, guest.name, tap=nic.tap, mac=nic.mac, owner_uuid=guest.uuid)
            handle.bind_filter(made.filter, made.parameters)
        if _is_isolated(lab, guest.name, meant.mac):
            lab.run("ip", "link", "set", nic.tap, "type", "bridge_slave", "isolated", "on")
    return machine


def _is_isolated(lab: ExampleHost, guest: str, mac: str) -> bool:
    """Whether the compiled domain, or the portgroup that it names, isolates the port."""
    domain = fromstring(lab.files.texts[f"libvirt/domains/{guest}.xml"])
    (nic,) = (nic for nic in domain.iter("interface") if nic.find(f"mac[@address='{mac}']") is not None)
    ports = [nic.find("port")]
    source = nic.find("source")
    if nic.get("type") == "network" and source is not None:
        for path in lab.files.of_kind(Kind.NETWORK):
            network = fromstring(lab.files.texts[path])
            if network.findtext("name") == source.get("network"):
                ports.append(network.find("port"))
                group = source.get("portgroup")
                chosen = "[@default='yes']" if group is None else f"[@name='{group}']"
                ports.append(network.find(f"portgroup{chosen}/port"))
    return any(port is not None and port.get("isolated") == "yes" for port in ports)


def _start(lab: ExampleHost, name: str, nics: Sequence[Nic], gateways: Sequence[str]) -> Machine:
    """A namespace with its interfaces, joined to their bridges."""
    lab.ip_batch([f"netns add {name}"])
    lab.run("sysctl", "-qw", *QUIET, netns=name)
    outer, inner = [], ["link set lo up"]
    for nic in nics:
        outer.append(f"link add {nic.tap} type veth peer name {nic.name} address {nic.mac} netns {name}")
        outer += [f"link set {nic.tap} master {nic.bridge}"] if nic.bridge else []
        outer.append(f"link set {nic.tap} up")
        inner.append(f"link set {nic.name} up")
        inner += [f"address add {address} dev {nic.name}{_nodad(address)}" for address in nic.addresses]
    lab.ip_batch(outer)
    subnets = [address.network for nic in nics for address in nic.addresses]
    near = [gateway for gateway in gateways if any(ip_address(gateway) in subnet for subnet in subnets)]
    for gateway in {ip_address(gateway).version: gateway for gateway in reversed(near)}.values():
        inner.append(f"route add default via {gateway}")
    lab.ip_batch(inner, netns=name)
    return Machine(name=name, kind="guest", netns=lab.hold(lab.file(f"/run/netns/{name}")), nics=list(nics))


def _nodad(address: Address | Interface) -> str:
    return " nodad" if address.version == 6 else ""


def _prepare_inside(stage: Stage, guest: Guest) -> None:
    """The kernel settings and the packet filter that were compiled for the inside of a guest."""
    texts, folder = stage.lab.files.texts, f"guests/{guest.name}/"
    for path in (f"{folder}etc/sysctl.conf", *(path for path in texts if path.startswith(f"{folder}etc/sysctl.d/"))):
        if path in texts:
            apply_sysctl(stage.lab, texts[path], netns=guest.name)
    load_iptables(stage.lab, texts, folder, netns=guest.name)


# -- outside -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Uplink:
    """A NIC of the host that leads outside, with the subnets there and the host's own addresses on it."""

    port: str
    bridge: str
    near: tuple[Interface, ...]
    own: tuple[Interface, ...]

    def clashes(self, other: Uplink) -> bool:
        """Whether one machine couldn't tell by an address which of the two leads to it."""
        return any(one.network.overlaps(a.network) for one in self.near for a in other.near if a.version == one.version)


def _outside(stage: Stage) -> list[Machine]:
    """What is behind the NICs: one machine that is every subnet's router and has the addresses of a machine far away.

    Where the same subnet is behind two NICs, it is two machines.
    """
    together: list[list[Uplink]] = []
    for uplink in _uplinks(stage):
        fitting = (group for group in together if not any(uplink.clashes(other) for other in group))
        group = next(fitting, None)
        if group is None:
            together.append([uplink])
        else:
            group.append(uplink)
    return [_router(stage, f"outside{number or ''}", group) for number, group in enumerate(together)]


def _uplinks(stage: Stage) -> Iterator[Uplink]:
    lab, host = stage.lab, stage.lab.files.host
    for bridge in host.bridges:
        own = bridge.addressing.addresses
        for port in bridge.ports:
            yield Uplink(port, bridge.name, (*own, *_guests_on(stage, bridge.name)), own)
    for link in host.links:
        if link.addressing.addresses and not _exists(lab, link.name):
            yield Uplink(link.name, "", link.addressing.addresses, link.addressing.addresses)


def _guests_on(stage: Stage, bridge: str) -> list[Interface]:
    nics = (nic for machine in stage.machines for nic in machine.nics if nic.bridge == bridge)
    every = (address for nic in nics for address in (*nic.addresses, *stage.parties[nic.mac].learned))
    return [address for address in every if not address.ip.is_link_local]


def _router(stage: Stage, name: str, uplinks: Sequence[Uplink]) -> Machine:
    lab = stage.lab
    taken = {address.ip for machine in stage.machines for nic in machine.nics for address in nic.addresses}
    taken |= {address.ip for uplink in uplinks for address in uplink.own}
    taken |= {address.ip for party in stage.parties.values() for address in party.learned}
    nics = []
    for number, uplink in enumerate(uplinks):
        addresses = tuple(_routers_addresses(uplink, _vias(stage), taken))
        nics.append(
            Nic(name=f"eth{number}", mac=OUTSIDE_MAC, addresses=addresses, tap=uplink.port, bridge=uplink.bridge)
        )
    machine = _start(lab, name, nics, [])
    machine.kind = "outside"
    machine.far = tuple(OUTSIDE_ADDRESSES.values())
    lab.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", netns=name)
    lab.ip_batch([f"address add {address} dev lo{_nodad(address)}" for address in machine.far], netns=name)
    for uplink in uplinks:
        if not uplink.bridge:
            lab.ip_batch([f"address add {own} dev {uplink.port}{_nodad(own)}" for own in uplink.own])
    _default_routes(stage)
    entrances = [own for uplink in sorted(uplinks, key=lambda one: not _has_default(stage, one)) for own in uplink.own]
    for network in _behind(stage):
        for own in (own for own in entrances[:] if own.version == network.version):
            route = ["route", "replace", str(network.network), "via", str(own.ip)]
            lab.run("ip", *route, netns=name, check=False)
            break
    return machine


# -- leases ------------------------------------------------------------------------------------------------------------


def _take_leases(stage: Stage, machine: Machine) -> None:
    """Let a guest's interfaces that ask for an address get one: of libvirt's server, else of one that is outside."""
    for position, nic in enumerate(machine.nics):
        party = stage.parties[nic.mac]
        if nic.addresses or not party.learned:
            continue
        router = _serve_lease(stage, nic, party.learned[0])
        if router is None:
            continue
        handle = LabGuest(stage.lab, machine.name, tap=nic.tap, mac=nic.mac)
        handle.netns, handle.interface = machine.netns, nic.name
        leased = take_lease(handle)
        own = ip_interface(f"{leased}/{party.learned[0].network.prefixlen}")
        handle.run("ip", "route", "add", "default", "via", str(router), check=False)
        machine.nics[position] = replace(nic, addresses=(own,))
        stage.parties[nic.mac] = replace(party, learned=(own,))
        any(handle.ping(str(router), count=1).all_answered for _ in range(LEARNING_TRIES))


def _lead_through_guests(stage: Stage) -> None:
    """What is outside knows the way to the networks behind guests that are routers themselves."""
    for guest in stage.lab.files.guests.values():
        if guest.inside is None or not any("forward" in setting.key for setting in guest.inside.sysctl):
            continue
        for machine in (machine for machine in stage.machines if machine.kind == "outside"):
            here = {nic.bridge for nic in machine.nics if nic.bridge}
            nics = stage.machine(guest.name).nics
            entrances = [own for nic in nics if nic.bridge in here for own in nic.addresses]
            for behind in (own for nic in nics if nic.bridge not in here for own in nic.addresses):
                for own in (own for own in entrances if own.version == behind.version):
                    route = ["route", "replace", str(behind.network), "via", str(own.ip)]
                    stage.lab.run("ip", *route, netns=machine.name, check=False)
                    break


NFTABLES = "etc/nftables/kvmgen.nft"


def _name_ports_for_bridges(stage: Stage) -> None:
    """Say for a kernel that can't match a bridge's name what it means: the ports that the bridge has by now."""
    lab, table = stage.lab, stage.lab.files.texts.get(NFTABLES)
    if table is None or lab.run("nft", "-c", "-f", "-", input=table, check=False).returncode == 0:
        return

    def ports(found: re.Match[str]) -> str:
        names = lab.run("ls", f"/sys/class/net/{found[2]}/brif", check=False).stdout.split()
        listed = ", ".join(f'"{name}"' for name in [*names, "nothing"])
        return f"{found[1]}ifname {{ {listed} }}"

    lab.run("nft", "-f", "-", input=re.sub(r'meta ([io])brname "([^"]*)"', ports, table))


def _serve_lease(stage: Stage, nic: Nic, address: Interface) -> Address | None:
    """Who will be the router of a leased address; ``None`` where nobody leases any there."""
    for machine in stage.machines:
        for other in machine.nics:
            near = (own.ip for own in other.addresses if own.network == address.network)
            router = next(near, None)
            if other.bridge != nic.bridge or router is None or machine.kind == "guest":
                continue
            if machine.kind == "outside":
                _start_dhcp_server(stage, machine, other, nic.mac, address)
            return router
    return None


def _start_dhcp_server(stage: Stage, machine: Machine, nic: Nic, mac: str, address: Interface) -> None:
    words = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        f"--interface={nic.name}",
        "--bind-interfaces",
    ]
    words += [f"--dhcp-leasefile=/run/lab/{machine.name}-{nic.name}.leases", "--no-ping", "--pid-file=", "--user=root"]
    words += [f"--dhcp-range={address.network.network_address},static", f"--dhcp-host={mac},{address.ip}"]
    stage.lab.spawn("dnsmasq", *words, netns=machine.name, timeout=LEASES)


def _routers_addresses(uplink: Uplink, vias: Sequence[Address], taken: set[Address]) -> Iterator[Interface]:
    """In each subnet the address that somebody names as a gateway, else one at the subnet's end."""
    for subnet in dict.fromkeys(address.network for address in uplink.near):
        named = (via for via in vias if via in subnet and via not in taken)
        router = next(named, subnet.broadcast_address - 1)
        if router not in taken:
            yield ip_interface(f"{router}/{subnet.prefixlen}")


def _default_routes(stage: Stage) -> None:
    for link in stage.lab.files.host.links:
        for route in link.addressing.routes:
            to = "default" if route.to is None else str(route.to)
            stage.lab.run("ip", "route", "replace", to, "via", str(route.via), check=False)


def _has_default(stage: Stage, uplink: Uplink) -> bool:
    named = (link for link in stage.lab.files.host.links if link.name in (uplink.port, uplink.bridge))
    return any(route.to is None for link in named for route in link.addressing.routes)


def _vias(stage: Stage) -> list[Address]:
    files = stage.lab.files
    every = [route for link in files.host.links for route in link.addressing.routes]
    every += [route for guest in files.guests.values() for nic in guest.interfaces for route in nic.addressing.routes]
    return [route.via for route in every]


def _behind(stage: Stage) -> list[Interface]:
    texts = stage.lab.files.texts
    networks = (fromstring(texts[path]) for path in stage.lab.files.of_kind(Kind.NETWORK))
    return [_network_address(element.attrib) for network in networks for element in network.findall("ip")]


def ports_named(files: Compiled) -> tuple[set[int], set[int]]:
    """The TCP and the UDP ports that the host's files name."""
    tcp: set[int] = set()
    udp: set[int] = set()
    for path, text in files.texts.items():
        if path.startswith(("libvirt/domains", "var/", "manifest")):
            continue
        for protocol, port in re.findall(r"<(tcp|udp)(?:-ipv6)?\b[^>]*dstportstart='(\d+)'", text):
            (tcp if protocol == "tcp" else udp).add(int(port))
        for port in re.findall(r"--dports? (\d+)", text):
            tcp.add(int(port))
            udp.add(int(port))
    return tcp, udp
