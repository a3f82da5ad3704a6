"""A libvirt virtual network as one host carries it, with that host's differences already merged in."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from kvmgen.diagnostics import Origin
from kvmgen.model.values import Address, Bandwidths, Interface, Mac, Range, Route, Uuid, VlanTags
from kvmgen.value import value


class Forward(StrEnum):
    """How a network reaches the world, in libvirt's words; ``isolated`` is libvirt's absent ``<forward>``."""

    NAT = "nat"
    ROUTE = "route"
    OPEN = "open"
    ISOLATED = "isolated"
    BRIDGE = "bridge"
    PRIVATE = "private"
    VEPA = "vepa"
    PASSTHROUGH = "passthrough"
    HOSTDEV = "hostdev"

    @property
    def makes_bridge(self) -> bool:
        """Whether libvirt makes the network's bridge and runs it: its addresses, DHCP and DNS."""
        return self in (Forward.NAT, Forward.ROUTE, Forward.OPEN, Forward.ISOLATED)


class Plug(StrEnum):
    """What a guest's interface is plugged into on a host."""

    BRIDGE = "a Linux bridge"
    OPENVSWITCH = "Open vSwitch"
    MACVTAP = "macvtap"
    HOSTDEV = "a virtual function"


@value
class Nat:
    """``<nat>``: source ports as (first, last), source addresses, and whether IPv6 is translated too."""

    ports: tuple[int, int] | None = None
    addresses: Range | None = None
    ipv6: bool = False


@value
class DhcpHost:
    """A fixed lease. IPv4 is known by ``mac``; for IPv6 libvirt takes only a name (or a DUID), never a MAC.

    ``origin`` is where the inventory gives it by hand; ``None`` for what follows from a guest's own address.
    """

    address: Address
    name: str | None = None
    mac: Mac | None = None
    id: str | None = None
    origin: Origin | None = field(default=None, compare=False)


@value
class Dhcp:
    """What dnsmasq leases, both families together."""

    ranges: tuple[Range, ...] = ()
    hosts: tuple[DhcpHost, ...] = ()


@value
class DnsForwarder:
    """An upstream resolver, for every name or for one domain."""

    address: Address | None = None
    domain: str | None = None


@value
class DnsHost:
    """The names of one address."""

    address: Address
    names: tuple[str, ...]


@value
class DnsTxt:
    """A TXT record."""

    name: str
    value: str


@value
class DnsSrv:
    """An SRV record; ``protocol`` is tcp or udp."""

    service: str
    protocol: str
    domain: str | None = None
    target: str | None = None
    port: int | None = None
    priority: int | None = None
    weight: int | None = None


@value
class NetworkDns:
    """The network's resolver. ``enable`` and ``forward_plain_names`` are ``None`` where libvirt's default stands."""

    enable: bool | None = None
    forward_plain_names: bool | None = None
    forwarders: tuple[DnsForwarder, ...] = ()
    hosts: tuple[DnsHost, ...] = ()
    txts: tuple[DnsTxt, ...] = ()
    srvs: tuple[DnsSrv, ...] = ()


@value
class Portgroup:
    """A named set of port settings that a guest's interface may ask for."""

    name: str
    default: bool = False
    isolated: bool = False
    bandwidth: Bandwidths | None = None
    vlan: VlanTags | None = None


@value
class VirtualNetwork:
    """A virtual network on one host.

    ``name`` is the inventory's, ``libvirt_name`` what virsh calls it there. ``bridge`` is the bridge that libvirt
    makes, or the host's own where ``forward`` is ``bridge``; it is empty where guests are plugged into ``devices`` of
    the host (macvtap) or get functions of an SR-IOV card: all those of ``pf``, or ``pci_addresses``. ``mac`` is
    ``None`` but for a bridge that libvirt makes.
    """

    name: str
    libvirt_name: str
    host: str
    origin: Origin
    uuid: Uuid
    forward: Forward
    bridge: str
    segment: str
    autostart: bool
    mac: Mac | None
    devices: tuple[str, ...] = ()
    pf: str | None = None
    pci_addresses: tuple[str, ...] = ()
    managed: bool = True
    openvswitch: bool = False  # the host's bridge is one of Open vSwitch
    vlan: VlanTags | None = None
    stp: bool | None = None
    forward_delay: int | None = None
    zone: str | None = None
    mtu: int | None = None
    forward_dev: str | None = None
    nat: Nat | None = None
    guest_ipv6: bool = False  # IPv6 between guests on a network that has no IPv6 address (libvirt's ipv6='yes')
    isolated: bool = False  # every port isolated: guests don't reach each other on the bridge
    isolation: str | None = None  # who is kept apart, in `Isolation`'s words
    domain: str | None = None
    domain_local_only: bool = False
    addresses: tuple[Interface, ...] = ()
    tftp: str | None = None
    bootp_file: str | None = None
    bootp_server: str | None = None
    dhcp: Dhcp = Dhcp()
    dns: NetworkDns = NetworkDns()
    routes: tuple[Route, ...] = ()
    portgroups: tuple[Portgroup, ...] = ()
    bandwidth: Bandwidths | None = None
    own_keys: frozenset[str] = frozenset()  # what was said for this host alone
    named_from: tuple[Origin, ...] = ()  # the guests' interfaces that its DHCP and DNS name

    @property
    def plug(self) -> Plug:
        """What guests on it are plugged into."""
        if self.forward is Forward.HOSTDEV:
            return Plug.HOSTDEV
        if self.openvswitch:
            return Plug.OPENVSWITCH
        return Plug.BRIDGE if self.bridge or self.forward.makes_bridge else Plug.MACVTAP

    @property
    def isolated_at(self) -> Origin:
        """Where its ports are isolated: by their own word, or because the host's libvirt can keep guests apart so."""
        return self.at("isolation" if self.isolation else "isolated-ports")

    def at(self, key: str, *keys: str | int) -> Origin:
        """Where something was said: among this host's differences, or for all hosts."""
        said = self.origin.at("hosts", self.host) if key in self.own_keys else self.origin
        return said.at(key, *keys)
