"""Fixed leases, guests that want one, and addresses that DHCP may give to somebody else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kvmgen.checks._dhcp import hand_leases, home, serves, subnets
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.network import DhcpHost, VirtualNetwork
from kvmgen.model.site import Site
from kvmgen.model.values import Interface, Mac

LEASE_OUTSIDE = Rule(code="KV306", title="A fixed lease outside its network's subnets")
LEASE_TWICE = Rule(code="KV307", title="Two fixed leases for one machine, or of one address")
NOT_THE_GUESTS = Rule(code="KV308", title="A fixed lease that gives a guest another address")
WRONGLY_KNOWN = Rule(code="KV309", title="A fixed lease that can't know its machine")
NOT_RESERVED = Rule(code="KV315", title="A guest's address that DHCP may lease to others", severity=Severity.WARNING)
NOT_SERVED = Rule(
    code="KV316", title="A guest that waits for a lease its network doesn't give", severity=Severity.WARNING
)


def outside(site: Site) -> Iterator[Diagnostic]:
    """A fixed lease outside the network's subnets is never given: its machine gets some address of the range instead.

    libvirt and dnsmasq take it without a word where it stands beside a range. kvmgen writes a lease under the address
    of the network that it belongs to, so that one that belongs to none would be lost.

    Bad::

        # networks/default.yaml
        dhcp:
          hosts:
            - {mac: "52:54:00:00:01:01", address: 192.168.123.20}

    Good::

        # networks/default.yaml
        dhcp:
          hosts:
            - {mac: "52:54:00:00:01:01", address: 192.168.122.20}

    Source: https://libvirt.org/formatnetwork.html#addressing.
    """
    for network in site.carried():
        for lease, origin in hand_leases(network):
            if home(network, lease.address) is None:
                version = lease.address.version
                own = subnets(network, version)
                where = f"isn't in {own}" if own else f"is on a network without an IPv{version} address"
                yield Diagnostic(
                    rule=LEASE_OUTSIDE,
                    message=f"the fixed lease {lease.address} {where}: it would never be given",
                    hint="Write an address of the network's subnet.",
                    origin=origin.at("address"),
                )


def twice(site: Site) -> Iterator[Diagnostic]:
    """Of two fixed leases for one machine only one is ever given, and of two of one address likewise.

    dnsmasq logs a "duplicate dhcp-host IP address" and leaves the second one out, or says nothing; the other machine
    gets some address of the range. libvirt defines the network. An IPv6 lease without a DUID knows its machine by the
    name.

    Bad::

        # networks/default.yaml
        dhcp:
          hosts:
            - {mac: "52:54:00:00:01:01", address: 192.168.122.20}
            - {mac: "52:54:00:00:01:01", address: 192.168.122.21}

    Good::

        # networks/default.yaml
        dhcp:
          hosts:
            - {mac: "52:54:00:00:01:01", address: 192.168.122.20}
            - {mac: "52:54:00:00:01:02", address: 192.168.122.21}

    Source: `--dhcp-host` in https://thekelleys.org.uk/dnsmasq/docs/dnsmasq-man.html.
    """
    for network in site.carried():
        first: dict[tuple[str, str], Origin] = {}
        for lease, origin in hand_leases(network):
            for key, what, value in _known_by(lease):
                other = first.setdefault((what, value), origin)
                if other is not origin:
                    yield Diagnostic(
                        rule=LEASE_TWICE,
                        message=f"the {what} {value} has two fixed leases: only one of them is ever given",
                        hint="Remove one of them, or write what is meant.",
                        origin=origin.at(key),
                        related=((other.at(key), "the other lease"),),
                    )


def _known_by(lease: DhcpHost) -> Iterator[tuple[str, str, str]]:
    """What must be a lease's alone: the key, what it is, and the value."""
    yield "address", "address", str(lease.address)
    if lease.address.version == 4:
        if lease.mac is not None:
            yield "mac", "MAC", lease.mac
    elif lease.id is not None:
        yield "id", "DUID", lease.id.lower()
    elif lease.name is not None:
        yield "name", "name", lease.name


OfMacs = Mapping[Mac, tuple[DhcpHost, Origin]]


def not_the_guests(site: Site) -> Iterator[Diagnostic]:
    """A lease by hand stands above the address that the guest has in its own file.

    Then the guest's file isn't true: DNS, its filter and its link's file believe in one address, DHCP gives it the
    other one, and anti-spoofing drops whatever it sends from there. A guest's own address is leased to it without
    being named at the network.

    Bad::

        # networks/default.yaml
        dhcp:
          hosts:
            - {mac: "52:54:00:00:01:10", address: 192.168.122.20}

        # guests/web01.yaml
        eth0: {network: default, mac: "52:54:00:00:01:10", addresses: [192.168.122.10/24]}

    Good::

        # networks/default.yaml
        dhcp:
          hosts:
            - {mac: "52:54:00:00:01:11", address: 192.168.122.20}

        # guests/web01.yaml
        eth0: {network: default, mac: "52:54:00:00:01:10", addresses: [192.168.122.10/24]}

    Source: https://libvirt.org/formatnetwork.html#addressing, hosts that are leased a fixed address by their MAC.
    """
    leased: dict[tuple[str, str], OfMacs] = {}
    for network in site.carried():
        by_mac = {lease.mac: (lease, origin) for lease, origin in hand_leases(network) if lease.mac is not None}
        if by_mac:
            leased[network.host, network.name] = by_mac
    for guest, nic in site.nics() if leased else ():
        for host in guest.hosts if nic.network is not None else ():
            found = leased.get((host, nic.network or ""), {}).get(nic.mac)
            if found is not None:
                yield from _contradiction(guest, nic, *found)


def _contradiction(guest: Guest, nic: GuestInterface, lease: DhcpHost, origin: Origin) -> Iterator[Diagnostic]:
    own = [address for address in nic.addressing.addresses if address.version == lease.address.version]
    if own and all(address.ip != lease.address for address in own):
        yield Diagnostic(
            rule=NOT_THE_GUESTS,
            message=f"{lease.address} is leased to {guest.name} ({nic.name}), whose own address is {own[0].ip}",
            hint="Remove this lease, or write its address at the guest.",
            origin=origin.at("address"),
            related=((nic.origin.at("addresses"), f"the addresses of {guest.name}"),),
        )


def wrongly_known(site: Site) -> Iterator[Diagnostic]:
    """libvirt's DHCP knows a machine by its MAC for IPv4, by its DUID or name for IPv6.

    libvirt refuses an IPv6 lease with neither, and a MAC that no NIC has; its schema refuses a DUID beside the MAC of
    an IPv4 lease, which dnsmasq would take for a client identifier: few clients send that one.

    Bad::

        # networks/default.yaml
        dhcp:
          hosts:
            - {mac: "52:54:00:00:01:01", id: "00:03:00:01:52:54:00:00:01:01", address: 192.168.122.20}
            - {address: "2001:db8:122::20"}

    Good::

        # networks/default.yaml
        dhcp:
          hosts:
            - {mac: "52:54:00:00:01:01", address: 192.168.122.20}
            - {id: "00:03:00:01:52:54:00:00:01:01", address: "2001:db8:122::20"}

    Source: https://libvirt.org/formatnetwork.html#addressing; libvirt 9.0 says "Static host definition in IPv6 network
    must have id or name attribute".
    """
    for network in site.carried():
        for lease, origin in hand_leases(network):
            if lease.address.version == 4 and lease.id is not None:
                yield Diagnostic(
                    rule=WRONGLY_KNOWN,
                    message=f"the lease of {lease.address} has a DUID: IPv4 machines are known by their MAC",
                    hint="Remove `id`, or move it to the machine's IPv6 lease.",
                    origin=origin.at("id"),
                    on_key=True,
                )
            if lease.mac is not None and _is_nobodys_mac(lease.mac):
                yield Diagnostic(
                    rule=WRONGLY_KNOWN,
                    message=f"the MAC {lease.mac} is no NIC's, so that nobody ever gets {lease.address}",
                    hint="Write the MAC of the machine's NIC; its second digit is even.",
                    origin=origin.at("mac"),
                )
            if lease.address.version == 6 and lease.id is None and lease.name is None:
                yield Diagnostic(
                    rule=WRONGLY_KNOWN,
                    message=f"nothing says whose the lease of {lease.address} is: libvirt refuses the network",
                    hint="Give the machine's `name` or its DUID as `id`.",
                    origin=origin,
                )


def _is_nobodys_mac(mac: Mac) -> bool:
    """Whether a MAC is a group's, or none at all."""
    return bool(int(mac[0:2], 16) & 1) or mac == "00:00:00:00:00:00"


Pool = tuple[tuple[int, int, int, Origin], ...]
"""A network's ranges: IP version, first and last address, and where it stands."""


def not_reserved(site: Site) -> Iterator[Diagnostic]:
    """A guest's first address on a network is leased to the guest; its further ones are just addresses of the range.

    dnsmasq gives such an address to whoever asks while the guest is down: then two machines have it. It knows one
    fixed lease of each IP version for a MAC.

    Bad::

        # networks/default.yaml
        dhcp: {ranges: [192.168.122.100-192.168.122.254]}

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.110/24, 192.168.122.111/24]}

    Good::

        # networks/default.yaml
        dhcp: {ranges: [192.168.122.100-192.168.122.254]}

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.110/24, 192.168.122.11/24]}

    Source: `--dhcp-host` and `--dhcp-range` in https://thekelleys.org.uk/dnsmasq/docs/dnsmasq-man.html.
    """
    pools = {(network.host, network.name): _pool(network) for network in site.carried() if network.dhcp.ranges}
    for guest, nic in site.nics() if pools else ():
        if nic.network is None or len(nic.addressing.addresses) < 2:
            continue
        for host in guest.hosts:
            pool = pools.get((host, nic.network))
            if pool is not None:
                reserved, ranges = pool
                for index, address in enumerate(nic.addressing.addresses):
                    if (address.version, int(address)) not in reserved:
                        yield from _loose(guest, nic, index, address, ranges)


def _pool(network: VirtualNetwork) -> tuple[set[tuple[int, int]], Pool]:
    reserved: set[tuple[int, int]] = {(lease.address.version, int(lease.address)) for lease in network.dhcp.hosts}
    ranges = (
        (leased.start.version, int(leased.start), int(leased.end), network.at("dhcp", "ranges", index))
        for index, leased in enumerate(network.dhcp.ranges)
    )
    return reserved, tuple(ranges)


def _loose(guest: Guest, nic: GuestInterface, index: int, address: Interface, pool: Pool) -> Iterator[Diagnostic]:
    for version, start, end, origin in pool:
        if version == address.version and start <= int(address) <= end:
            yield Diagnostic(
                rule=NOT_RESERVED,
                message=f"DHCP may lease {address.ip} of {guest.name} ({nic.name}) to another machine",
                hint="Take one outside the ranges: only an interface's first address of each IP version is reserved.",
                origin=nic.origin.at("addresses", index),
                related=((origin, "the range"),),
            )


def not_served(site: Site) -> Iterator[Diagnostic]:
    """A guest that asks for a lease where nothing is leased never gets an address, unless another guest serves DHCP.

    libvirt's dnsmasq leases only where the network has a range, or a fixed lease. Without one it doesn't even listen
    for DHCP.

    Bad::

        # networks/lab.yaml
        addresses: [192.168.130.1/24, "fd00:130::1/64"]
        dhcp: {ranges: [192.168.130.100-192.168.130.254]}

        # guests/web02.yaml
        eth0: {network: lab, dhcp4: true, dhcp6: true}

    Good::

        # networks/lab.yaml
        addresses: [192.168.130.1/24, "fd00:130::1/64"]
        dhcp: {ranges: [192.168.130.100-192.168.130.254, "fd00:130::100-fd00:130::1ff"]}

        # guests/web02.yaml
        eth0: {network: lab, dhcp4: true, dhcp6: true}

    Source: https://libvirt.org/formatnetwork.html#addressing.
    """
    silent: dict[tuple[str, str], list[int]] = {}
    for network in site.carried():
        versions = [version for version in _own_versions(network) if not serves(network, version)]
        if versions:
            silent[network.host, network.name] = versions
    for guest, nic in site.nics() if silent else ():
        for host in guest.hosts if nic.network is not None else ():
            for version in silent.get((host, nic.network or ""), ()):
                key = f"dhcp{version}"
                if nic.addressing.dhcp4 if version == 4 else nic.addressing.dhcp6:
                    yield Diagnostic(
                        rule=NOT_SERVED,
                        message=f"{guest.name} ({nic.name}) asks for an IPv{version} lease, and network {nic.network} "
                        "gives none",
                        hint=f"Give the network an IPv{version} range, or the guest an address.",
                        origin=nic.origin.at(key),
                        related=((site.networks[host][nic.network or ""].at("dhcp"), "what the network leases"),),
                    )


def _own_versions(network: VirtualNetwork) -> list[int]:
    """The IP versions in which the host itself is on the network; where it isn't, somebody else may serve."""
    return sorted({address.version for address in network.addresses})
