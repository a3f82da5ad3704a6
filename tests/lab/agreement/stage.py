"""One host of any inventory, with everything on it alive: its guests, and a machine behind each of its NICs.

Each machine is a network namespace with the addresses and routes that the inventory gives it; what the compiler made
for the host (kernel settings, packet filter, libvirt's networks and nwfilters) is loaded by the real programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from xml.etree.ElementTree import fromstring

from kvmgen.artifact import Kind
from kvmgen.model.guest import Guest
from kvmgen.model.platform import Platform
from kvmgen.model.site import Site
from kvmgen.proof import parties
from tests.lab.agreement.leases import take_leases
from tests.lab.agreement.machines import QUIET, Machine, Nic, Stage, exists, network_address, start
from tests.lab.agreement.outside import lead_through_guests, outside
from tests.lab.guest import LabGuest
from tests.real.packets import (
    Compiled,
    ExampleHost,
    apply_sysctl,
    load_iptables,
    nic_of,
    running_files,
    wait_until_forwarding,
)

BRIDGE_NETFILTER = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")


@contextmanager
def staged(files: Compiled, site: Site) -> Iterator[Stage]:
    """The host of these files with its guests and what is outside."""
    networks = [path.split("/")[-1].removesuffix(".xml") for path in files.of_kind(Kind.NETWORK)]
    with running_files(files, networks) as lab:
        _settle_host(lab)
        _check_sources(lab, files.host.platform, [files.texts[path] for path in files.of_kind(Kind.SYSCTL)])
        stage = Stage(lab, {party.mac: party for party in parties(site) if party.name in files.guests})
        for guest in files.guests.values():
            stage.machines.append(_guest(stage, site, guest))
        stage.machines += outside(stage)
        stage.machines.append(_host(stage))
        _claim_zones(lab)
        for guest in files.guests.values():
            _prepare_inside(stage, guest)
        for nic in (nic for machine in stage.machines for nic in machine.nics):
            if nic.tap and nic.bridge:
                wait_until_forwarding(lab, nic.tap)
        for machine in [machine for machine in stage.machines if machine.kind == "guest"]:
            take_leases(stage, machine)
        lead_through_guests(stage)
        _name_ports_for_bridges(stage)
        yield stage


# -- the host ----------------------------------------------------------------------------------------------------------


def _settle_host(lab: ExampleHost) -> None:
    lab.run("sysctl", "-qw", *(line for line in QUIET if "icmp" in line or "tcp" in line))
    said = "".join(lab.files.texts[path] for path in lab.files.of_kind(Kind.SYSCTL))
    if "bridge-nf-call" not in said:
        # No file of the host loads br_netfilter, and without it iptables sees no bridged frame.
        lab.run("sysctl", "-qw", *(f"{key}=0" for key in BRIDGE_NETFILTER))


def _check_sources(lab: ExampleHost, platform: Platform, texts: Sequence[str], netns: str | None = None) -> None:
    """Hold the sources of IPv4 packets against the routes back, as each release does by itself; then what files say.

    A boot sets `default` before the interfaces have addresses, and they all take it; here they have some already.
    """
    every, default = (f"net.ipv4.conf.{name}.rp_filter" for name in ("all", "default"))
    listed = lab.run("sysctl", "-aN", "--pattern", r"^net\.ipv4\.conf\..*\.rp_filter$", netns=netns).stdout.split()
    own = [key for key in listed if key not in (every, default)]
    lab.run("sysctl", "-qw", f"{default}=1", f"{every}={int(platform.major in (7, 8))}", netns=netns)
    apply_sysctl(lab, "".join(texts), netns=netns)
    # From el9 on each interface has a word of its own.
    taken = "1" if platform.major >= 9 else lab.run("sysctl", "-n", default, netns=netns).stdout.strip()
    lab.run("sysctl", "-qw", *(f"{key}={taken}" for key in own), netns=netns)
    apply_sysctl(lab, "".join(texts), netns=netns)


def _claim_zones(lab: ExampleHost) -> None:
    """Tell firewalld of the host's links, as whoever brings them up does: the zone of each, by default the default."""
    said = {path: text for path, text in lab.files.texts.items() if path.startswith("etc/firewalld/")}
    ports = {port for link in lab.files.host.bridges for port in link.ports}
    for link in lab.files.host.links if said else ():
        if link.name in ports or not exists(lab, link.name) or any(f"'{link.name}'" in text for text in said.values()):
            continue
        word = [f"string:{link.zone or ''}", f"string:{link.name}"]
        to = ["--system", "--print-reply", "--dest=org.fedoraproject.FirewallD1", "/org/fedoraproject/FirewallD1"]
        lab.run("dbus-send", *to, "org.fedoraproject.FirewallD1.zone.changeZoneOfInterface", *word)


def _host(stage: Stage) -> Machine:
    """The host's own addresses, on its links and on the bridges of libvirt's networks."""
    lab = stage.lab
    nics = [
        Nic(name=link.name, mac=_mac_of(lab, link.name), addresses=link.addressing.addresses, bridge=link.name)
        for link in lab.files.host.links
        if link.addressing.addresses and exists(lab, link.name)
    ]
    for path in lab.files.of_kind(Kind.NETWORK):
        network = fromstring(lab.files.texts[path])
        bridge = network.find("bridge")
        addresses = tuple(network_address(element.attrib) for element in network.findall("ip"))
        if bridge is not None and addresses:
            name = bridge.attrib["name"]
            nics.append(Nic(name=name, mac=_mac_of(lab, name), addresses=addresses, bridge=name))
    return Machine(name=lab.files.host.name, kind="host", netns=lab.netns, nics=nics)


def _mac_of(lab: ExampleHost, link: str) -> str:
    return lab.file(f"/sys/class/net/{link}/address").read_text().strip()


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
        # On an isolated network too, which offers none: whoever rules the guest can add it.
        if network is not None and network.forward.makes_bridge:
            ports += [str(address.ip) for address in network.addresses]
    versions = {ip_address(gateway).version for gateway in gateways}
    gateways += [gateway for gateway in ports if ip_address(gateway).version not in versions]
    machine = start(lab, guest.name, nics, gateways)
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


def _prepare_inside(stage: Stage, guest: Guest) -> None:
    """The kernel settings and the packet filter that were compiled for the inside of a guest."""
    texts, folder = stage.lab.files.texts, f"guests/{guest.name}/"
    said = (f"{folder}etc/sysctl.conf", *(path for path in texts if path.startswith(f"{folder}etc/sysctl.d/")))
    if guest.inside is not None:
        found = [texts[path] for path in said if path in texts]
        _check_sources(stage.lab, guest.inside.platform, found, netns=guest.name)
    load_iptables(stage.lab, texts, folder, netns=guest.name)


LAST_PORT = 65535
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


def ports_named(files: Compiled) -> tuple[set[int], set[int]]:
    """The TCP and the UDP ports that the host's files name, and those that are just beyond a range."""
    tcp: set[int] = set()
    udp: set[int] = set()
    for path, text in files.texts.items():
        if path.startswith(("libvirt/domains", "var/", "manifest")):
            continue
        for protocol, words in re.findall(r"<(tcp|udp)(?:-ipv6)?\b([^>]*)", text):
            named = {int(port) for port in re.findall(r"dstport(?:start|end)='(\d+)'", words)}
            beyond = {int(port) + 1 for port in re.findall(r"dstportend='(\d+)'", words)} - {LAST_PORT + 1}
            (tcp if protocol == "tcp" else udp).update(named | beyond)
        for port in re.findall(r"--dports? (\d+)", text):
            tcp.add(int(port))
            udp.add(int(port))
    return tcp, udp
