"""A host: its links, addresses, kernel settings and packet filter, with every default resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from kvmgen.diagnostics import Origin
from kvmgen.model.platform import Platform
from kvmgen.model.values import Dns, Interface, Mac, Route, Uuid
from kvmgen.value import value


@value
class Addressing:
    """How a link gets its addresses."""

    addresses: tuple[Interface, ...] = ()
    dhcp4: bool = False
    dhcp6: bool = False
    accept_ra: bool = False
    routes: tuple[Route, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the link carries no address of its own."""
        return not (self.addresses or self.dhcp4 or self.dhcp6 or self.accept_ra)

    def speaks(self, version: int) -> bool:
        """Whether the link has more than a link-local address of an IP version, or asks for one."""
        asks = self.dhcp4 if version == 4 else self.dhcp6 or self.accept_ra
        return asks or any(address.version == version for address in self.addresses)


@value
class Link:
    """What every link has. ``bridge`` or ``bond`` is what it is a port of; ``uuid`` is its NetworkManager profile's."""

    name: str
    origin: Origin
    uuid: Uuid
    addressing: Addressing = Addressing()
    mtu: int | None = None
    zone: str | None = None
    bridge: str | None = None
    bond: str | None = None


@value
class Ethernet(Link):
    """A physical NIC. ``ethtool`` holds the words after ``ethtool -s DEVICE``, as initscripts takes them."""

    mac: Mac | None = None
    ethtool: str | None = None


@value
class Bond(Link):
    """A bond; ``options`` are the kernel's own option names and values, ``mode`` first."""

    ports: tuple[str, ...]
    options: tuple[tuple[str, str], ...]


@value
class Vlan(Link):
    """An 802.1Q link on ``parent``."""

    parent: str
    id: int


@value
class Bridge(Link):
    """A Linux bridge. ``forward_delay`` is in seconds. ``segment`` names its layer-2 segment, unique over the site.

    ``isolation`` is who is kept apart on it, in `Isolation`'s words. With ``openvswitch`` it is a bridge of Open
    vSwitch: the kernel's packet filters and port isolation know nothing of its ports. With ``vlans`` a Linux bridge
    keeps VLANs apart, and its ports carry these with their tags.
    """

    ports: tuple[str, ...]
    stp: bool
    forward_delay: int
    segment: str
    mac: Mac | None = None
    isolation: str | None = None
    openvswitch: bool = False
    vlans: tuple[int, ...] = ()


@value
class Isolation:
    """Who is kept apart on a bridge of a host: one of its own, or one that libvirt makes for a network.

    With the word ``guests`` none of its guests reaches another, with ``groups`` only those of one group do, with
    ``all`` they reach the host alone. ``uplinks`` are the bridge's own ports. The taps of a group have names that start
    with one of ``groups``, and no other interface has; ``members`` are the places that put an interface into each.

    libvirt's bridge has no uplinks, and the host routes for it: ``subnets`` are what it must not route back there, each
    as the host's own address. With ``by_ports`` libvirt isolates the taps themselves.
    """

    bridge: str
    word: str
    origin: Origin
    uplinks: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    members: Mapping[str, tuple[Origin, ...]] = field(default_factory=dict, compare=False)
    is_libvirts: bool = False
    subnets: tuple[Interface, ...] = ()
    by_ports: bool = False


@value
class DirectChain:
    """A chain of the administrator's own."""

    family: str  # ipv4 or ipv6
    table: str
    chain: str
    origin: Origin


@value
class DirectRule:
    """A packet filter rule, word for word as ``iptables`` takes it after the chain's name.

    ``origin`` is where the rule, or what it was derived from, stands; ``why`` says so where kvmgen made it.
    """

    family: str  # ipv4 or ipv6
    table: str
    chain: str
    priority: int
    rule: str
    origin: Origin
    why: str | None = None


@value
class ZonePort:
    """An open port or a range of ports, ``22`` or ``5900-5999``."""

    port: str
    protocol: str


@value
class RichRule:
    """One of firewalld's rich rules: what a packet is like (``family`` is ``None`` for both), and what happens to it.

    ``log`` is the prefix and the level of a line in the kernel's log, either of which may be empty.
    """

    origin: Origin
    action: str  # accept, drop or reject
    family: str | None = None  # ipv4 or ipv6
    priority: int = 0
    source: str | None = None
    destination: str | None = None
    service: str | None = None
    port: ZonePort | None = None
    protocol: str | None = None
    icmp_type: str | None = None
    log: tuple[str, str] | None = None


@value
class Zone:
    """A firewalld zone. ``target`` is ``default``, ``ACCEPT``, ``DROP`` or ``REJECT`` (firewalld's ``%%REJECT%%``)."""

    name: str
    origin: Origin
    target: str = "default"
    description: str | None = None
    interfaces: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    ports: tuple[ZonePort, ...] = ()
    masquerade: bool = False
    forward: bool = False
    rules: tuple[RichRule, ...] = ()


@value
class Policy:
    """A firewalld policy: what packets between zones may do. ``HOST`` is the machine, ``ANY`` every zone."""

    name: str
    origin: Origin
    ingress_zones: tuple[str, ...]
    egress_zones: tuple[str, ...]
    target: str = "CONTINUE"
    priority: int = -1
    description: str | None = None
    services: tuple[str, ...] = ()
    ports: tuple[ZonePort, ...] = ()
    masquerade: bool = False
    rules: tuple[RichRule, ...] = ()


BUILT_IN_POLICIES = frozenset(("allow-host-ipv6", "libvirt-routed-in", "libvirt-routed-out", "libvirt-to-host"))
"""The policies that come with firewalld and libvirt."""

BUILT_IN_ZONES = frozenset(
    (
        "block",
        "dmz",
        "drop",
        "external",
        "home",
        "internal",
        "libvirt",
        "libvirt-routed",
        "nm-shared",
        "public",
        "trusted",
        "work",
    )
)
"""The zones that come with firewalld, libvirt and NetworkManager."""

DEFAULT_ZONE = "public"
"""Where links are that no zone names, unless somebody changed it."""


@value
class Firewall:
    """A packet filter: direct chains and rules in the order they were written, zones and policies sorted by name.

    ``chain_policies`` are the built-in chains' default verdicts as (family, chain, verdict), for el6's iptables files
    only. ``ipv6_rpfilter`` is whether firewalld drops IPv6 packets that no answer would go back to by the interface
    that they came in by; ``None`` leaves it to the host, where it does.
    """

    origin: Origin
    zones: tuple[Zone, ...] = ()
    policies: tuple[Policy, ...] = ()
    chains: tuple[DirectChain, ...] = ()
    rules: tuple[DirectRule, ...] = ()
    chain_policies: tuple[tuple[str, str, str], ...] = ()
    ipv6_rpfilter: bool | None = None


@value
class Sysctl:
    """One kernel setting; ``why`` is set where kvmgen derived it."""

    key: str
    value: str
    origin: Origin
    why: str | None = None


@value
class Node:
    """What hosts and guests' insides share: a machine that runs a platform of the EL family.

    ``bridge_netfilter`` is whether bridged frames pass the host's iptables chains (``net.bridge.bridge-nf-call-*``):
    ``None`` where nothing on the machine depends on it. ``bridge_netfilter_at`` is where the inventory says so,
    ``bridge_netfilter_for`` what depends on it: isolation, rules, an interface whose filter knows connections.
    ``isolations`` are the bridges on which guests are kept apart.
    """

    name: str
    origin: Origin
    platform: Platform
    hostname: str
    dns: Dns
    ethernets: tuple[Ethernet, ...]
    bonds: tuple[Bond, ...]
    vlans: tuple[Vlan, ...]
    bridges: tuple[Bridge, ...]
    sysctl: tuple[Sysctl, ...]
    firewall: Firewall | None
    bridge_netfilter: bool | None
    bridge_netfilter_at: Origin | None = None
    bridge_netfilter_for: tuple[Origin, ...] = ()
    isolations: tuple[Isolation, ...] = ()

    @property
    def links(self) -> Iterator[Link]:
        """Every link, lower layers first."""
        yield from self.ethernets
        yield from self.bonds
        yield from self.vlans
        yield from self.bridges


@value
class Host(Node):
    """A KVM host. ``memory`` is in KiB. ``management`` is the link that administrators come in through."""

    memory: int | None
    cpus: int | None
    management: str | None
