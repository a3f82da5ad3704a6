"""A host of the example site in the laboratory: the files that were compiled for it, loaded as an applier loads them.

Its guests are namespaces, each bound to the very filter and parameters that its compiled domain names.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import socket
import struct
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring
from zlib import crc32

from kvmgen.artifact import Kind
from kvmgen.model.guest import Guest
from kvmgen.model.host import Host
from kvmgen.model.site import views
from kvmgen.pipeline import host_files, load
from kvmgen.render import render
from tests.lab import frames
from tests.lab.guest import LabGuest
from tests.lab.host import Backend, LabError, LabHost
from tests.lab.netns import Node, open_socket
from tests.lab.probe import Probe, Wire

INVENTORY = Path(__file__).parents[2] / "inventory"
FIREWALLD = "etc/firewalld/"
FORWARDING = "3"
ROUND_WAIT = 0.3
DHCP_PATIENCE = 5.0
"""Seconds; dnsmasq pings an address for three before it offers it."""
DHCP_TRIES = 4

Sent = Mapping[str, tuple[bytes, bool]]
"""Frames by what they are, and whether they must arrive."""


# -- what was compiled -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One host's folder: its files by their paths, and the paths by their kind in the order of the manifest."""

    host: Host
    guests: Mapping[str, Guest]
    texts: Mapping[str, str]

    def of_kind(self, kind: Kind) -> list[str]:
        """The paths of one kind, in the order in which they are applied."""
        files = json.loads(self.texts["manifest.json"])["files"]
        return [file["path"] for file in files if file["kind"] == kind]

    def beyond_schema(self) -> list[str]:
        """The paths of objects that libvirt's own schema doesn't know all of."""
        files = json.loads(self.texts["manifest.json"])["files"]
        return [file["path"] for file in files if not file.get("defines", {}).get("validate", True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A guest's NIC, as its compiled domain has it."""

    mac: str
    bridge: str
    filter: str | None
    parameters: Mapping[str, Sequence[str]]


@cache
def compiled(host: str, platform: str | None = None) -> Compiled:
    """What the compiler makes of the example inventory for one host, or would if the host had another platform."""
    if platform is None:
        return compile_host(INVENTORY, host)
    with tempfile.TemporaryDirectory() as folder:
        inventory = shutil.copytree(INVENTORY, Path(folder, "inventory"))
        file = inventory / "hosts" / f"{host}.yaml"
        file.write_text(re.sub(r"(?m)^platform: .*$", f"platform: {platform}", file.read_text()))
        return compile_host(inventory, host)


def compile_host(inventory: Path, host: str) -> Compiled:
    """What the compiler makes of an inventory for one of its hosts."""
    result = load(inventory)
    assert result.site is not None, result.diagnostics
    assert result.is_good, result.diagnostics
    (view,) = (view for view in views(result.site) if view.host.name == host)
    guests = {guest.name: guest for guest in view.guests}
    texts = {path: content.decode(errors="replace") for path, content in host_files(view, render(view)).items()}
    return Compiled(host=view.host, guests=guests, texts=texts)


def nic_of(files: Compiled, guest: str, mac: str) -> Nic:
    """The NIC with this MAC."""
    domain = fromstring(files.texts[f"libvirt/domains/{guest}.xml"])
    (found,) = (nic for nic in domain.iter("interface") if _attribute(nic, "mac", "address") == mac)
    reference = found.find("filterref")
    parameters: dict[str, list[str]] = {}
    for parameter in () if reference is None else reference.findall("parameter"):
        parameters.setdefault(parameter.attrib["name"], []).append(parameter.attrib["value"])
    name = None if reference is None else reference.attrib["filter"]
    return Nic(mac=mac, bridge=_bridge_of(files, found), filter=name, parameters=parameters)


def _bridge_of(files: Compiled, nic: Element) -> str:
    if nic.attrib["type"] == "bridge":
        return _attribute(nic, "source", "bridge")
    networks = (fromstring(files.texts[path]) for path in files.of_kind(Kind.NETWORK))
    (network,) = (found for found in networks if found.findtext("name") == _attribute(nic, "source", "network"))
    return _attribute(network, "bridge", "name")


def _attribute(parent: Element, tag: str, name: str) -> str:
    found = parent.find(tag)
    assert found is not None
    return found.attrib[name]


# -- a host with its files loaded --------------------------------------------------------------------------------------


class ExampleHost(LabHost):
    """A laboratory host that knows what was compiled for it."""

    def __init__(self, files: Compiled) -> None:
        super().__init__(files.host.name)
        self.files = files


@contextmanager
def running(name: str, platform: str | None = None, networks: Sequence[str] = ()) -> Iterator[ExampleHost]:
    """The host with its kernel settings, bridges, packet filter and nwfilters, and with the named networks started."""
    with running_files(compiled(name, platform), networks) as lab:
        yield lab


@contextmanager
def running_files(files: Compiled, networks: Sequence[str] = ()) -> Iterator[ExampleHost]:
    """A host with the files that were compiled for it."""
    with ExampleHost(files) as lab:
        apply_sysctl(lab, "".join(files.texts[path] for path in files.of_kind(Kind.SYSCTL)))
        for bridge in files.host.bridges:
            lab.add_bridge(bridge.name, [str(address) for address in bridge.addressing.addresses])
        _load_packet_filter(lab)
        lab.start_libvirtd()
        for path in (f"libvirt/networks/{network}.xml" for network in networks):
            lab.virsh_with("net-define", files.texts[path], "--validate")
            lab.virsh("net-start", fromstring(files.texts[path]).findtext("name") or "")
        for path in files.of_kind(Kind.NWFILTER):
            validate = ("--validate",) if path not in files.beyond_schema() else ()
            lab.virsh_with("nwfilter-define", files.texts[path], *validate)
        yield lab


def apply_sysctl(lab: LabHost, text: str, netns: str | None = None) -> None:
    """Set what a sysctl file says about the network; the rest belongs to the machine that runs the tests."""
    lines = [line for line in text.splitlines() if line.startswith("net.")]
    if lines:
        lab.run("sysctl", "-q", "-p", "-", input="\n".join([*lines, ""]), netns=netns)


def load_iptables(lab: LabHost, texts: Mapping[str, str], folder: str = "", netns: str | None = None) -> None:
    """Load the files of el6's iptables services, where there are any."""
    for family in ("iptables", "ip6tables"):
        if (path := f"{folder}etc/sysconfig/{family}") in texts:
            lab.run(f"{family}-restore", input=texts[path], netns=netns)


def _load_packet_filter(lab: ExampleHost) -> None:
    """The files of el6's iptables, or those of firewalld with the backend of its release."""
    texts = lab.files.texts
    load_iptables(lab, texts)
    if "etc/nftables/kvmgen.nft" in texts:
        lab.run("nft", "-f", "-", input=without_bridge_names(lab, texts["etc/nftables/kvmgen.nft"]))
    own = {path.removeprefix(FIREWALLD): text for path, text in texts.items() if path.startswith(FIREWALLD)}
    if not own:
        return
    with tempfile.TemporaryDirectory() as folder:
        for path, text in own.items():
            target = Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        backend: Backend = "iptables" if lab.files.host.platform.major == 7 else "nftables"
        assert lab.start_firewalld(Path(folder), backend) == "running", lab.log("firewalld")


def without_bridge_names(lab: LabHost, table: str) -> str:
    """The table as it is where the kernel can match a bridge's name, else for the ports of every bridge alike.

    tests/real/test_qemu_isolation.py has the table as it is.
    """
    known = lab.run("nft", "-c", "-f", "-", input=table, check=False).returncode == 0
    return table if known else re.sub(r'meta ibrname "[^"]*" ', "", table)


# -- guests and what is outside ----------------------------------------------------------------------------------------


@contextmanager
def guest_of(lab: ExampleHost, name: str, gateways: Sequence[str] = ()) -> Iterator[LabGuest]:
    """A guest on the bridge of its first NIC with its addresses, its filter bound."""
    guest = lab.files.guests[name]
    meant = guest.interfaces[0]
    nic = nic_of(lab.files, name, meant.mac)
    addresses = [str(address) for address in meant.addressing.addresses]
    with LabGuest(
        lab,
        name,
        tap=f"vnet-{name}",
        mac=nic.mac,
        bridge=nic.bridge,
        addresses=addresses,
        gateways=gateways,
        owner_uuid=guest.uuid,
    ) as started:
        _keep_to_own_link_local(started)
        if nic.filter is not None:
            started.bind_filter(nic.filter, nic.parameters)
        wait_until_forwarding(lab, started.tap)
        yield started


@contextmanager
def lasting_guest_of(lab: ExampleHost, name: str) -> Iterator[LabGuest]:
    """The same for as long as anybody needs the host, which ends with it: libvirt takes its time guest by guest."""
    with guest_of(lab, name) as guest:
        yield guest
        lab.stop()


def _keep_to_own_link_local(guest: LabGuest) -> None:
    """A guest that was given a link-local address doesn't use the one that its kernel derives."""
    if any(address.startswith("fe80:") for address in guest.addresses):
        guest.run("ip", "address", "delete", f"{guest.link_local}/64", "dev", guest.interface)


def wait_until_forwarding(lab: LabHost, tap: str, patience: float = 10.0) -> None:
    """Wait for spanning tree, which keeps a new port silent for a while."""
    deadline = time.monotonic() + patience
    state = lab.file(f"/sys/class/net/{tap}/brport/state")
    while state.read_text().strip() != FORWARDING:
        if time.monotonic() > deadline:
            raise LabError(f"{tap} isn't forwarding after {patience} s")
        time.sleep(0.05)


def outside(lab: LabHost, port: str, bridge: str, addresses: Sequence[str]) -> LabGuest:
    """A machine behind one of the host's NICs."""
    mac = f"52:54:00:ff:ff:{crc32(port.encode()) & 0xFF:02x}"
    return LabGuest(lab, f"behind-{port}", tap=port, mac=mac, bridge=bridge, addresses=addresses)


# -- traffic -----------------------------------------------------------------------------------------------------------


def wrong(sender: LabGuest, receiver: Node, sent: Sent, receiver_interface: str = "eth0") -> dict[str, str]:
    """The frames that did not fare as they must."""
    with Probe(sender, receiver, receiver_interface=receiver_interface) as probe:
        arrived = probe.arrivals([frame for frame, _ in sent.values()], ROUND_WAIT)
    told = {True: "arrives", False: "is stopped"}
    fared = zip(sent.items(), arrived, strict=True)
    return {name: told[passed] for (name, (_, wanted)), passed in fared if passed is not wanted}


@contextmanager
def listening(node: Node, port: int) -> Iterator[None]:
    """A TCP service on every address of a node."""
    with open_socket(node, socket.AF_INET6, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", port))
        server.listen(16)
        yield


def udp_answered(client: LabGuest, server: LabGuest, address: str, port: int) -> bool:
    """Whether a question over UDP gets its answer, as DNS has it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.udp_listen(port, family) as service, open_socket(client, family, socket.SOCK_DGRAM) as asking:
        for end in (service, asking):
            end.settimeout(ROUND_WAIT)
        try:
            asking.sendto(b"question", (address, port))
            question, asker = service.recvfrom(64)
            service.sendto(b"answer", asker)
            return (question, asking.recv(64)) == (b"question", b"answer")
        except TimeoutError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED):
                raise
            return False


# -- a DHCP client -----------------------------------------------------------------------------------------------------

OFFER, REQUEST, ACKNOWLEDGEMENT = 2, 3, 5
_MESSAGE_TYPE = b"\x63\x82\x53\x63\x35\x01"


def take_lease(guest: LabGuest, wanted: str | None = None) -> str:
    """Get an address from the segment's DHCP server and give it to the guest's interface; returns the address.

    An address that is ``wanted`` is asked for as if the guest had had it before: the server needn't look whether it is
    free, which takes dnsmasq three seconds.
    """
    with Wire(guest, guest.interface) as wire:
        if wanted is None:
            offer = _ask(wire, frames.dhcp_discover(guest.mac), OFFER)
            request = _dhcp_request(guest.mac, offer[16:20], b"\x36\x04" + _option(offer, 54))
        else:
            request = _dhcp_request(guest.mac, socket.inet_aton(wanted))
        granted = _ask(wire, request, ACKNOWLEDGEMENT)
    address, length = socket.inet_ntoa(granted[16:20]), _option(granted, 1)
    prefix = int.from_bytes(length, "big").bit_count()
    guest.run("ip", "address", "add", f"{address}/{prefix}", "dev", guest.interface)
    return address


def _ask(wire: Wire, request: bytes, kind: int) -> bytes:
    """The BOOTP message of a DHCP answer; asked again, as clients do, where none comes."""
    for _ in range(DHCP_TRIES):
        wire.send(request)
        heard = wire.hears(lambda frame: _MESSAGE_TYPE + bytes([kind]) in frame, DHCP_PATIENCE)
        seen = None if heard is None else frames.read(heard)
        if seen is not None:
            return seen.payload[8:]
    raise LabError(f"no DHCP server answered with a message of type {kind}")


def _option(message: bytes, code: int) -> bytes:
    at = 240
    while message[at] != code:
        at += 2 + message[at + 1] if message[at] else 1
    return message[at + 2 : at + 2 + message[at + 1]]


def _dhcp_request(mac: str, address: bytes, server: bytes = b"") -> bytes:
    ends = frames.Ends(source_mac=mac, target_mac=frames.BROADCAST, source_ip="0.0.0.0", target_ip="255.255.255.255")
    fixed = (
        struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x6B766D67, 0, 0x8000) + bytes(16) + frames.mac_bytes(mac).ljust(208, b"\0")
    )
    options = _MESSAGE_TYPE + bytes([REQUEST]) + server + b"\x32\x04" + address + b"\xff"
    return frames.udp(ends, 67, 68, fixed + options)
