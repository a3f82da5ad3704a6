"""Networks that plug guests into devices of their host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.host import Host, Link
from kvmgen.model.network import Forward, VirtualNetwork
from kvmgen.model.site import Site

DEVICE_IN_USE = Rule(code="KV337", title="A network's device that is in use")
HOST_UNREACHABLE = Rule(
    code="KV338", title="A host that doesn't reach the guests on its own device", severity=Severity.WARNING
)
DEVICE_TWICE = Rule(code="KV339", title="A device that two networks give away")
TOO_FEW = Rule(code="KV340", title="More guests than a network has devices")


def _devices(site: Site) -> Iterator[tuple[Host, VirtualNetwork, Origin, Link]]:
    """Every device of a network that its host has."""
    for network in site.carried():
        host = site.hosts[network.host]
        links = {link.name: link for link in host.links} if network.devices else {}
        for index, device in enumerate(network.devices):
            if device in links:
                yield host, network, network.at("devices", index), links[device]


def in_use(site: Site) -> Iterator[Diagnostic]:
    """A port of a bridge or bond takes no macvtap, and with forward mode passthrough a device is the guest's alone.

    On a port the guest doesn't start. With passthrough it does: the device gets the guest's MAC and hands all its
    frames to the guest, and the host's own addresses and VLANs on it are dead from then on.

    Bad::

        # networks/direct.yaml
        forward: private
        devices: [eno2]

        # hosts/kvm01.yaml
        bridges:
          br1: {ports: [eno1, eno2], stp: true, forward-delay: 15}

    Good::

        # networks/direct.yaml
        forward: private
        devices: [eno2]

        # hosts/kvm01.yaml
        bridges:
          br1: {ports: [eno1], stp: true, forward-delay: 15}

    Source: forward mode `passthrough` at https://libvirt.org/formatnetwork.html#connectivity; on a port libvirt 9.0
    says "error creating macvtap interface: Device or resource busy".
    """
    for host, network, origin, link in _devices(site):
        why = _why_in_use(host, network, link)
        if why is not None:
            yield Diagnostic(
                rule=DEVICE_IN_USE,
                message=f"the network {network.name!r} can't give {link.name} of {host.name} to guests: {why}",
                hint="Name a device that nothing else uses.",
                origin=origin,
                related=((link.origin, f"the link {link.name!r}"),),
            )


def _why_in_use(host: Host, network: VirtualNetwork, link: Link) -> str | None:
    above = link.bridge or link.bond
    if above is not None:
        return f"it is a port of {above}, and no guest starts on one"
    if network.forward is not Forward.PASSTHROUGH:
        return None
    if not link.addressing.is_empty or host.management == link.name:
        return "the host has its addresses on it, and would lose them to the first guest"
    tagged = next((vlan.name for vlan in host.vlans if vlan.parent == link.name), None)
    return None if tagged is None else f"{tagged} is on it, and would hear nothing any more"


def unreachable(site: Site) -> Iterator[Diagnostic]:
    """With macvtap the guests on a device talk past the host's own addresses on it, in both directions.

    What the host sends goes out to the switch, which sends nothing back by the port that it came from. Guests that need
    their host (its DNS, its NFS, a proxy) want a bridge, or a second interface.

    Bad::

        # hosts/kvm01.yaml
        eno3: {addresses: [198.51.100.11/24]}

        # networks/direct.yaml
        forward: bridge
        devices: [eno3]

    Good::

        # hosts/kvm01.yaml
        eno3: {}

        # networks/direct.yaml
        forward: bridge
        devices: [eno3]

    Source: https://wiki.libvirt.org/TroubleshootMacvtapHostFail.html.
    """
    for host, network, origin, link in _devices(site):
        if network.forward is not Forward.PASSTHROUGH and not link.addressing.is_empty:
            yield Diagnostic(
                rule=HOST_UNREACHABLE,
                message=f"guests on the network {network.name!r} and {host.name}'s own addresses on {link.name} don't "
                "reach each other",
                hint="Take a bridge (`forward: bridge` with `bridge: {name: br0}`) where they need to.",
                origin=origin,
                related=((link.origin.at("addresses"), "the host's addresses"),),
            )


class _Given(NamedTuple):
    """A device that a network gives away: ``alone`` where each guest wants it for itself."""

    key: str
    alone: bool
    origin: Origin
    network: VirtualNetwork


def twice(site: Site) -> Iterator[Diagnostic]:
    """Each network counts for itself which of its devices a guest has, and knows nothing of another network's guests.

    Where a device is in two of them and one wants it for a guest alone (passthrough, a card's virtual functions), the
    guest that starts second fails, sooner or later.

    Bad::

        # networks/direct.yaml
        forward: passthrough
        devices: [eno3, eno4]

        # networks/other.yaml
        forward: private
        devices: [eno4]

    Good::

        # networks/direct.yaml
        forward: passthrough
        devices: [eno3, eno4]

        # networks/other.yaml
        forward: private
        devices: [eno5]

    Source: https://libvirt.org/formatnetwork.html#connectivity; libvirt 9.0 says "error creating macvtap interface:
    Invalid argument".
    """
    for carried in site.networks.values():
        first: dict[str, _Given] = {}
        for given in (given for network in carried.values() for given in _given(network)):
            other = first.setdefault(given.key, given)
            if other.network is not given.network and (given.alone or other.alone):
                yield Diagnostic(
                    rule=DEVICE_TWICE,
                    message=f"the network {given.network.name!r} gives away {given.key}, and {other.network.name!r} on "
                    f"{given.network.host} does too: a guest that wants it for itself doesn't start",
                    hint="Leave it to one of the two networks.",
                    origin=given.origin,
                    related=((other.origin, f"the network {other.network.name!r} has it"),),
                )


def _given(network: VirtualNetwork) -> Iterator[_Given]:
    alone = network.forward is Forward.PASSTHROUGH
    for index, device in enumerate(network.devices):
        yield _Given(device, alone, network.at("devices", index), network)
    if network.pf is not None:
        yield _Given(f"the functions of {network.pf}", True, network.at("pf"), network)
    for index, address in enumerate(network.pci_addresses):
        yield _Given(address, True, network.at("pci-addresses", index), network)


_Nics = list[tuple[Guest, GuestInterface]]


def too_few(site: Site) -> Iterator[Diagnostic]:
    """With passthrough and hostdev a device is one guest's alone: when all are taken, the next guest doesn't start.

    Told where a guest wants more of them than there are, or all guests that start with their host do together. How many
    functions a card has isn't known here, so a network with `pf` isn't counted.

    Bad::

        # networks/direct.yaml
        forward: passthrough
        devices: [eno3]

        # guests/web01.yaml
        eth1: {network: direct, anti-spoofing: none}

        # guests/web02.yaml
        eth0: {network: direct, anti-spoofing: none}

    Good::

        # networks/direct.yaml
        forward: passthrough
        devices: [eno3, eno4]

        # guests/web01.yaml
        eth1: {network: direct, anti-spoofing: none}

        # guests/web02.yaml
        eth0: {network: direct, anti-spoofing: none}

    Source: https://libvirt.org/formatnetwork.html#connectivity; libvirt 9.0 says "network requires exclusive access to
    interfaces, but none are available".
    """
    for network, nics in _at_home(site):
        room = len(network.devices or network.pci_addresses)
        for wanted in _at_once(nics):
            if len(wanted) > room:
                yield _no_room(network, wanted, room)


def _at_home(site: Site) -> Iterator[tuple[VirtualNetwork, _Nics]]:
    """The networks whose devices can be counted, each with the interfaces of the guests at home on its host."""
    counted = {
        (network.host, network.name): network
        for network in site.carried()
        if network.pf is None and network.forward in (Forward.PASSTHROUGH, Forward.HOSTDEV)
    }
    found: defaultdict[tuple[str, str], _Nics] = defaultdict(list)
    for guest, nic in site.nics() if counted else ():
        if (guest.home, nic.network or "") in counted:
            found[guest.home, nic.network or ""].append((guest, nic))
    yield from ((counted[key], nics) for key, nics in found.items())


def _at_once(nics: _Nics) -> Iterator[_Nics]:
    """The interfaces that want a device at the same time: of all guests that start with the host, and of each other."""
    together: defaultdict[str, _Nics] = defaultdict(list)
    for guest, nic in nics:
        together["" if guest.autostart else guest.name].append((guest, nic))
    yield from together.values()


def _no_room(network: VirtualNetwork, wanted: Sequence[tuple[Guest, GuestInterface]], room: int) -> Diagnostic:
    key, devices = "devices" if network.devices else "pci-addresses", "one device" if room == 1 else f"{room} devices"
    guest, nic = wanted[room]
    return Diagnostic(
        rule=TOO_FEW,
        message=f"the network {network.name!r} on {network.host} has {devices}, and {len(wanted)} interfaces want "
        f"one at the same time: {guest.name} or another one doesn't start",
        hint="Add devices, or write `autostart: false` at guests that don't run together.",
        origin=nic.origin.at("network"),
        related=((network.at(key), "the network's devices"),),
    )
