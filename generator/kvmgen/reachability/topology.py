"""Who is connected to whom: machines with their bridges, networks and guests' taps, as a site's files have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from kvmgen.diagnostics import Origin
from kvmgen.model.values import Address, Interface, Route
from kvmgen.reachability._xml import line_of, read
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.links import Link, links, settings
from kvmgen.value import value

if TYPE_CHECKING:
    from kvmgen.reachability._xml import Element

ROUTED = ("nat", "route", "open")
"""The forward modes for which libvirt switches forwarding on when it starts the network."""


@value
class Party:
    """A guest's interface as the inventory means it, its home first among ``hosts``.

    ``routes`` are those beside the default ones. ``learned`` are addresses that a server leases to it: stand-ins where
    nobody can know them yet.
    """

    name: str
    nic: str
    mac: str
    addresses: tuple[Interface, ...]
    gateways: tuple[Address, ...]
    hosts: tuple[str, ...]
    origin: Origin
    learned: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()

    @property
    def all_addresses(self) -> tuple[Interface, ...]:
        """Its own and those that are leased to it."""
        return self.addresses + self.learned


@value
class Network:
    """A libvirt network of one host; ``mode`` is libvirt's, ``isolated`` for none."""

    name: str
    mode: str
    bridge: str
    file: str
    addresses: tuple[Interface, ...] = ()
    isolated: bool = False


@value
class Tap:
    """Where a guest's NIC is plugged in on its host; ``line`` is where its domain says so.

    A tap whose name is libvirt's choice has one that follows from its MAC here.
    """

    guest: str
    host: str
    name: str
    mac: str
    bridge: str
    file: str
    line: int
    filter: str | None = None
    parameters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    isolated: bool = False
    up: bool = True
    vlans: tuple[int, ...] = ()
    trunk: bool = False


@dataclass(slots=True)
class Machine:
    """A host, or the compiled inside of a guest."""

    name: str
    folder: Folder
    inside: str | None
    links: Mapping[str, Link]
    networks: Mapping[str, Network] = field(default_factory=dict)
    taps: Sequence[Tap] = ()
    kernel: Mapping[str, str] = field(default_factory=dict)

    def addresses(self, interface: str) -> tuple[Interface, ...]:
        """What the machine has on one interface: a link, or a bridge that libvirt makes."""
        link = self.links.get(interface)
        found = () if link is None else link.addresses
        return found + tuple(
            ip
            for network in self.networks.values()
            if network.bridge == interface and network.mode != "bridge"
            for ip in network.addresses
        )

    def interfaces(self) -> Iterator[str]:
        """What can carry addresses: links that aren't ports, and libvirt's bridges."""
        yield from (link.name for link in self.links.values() if link.master is None)
        yield from (network.bridge for network in self.networks.values() if network.mode != "bridge")

    def forwards(self, version: int) -> bool:
        """Whether the kernel routes; libvirt lets it for the IP versions of the networks that need it."""
        key = "net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding"
        routed = any(
            ip.version == version
            for network in self.networks.values()
            if network.mode in ROUTED
            for ip in network.addresses
        )
        return self.kernel.get(key, "0") == "1" or routed

    def uplinks(self, bridge: str) -> list[Link]:
        """The links that are ports of a bridge."""
        return [link for link in self.links.values() if link.master == bridge]

    def is_bridge(self, interface: str) -> bool:
        """Whether an interface is a bridge, the machine's own or libvirt's."""
        link = self.links.get(interface)
        return (link is not None and link.kind == "bridge") or any(
            network.bridge == interface for network in self.networks.values()
        )


@dataclass
class Site:
    """All machines, and the parties on their taps. ``segments`` maps (host, bridge) to the name of its segment."""

    folders: Sequence[Folder]
    parties: Sequence[Party]
    segments: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @cached_property
    def hosts(self) -> Mapping[str, Machine]:
        """The hosts by name."""
        return {folder.name: _host(folder) for folder in self.folders}

    @cached_property
    def insides(self) -> Mapping[str, Machine]:
        """The guests whose inside is compiled, by name."""
        found = {}
        for folder in self.folders:
            names = {path.split("/")[1] for path in folder.files if path.startswith("guests/") and "/etc/" in path}
            for name in sorted(names):
                found[name] = Machine(
                    name=name, folder=folder, inside=name, links=links(folder, name), kernel=settings(folder, name)
                )
        return found

    @cached_property
    def taps(self) -> Mapping[str, Tap]:
        """The guests' taps by MAC."""
        return {tap.mac: tap for host in self.hosts.values() for tap in host.taps}

    @cached_property
    def parties_of(self) -> Mapping[str, Sequence[Party]]:
        """The interfaces of each guest."""
        found: dict[str, list[Party]] = {}
        for party in self.parties:
            found.setdefault(party.name, []).append(party)
        return found

    @cached_property
    def party_by_mac(self) -> Mapping[str, Party]:
        """The parties by the MAC of their interface."""
        return {party.mac: party for party in self.parties}

    def segment(self, host: str, bridge: str) -> str:
        """The layer-2 segment of a bridge: its own, unless other hosts' bridges are on it as well."""
        return self.segments.get((host, bridge), f"{host}/{bridge}")

    @cached_property
    def bridges_of(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """The (host, bridge) pairs of each segment."""
        found: dict[str, dict[tuple[str, str], None]] = {}
        for host in self.hosts.values():
            named = [name for name in host.interfaces() if host.is_bridge(name)]
            for bridge in [*named, *(tap.bridge for tap in host.taps)]:
                found.setdefault(self.segment(host.name, bridge), {})[host.name, bridge] = None
        return {segment: list(pairs) for segment, pairs in found.items()}


def _host(folder: Folder) -> Machine:
    networks = {network.name: network for network in _networks(folder)}
    return Machine(
        name=folder.name,
        folder=folder,
        inside=None,
        links=links(folder),
        networks=networks,
        taps=tuple(_taps(folder, networks)),
        kernel=settings(folder),
    )


def _networks(folder: Folder) -> Iterator[Network]:
    for path, text in folder.under("libvirt/networks/"):
        root = read(text)
        forward = root.find("forward")
        yield Network(
            name=root.findtext("name") or "",
            mode="isolated" if forward is None else forward.get("mode", "nat"),
            bridge=_get(root, "bridge", "name") or "",
            file=path,
            addresses=tuple(map(_address, root.findall("ip"))),
            isolated=_get(root, "port", "isolated") == "yes",
        )


def _address(ip: Element) -> Interface:
    length = ip.get("prefix") or ip.get("netmask") or ("64" if ":" in ip.get("address", "") else "32")
    return ip_interface(f"{ip.get('address')}/{length}")


def _taps(folder: Folder, networks: Mapping[str, Network]) -> Iterator[Tap]:
    for path, text in folder.under("libvirt/domains/"):
        root = read(text)
        guest = root.findtext("name") or ""
        for nic in root.iterfind("devices/interface"):
            mac = (_get(nic, "mac", "address") or "").lower()
            network = networks.get(_get(nic, "source", "network") or "")
            bridge = _get(nic, "source", "bridge") or (network.bridge if network else "")
            if bridge:
                yield _tap(folder.name, guest, path, nic, mac, bridge, network)


def _tap(host: str, guest: str, path: str, nic: Element, mac: str, bridge: str, network: Network | None) -> Tap:
    reference, vlan = nic.find("filterref"), nic.find("vlan")
    return Tap(
        guest=guest,
        host=host,
        name=_get(nic, "target", "dev") or "vnet" + mac.replace(":", "")[4:],
        mac=mac,
        bridge=bridge,
        file=path,
        line=line_of(nic),
        filter=None if reference is None else reference.get("filter"),
        parameters=() if reference is None else _parameters(reference.iterfind("parameter")),
        isolated=_get(nic, "port", "isolated") == "yes" or (network is not None and network.isolated),
        up=_get(nic, "link", "state") != "down",
        vlans=() if vlan is None else tuple(int(tag.get("id", "0")) for tag in vlan.iterfind("tag")),
        trunk=vlan is not None and vlan.get("trunk") == "yes",
    )


def _parameters(found: Iterable[Element]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    values: dict[str, list[str]] = {}
    for parameter in found:
        values.setdefault(parameter.get("name", ""), []).append(parameter.get("value", ""))
    return tuple((name, tuple(several)) for name, several in values.items())


def _get(parent: Element, tag: str, name: str) -> str | None:
    found = parent.find(tag)
    return None if found is None else found.get(name)
