"""Small models for renderer tests: what a test doesn't say is ordinary."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from kvmgen.diagnostics import Origin
from kvmgen.model.guest import Cpu, Disk, Guest, GuestInterface
from kvmgen.model.host import Addressing, Host
from kvmgen.model.network import DhcpHost, Forward, VirtualNetwork
from kvmgen.model.platform import Platform
from kvmgen.model.site import HostView, Site
from kvmgen.model.values import GIB, Address, Dns, Interface, Mac, Range, Uuid

EL9 = Platform.parse("el9")


def uuid(name: str) -> Uuid:
    """A UUID that is the same every time."""
    return Uuid(str(uuid5(NAMESPACE_DNS, name)))


def addresses(*texts: str) -> tuple[Interface, ...]:
    """Addresses with their prefix lengths."""
    return tuple(ip_interface(text) for text in texts)


def leases(first: str, last: str) -> Range:
    """A range of addresses."""
    return Range(ip_address(first), ip_address(last))


def address(text: str) -> Address:
    """One address."""
    return ip_address(text)


def lease(text: str, **known_by: Any) -> DhcpHost:
    """A fixed lease, known by ``mac``, ``name`` or ``id``."""
    return DhcpHost(address=ip_address(text), **known_by)


def network(name: str = "lan", **said: Any) -> VirtualNetwork:
    """An isolated network without any address."""
    usual = VirtualNetwork(
        name=name,
        libvirt_name=name,
        host="kvm01",
        origin=Origin(f"networks/{name}.yaml"),
        uuid=uuid(f"network {name}"),
        forward=Forward.ISOLATED,
        bridge="virbr7",
        segment=f"kvm01/{name}",
        autostart=True,
        mac=Mac("52:54:00:09:7e:2b"),
    )
    return replace(usual, **said)


def nic(name: str = "eth0", **said: Any) -> GuestInterface:
    """A virtio NIC on bridge br0."""
    usual = GuestInterface(
        name=name,
        origin=Origin("guests/web01.yaml", ("interfaces", name)),
        mac=Mac("52:54:00:24:4c:ee"),
        model="virtio",
        addressing=Addressing(),
        bridge=None if "network" in said else "br0",
    )
    return replace(usual, **said)


def disk(target: str = "vda", bus: str = "virtio", **said: Any) -> Disk:
    """A disk without a source: say ``file``, ``dev`` or ``volume``."""
    return replace(Disk(target=target, origin=Origin("guests/web01.yaml", ("disks", target)), bus=bus), **said)


def guest(name: str = "web01", **said: Any) -> Guest:
    """A guest of two processors and 2 GiB on q35, without any device of its own choice."""
    usual = Guest(
        name=name,
        origin=Origin(f"guests/{name}.yaml"),
        uuid=uuid(f"guest {name}"),
        hosts=("kvm01",),
        title=None,
        description=None,
        vcpus=2,
        memory=2 * GIB,
        current_memory=2 * GIB,
        machine="pc-q35-rhel9.0.0",
        chipset="q35",
        emulator="/usr/libexec/qemu-kvm",
        firmware=None,
        cpu=Cpu(mode="host-model"),
        disks=(),
        interfaces=(),
        serial_console=False,
        graphics=None,
        video=None,
        guest_agent=False,
        rng=False,
        watchdog=None,
        autostart=True,
        inside=None,
    )
    return replace(usual, **said)


def host(name: str = "kvm01", **said: Any) -> Host:
    """An el9 host without any link."""
    usual = Host(
        name=name,
        origin=Origin(f"hosts/{name}.yaml"),
        platform=EL9,
        hostname=name,
        dns=Dns(),
        ethernets=(),
        bonds=(),
        vlans=(),
        bridges=(),
        sysctl=(),
        firewall=None,
        bridge_netfilter=None,
        memory=None,
        cpus=None,
        management=None,
    )
    return replace(usual, **said)


def view(on: Host | None = None, networks: tuple[VirtualNetwork, ...] = (), guests: tuple[Guest, ...] = ()) -> HostView:
    """A site of one host with these networks and guests."""
    on = on or host()
    site = Site(
        name="lab",
        domain=None,
        hosts={on.name: on},
        networks={on.name: {carried.name: carried for carried in networks}},
        guests={living.name: living for living in guests},
        filters={},
    )
    return HostView(site=site, host=on, networks=networks, filters=(), guests=guests)
