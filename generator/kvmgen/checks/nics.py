"""Guests' NICs, as their virtual hardware and as ports of a bridge."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.guest import GuestInterface
from kvmgen.model.host import Host
from kvmgen.model.pci import PciAddress
from kvmgen.model.site import Site

QUEUES_DROPPED = Rule(code="KV408", title="Queues on a NIC that has one only")
IDLE_QUEUES = Rule(code="KV409", title="More queues than virtual CPUs", severity=Severity.WARNING)
TAP_MAC = Rule(code="KV410", title="A guest's MAC of the kind that libvirt gives to taps", severity=Severity.WARNING)
MTU_OVER_BRIDGE = Rule(code="KV411", title="A guest's MTU above that of its bridge", severity=Severity.WARNING)
NO_PCI_PLACE = Rule(code="KV414", title="A PCI address that no NIC can have")

_ETHERNET_MTU = 1500


def queues(site: Site) -> Iterator[Diagnostic]:
    """Only a virtio NIC has several queues: of any other model, libvirt drops the number without a word.

    The guest works, with one queue, and nobody finds out why a single CPU carries all its traffic.

    Bad::

        # guests/web01.yaml
        vcpus: 4
        interfaces:
          eth0: {network: default, model: e1000e, queues: 4}

    Good::

        # guests/web01.yaml
        vcpus: 4
        interfaces:
          eth0: {network: default, model: virtio, queues: 4}

    Source: the driver element at https://libvirt.org/formatdomain.html#setting-nic-driver-specific-options.
    """
    for guest, nic in site.nics():
        if nic.queues is not None and nic.model != "virtio":
            message = f"{guest.name} ({nic.name}) is a NIC of model {nic.model}: libvirt drops its {nic.queues} queues"
            hint = "Write `model: virtio`, or leave `queues` out."
            yield Diagnostic(rule=QUEUES_DROPPED, message=message, hint=hint, origin=nic.origin.at("queues"))


def idle_queues(site: Site) -> Iterator[Diagnostic]:
    """A guest serves each queue of a NIC with one of its CPUs; what is beyond their number stays idle.

    Every queue still costs a thread, memory and interrupts on the host.

    Bad::

        # guests/web01.yaml
        vcpus: 2
        interfaces:
          eth0: {network: default, queues: 4}

    Good::

        # guests/web01.yaml
        vcpus: 4
        interfaces:
          eth0: {network: default, queues: 4}

    Source: https://www.linux-kvm.org/page/Multiqueue.
    """
    for guest, nic in site.nics():
        if nic.queues is not None and nic.model == "virtio" and nic.queues > guest.vcpus:
            cpus = "one virtual CPU" if guest.vcpus == 1 else f"{guest.vcpus} virtual CPUs"
            yield Diagnostic(
                rule=IDLE_QUEUES,
                message=f"{guest.name} ({nic.name}) has {nic.queues} queues, and {guest.name} has {cpus} to serve them",
                hint=f"Write `queues: {guest.vcpus}`, or raise `vcpus`.",
                origin=nic.origin.at("queues"),
                related=((guest.at("vcpus"), "the guest's virtual CPUs"),),
            )


def tap_macs(site: Site) -> Iterator[Diagnostic]:
    """libvirt makes a tap's MAC from the guest's by writing fe in front, so that a bridge never takes it for its own.

    A guest whose own MAC starts with fe would share it with its tap, and the kernel takes the guest's frames for the
    host's. Old releases of libvirt don't start such a guest, newer ones evade to fa; whoever reads `ip link` or the
    bridge's table can't tell the guest and the tap apart.

    Bad::

        # guests/web01.yaml
        interfaces:
          eth0: {network: default, mac: "fe:54:00:24:4c:ee"}

    Good::

        # guests/web01.yaml
        interfaces:
          eth0: {network: default, mac: "52:54:00:24:4c:ee"}

    Source: virNetDevTapCreateInBridgePort in libvirt's
    https://gitlab.com/libvirt/libvirt/-/blob/master/src/util/virnetdevtap.c.
    """
    for guest, nic in site.nics():
        if nic.mac.startswith("fe:"):
            message = f"the MAC {nic.mac} of {guest.name} ({nic.name}) is what libvirt would give to its tap"
            hint = "Leave it out to have one derived, or pin one that starts with 52:54."
            yield Diagnostic(rule=TAP_MAC, message=message, hint=hint, origin=nic.origin.at("mac"))


def mtus(site: Site) -> Iterator[Diagnostic]:
    """A bridge drops a frame that is larger than the MTU of the port that it leaves by, and tells nobody.

    A guest with a larger MTU than its bridge or the bridge's ports reaches its neighbours with short packets, and
    its long ones vanish: connections open and then hang.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br0:
            ports: [bond0]
            mtu: 1500

        # guests/web01.yaml
        interfaces:
          eth1: {bridge: br0, mtu: 9000}

    Good::

        # hosts/kvm01.yaml
        bridges:
          br0:
            ports: [bond0]
            mtu: 9000

        # guests/web01.yaml
        interfaces:
          eth1: {bridge: br0, mtu: 9000}

    Source: https://libvirt.org/formatdomain.html#mtu-configuration; is_skb_forwardable in the kernel's
    https://github.com/torvalds/linux/blob/master/net/core/dev.c.
    """
    for guest, nic in site.nics():
        if nic.mtu is None or nic.mtu <= 68:
            continue
        for host in guest.hosts:
            limit = _limit(site, host, nic)
            if limit is not None and nic.mtu > limit[0]:
                mtu, origin, what = limit
                yield Diagnostic(
                    rule=MTU_OVER_BRIDGE,
                    message=f"{guest.name} ({nic.name}) has an MTU of {nic.mtu}, and {what} on {host} has {mtu}",
                    hint="Lower it, or raise the MTU of the bridge and of all its ports.",
                    origin=nic.origin.at("mtu"),
                    related=((origin, what),),
                )


def _limit(site: Site, host: str, nic: GuestInterface) -> tuple[int, Origin, str] | None:
    """What a NIC's frames must pass on a host, and where that was said; nothing where taps alone decide."""
    bridge = nic.bridge
    if nic.network is not None:
        network = site.networks[host].get(nic.network)
        if network is None:
            return None
        if network.mtu is not None:
            return network.mtu, network.at("bridge", "mtu"), f"the network {network.name!r}"
        bridge = network.bridge
    return min(_mtus(site.hosts[host], bridge), default=None, key=lambda limit: limit[0])


def _mtus(host: Host, name: str | None) -> Iterator[tuple[int, Origin, str]]:
    """The MTUs of a host's bridge and of the links that are its ports."""
    ports: tuple[str, ...] = ()
    for bridge in host.bridges:
        if bridge.name == name:
            ports = bridge.ports
            if bridge.mtu is not None:
                yield bridge.mtu, bridge.origin.at("mtu"), f"its bridge {name!r}"
    for link in host.links if ports else ():
        if link.name in ports:
            yield link.mtu or _ETHERNET_MTU, link.origin.at("mtu"), f"its bridge's port {link.name!r}"


def pci_places(site: Site) -> Iterator[Diagnostic]:
    """The chipset keeps some PCI addresses for itself, and a bus behind a port or a bridge has slots of its own.

    libvirt refuses a guest with a NIC there. Bus 0, slot 0, function 0 means no address to libvirt: it chooses another
    one, which changes with the guest's other devices.

    Bad::

        # guests/web01.yaml
        chipset: q35
        interfaces:
          eth0: {network: default, pci: "01:03.0"}

    Good::

        # guests/web01.yaml
        chipset: q35
        interfaces:
          eth0: {network: default, pci: "01:00.0"}

    Source: https://libvirt.org/pci-addresses.html.
    """
    for guest, nic in site.nics():
        why = nic.pci and _why_not(nic.pci, guest.chipset)
        if why:
            hint = 'Write one such as `"00:1e.0"` on pc and `"11:00.0"` on q35, or leave `pci` out.'
            message = f"{guest.name} ({nic.name}) can't be at that PCI address: {why}"
            yield Diagnostic(rule=NO_PCI_PLACE, message=message, hint=hint, origin=nic.origin.at("pci"))


def _why_not(address: PciAddress, chipset: str) -> str | None:
    bus, slot, function = address
    if address == (0, 0, 0):
        return "libvirt takes 00:00.0 for no address, and chooses one"
    if bus == 0:
        is_taken = slot == _CHIPSETS_SLOT[chipset] and function in _CHIPSETS_FUNCTIONS[chipset]
        return f"slot {slot:02x} of bus 00 is the chipset's" if is_taken else None
    if chipset == "pc":
        return None if slot else "slot 00 behind a PCI bridge can't be used"
    return f"bus {bus:02x} is a PCIe root port, which has slot 00 only" if slot else None


_CHIPSETS_SLOT = {"pc": 0x01, "q35": 0x1F}
_CHIPSETS_FUNCTIONS = {"pc": range(4), "q35": (0, 2, 3)}
"""ISA, IDE, USB and power management on pc; LPC, SATA and SMBus on q35."""
