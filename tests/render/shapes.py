"""Networks and guests of many shapes: between them they use every field of the model that becomes libvirt XML.

`python -m tests.render.shapes` writes their golden files anew; read the diff.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

from kvmgen.model.guest import Cpu, FilterRef, Firmware, Graphics, Guest, Watchdog
from kvmgen.model.network import (
    Dhcp,
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
from kvmgen.model.platform import Platform
from kvmgen.model.values import GIB, Bandwidth, Bandwidths, Mac, Route, VlanTags
from kvmgen.render.domain import domain_xml
from kvmgen.render.network import network_xml
from tests.render.builders import address, addresses, disk, guest, lease, leases, network, nic

GOLDEN = Path(__file__).parent / "golden"

HOSTILE = 'it\'s <a> & "b" ]]> -- $(c)'

LIMITS = Bandwidths(
    inbound=Bandwidth(average=1000, peak=5000, burst=5120), outbound=Bandwidth(average=128, peak=256, burst=256)
)


def _route(to: str | None, via: str, metric: int | None = None) -> Route:
    return Route(to=None if to is None else ip_network(to), via=ip_address(via), metric=metric)


NETWORKS: dict[str, VirtualNetwork] = {
    shape.name: shape
    for shape in (
        network(
            "nat",
            libvirt_name="default",
            forward=Forward.NAT,
            forward_dev="eth0",
            nat=Nat(ports=(1024, 65535), addresses=leases("192.0.2.1", "192.0.2.4"), ipv6=True),
            bridge="virbr0",
            stp=True,
            forward_delay=0,
            zone="libvirt",
            mtu=9000,
            isolated=True,
            domain="lab.example.org",
            domain_local_only=True,
            dns=NetworkDns(
                forward_plain_names=False,
                forwarders=(
                    DnsForwarder(address=address("192.0.2.53")),
                    DnsForwarder(domain="example.com", address=address("2001:db8::53")),
                    DnsForwarder(domain="www.example.com"),
                ),
                txts=(DnsTxt(name="note.lab", value=HOSTILE),),
                srvs=(
                    DnsSrv(
                        service="ldap",
                        protocol="tcp",
                        domain="lab.example.org",
                        target="gw.lab.example.org",
                        port=389,
                        priority=1,
                        weight=10,
                    ),
                    DnsSrv(service="sip", protocol="udp"),
                ),
                hosts=(DnsHost(address=address("192.168.122.2"), names=("gw", "gw.lab.example.org")),),
            ),
            bandwidth=LIMITS,
            addresses=addresses("192.168.122.1/24", "fd00:122::1/64", "10.9.0.1/24"),
            tftp="/srv/tftp",
            bootp_file="pxelinux.0",
            bootp_server="192.168.122.1",
            dhcp=Dhcp(
                ranges=(
                    leases("fd00:122::100", "fd00:122::1ff"),
                    leases("192.168.122.100", "192.168.122.149"),
                    leases("192.168.122.200", "192.168.122.254"),
                ),
                hosts=(
                    lease("192.168.122.10", mac="52:54:00:00:00:01", name="web01"),
                    lease("fd00:122::10", mac="52:54:00:00:00:01", name="web01"),
                    lease("fd00:122::11", id="00:03:00:01:52:54:00:00:00:02"),
                ),
            ),
            routes=(
                _route("192.168.55.0/24", "192.168.122.5", 2),
                _route("2001:db8:55::/64", "fd00:122::5"),
                _route(None, "192.168.122.7"),
            ),
            portgroups=(Portgroup(name="slow", default=True, isolated=True, bandwidth=LIMITS), Portgroup(name="ops")),
        ),
        network(
            "route",
            forward=Forward.ROUTE,
            forward_dev="eth1",
            bridge="virbr1",
            mac=Mac("52:54:00:00:00:11"),
            stp=False,
            addresses=addresses("193.16.100.1/24"),
        ),
        network(
            "open",
            forward=Forward.OPEN,
            bridge="virbr2",
            mac=Mac("52:54:00:00:00:12"),
            dns=NetworkDns(enable=False),
            addresses=addresses("10.1.0.1/16"),
        ),
        network("isolated", bridge="virbr3", mac=Mac("52:54:00:00:00:13"), guest_ipv6=True),
        network(
            "bridge",
            forward=Forward.BRIDGE,
            bridge="br0",
            mac=None,
            isolated=True,
            portgroups=(Portgroup(name="slow", bandwidth=LIMITS),),
        ),
        network("passthrough", forward=Forward.PASSTHROUGH, bridge="", mac=None, devices=("eno3", "eno4")),
        network(
            "hostdev",
            forward=Forward.HOSTDEV,
            bridge="",
            mac=None,
            pci_addresses=("0000:07:10.0", "0001:81:1f.7"),
            vlan=VlanTags(tags=(7,)),
        ),
        network(
            "openvswitch",
            forward=Forward.BRIDGE,
            bridge="ovs0",
            mac=None,
            openvswitch=True,
            vlan=VlanTags(tags=(10, 20), native=10, trunk=True),
            portgroups=(
                Portgroup(name="alone", vlan=VlanTags(tags=(40,), trunk=True)),
                Portgroup(name="one", default=True, vlan=VlanTags(tags=(30,)), bandwidth=LIMITS),
            ),
        ),
    )
}

DOMAINS: dict[str, tuple[str, Guest]] = {
    living.name: (platform, living)
    for platform, living in (
        (
            "el9",
            guest(
                "everything",
                title=HOSTILE,
                description=f"{HOSTILE}\nand\ta second line",
                current_memory=GIB,
                cpu=Cpu(mode="custom", model="Haswell-noTSX", topology=(1, 2, 1)),
                disks=(
                    disk("vda", file="/srv/it's & more.qcow2", cache="none", io="native", discard="unmap", serial="S1"),
                    disk("vdb", dev="/dev/vg0/shared", format="raw", shareable=True),
                    disk("sda", "scsi", volume="data.qcow2", pool="default", boot_order=2, readonly=True),
                    disk("sdh", "scsi", file="/srv/eighth.qcow2"),
                    disk("sdb", "sata", device="cdrom", format="raw"),
                ),
                interfaces=(
                    nic(
                        "enp3s0",
                        network="nat",
                        portgroup="ops",
                        target="web01-0",
                        queues=4,
                        bandwidth=LIMITS,
                        boot_order=1,
                        mtu=1500,
                        filterref=FilterRef(
                            filter="clean-traffic",
                            parameters=(("CTRL_IP_LEARNING", ("none",)), ("IP", ("10.0.0.2", "10.0.0.1"))),
                        ),
                    ),
                    nic("eth0", mac=Mac("52:54:00:24:4c:ef"), model="e1000e", queues=4, link_up=False, isolated=True),
                    nic("dmz", mac=Mac("52:54:00:24:4c:f0"), network="nat", pci=(5, 0, 0)),
                    nic("lan", mac=Mac("52:54:00:24:4c:f1"), vlan=VlanTags(tags=(11,)), pci=(5, 0, 1)),
                ),
                serial_console=True,
                guest_agent=True,
                graphics=Graphics(type="vnc", listen="127.0.0.1", keymap="de"),
                video="virtio",
                watchdog=Watchdog(model="i6300esb", action="reset"),
                rng=True,
            ),
        ),
        (
            "el9",
            guest(
                "secure",
                firmware=Firmware(secure_boot=True),
                disks=(disk(file="/var/lib/libvirt/images/secure.qcow2"),),
                interfaces=(nic(),),
                graphics=Graphics(type="spice", listen="0.0.0.0"),
                video="qxl",
            ),
        ),
        ("el9", guest("insecure", firmware=Firmware(secure_boot=False), cpu=Cpu(mode="host-passthrough"))),
        ("el8.3", guest("secure-el8", firmware=Firmware(secure_boot=True))),
        ("el8", guest("uefi-el8", firmware=Firmware(secure_boot=False))),
        (
            "el8",
            guest(
                "own-uefi", firmware=Firmware(secure_boot=False, loader="/srv/CODE.fd", nvram_template="/srv/VARS.fd")
            ),
        ),
        (
            "el6",
            guest(
                "el6",
                chipset="pc",
                machine="rhel6.6.0",
                disks=(
                    disk(file="/var/lib/libvirt/images/el6.qcow2"),
                    disk("hdc", "ide", device="cdrom", format="raw", file="/srv/install.iso"),
                ),
                interfaces=(nic("eth0"), nic("eth1", mac=Mac("52:54:00:24:4c:ef"), model="rtl8139")),
                serial_console=True,
                guest_agent=True,
                graphics=Graphics(type="vnc", listen="127.0.0.1"),
                video="cirrus",
            ),
        ),
    )
}


def domain_text(name: str) -> str:
    """What the shape is rendered to on its platform."""
    platform, living = DOMAINS[name]
    return domain_xml(living, NETWORKS, Platform.parse(platform))


def main() -> None:
    """Write every golden file anew."""
    for name, shape in NETWORKS.items():
        (GOLDEN / f"network-{name}.xml").write_text(network_xml(shape), encoding="utf-8")
    for name in DOMAINS:
        (GOLDEN / f"domain-{name}.xml").write_text(domain_text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
