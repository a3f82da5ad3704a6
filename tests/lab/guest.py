"""A guest without a machine: a network namespace behind a veth whose host end is a port of a bridge.

The host end carries the tap's name, so that libvirt's packet filters bind to it as they would to a real guest's tap.
The same class stands for what is outside of the host: a router or a laptop behind the port `eth1` of a bridge.
"""

import errno
import ipaddress
import os
import re
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from xml.etree import ElementTree

from tests.lab.connect import PATIENCE, Connection, try_connect
from tests.lab.host import LabError, LabHost
from tests.lab.netns import in_netns, open_socket

Parameters = Mapping[str, str | Sequence[str]]

INTERFACE = "eth0"
LONGEST_INTERFACE_NAME = 15
PING_INTERVAL = 0.02
PING_PATIENCE = 0.3
PING_GRACE = 10.0
UDP_PATIENCE = 0.2
GUEST_SYSCTLS = (
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.default.dad_transmits=0",
    "net.ipv6.conf.default.accept_ra=0",
    # A guest answers every probe, however many come in a second.
    "net.ipv4.icmp_ratelimit=0",
    "net.ipv6.icmp.ratelimit=0",
)


@dataclass(frozen=True, slots=True)
class PingResult:
    """How many echo requests left and how many replies came back; none left where no route leads there."""

    sent: int
    received: int

    @property
    def all_answered(self) -> bool:
        """Whether each request had its reply."""
        return self.sent == self.received > 0


class LongPing:
    """A ping in the background: one flow that stays alive beside others until its count is over."""

    def __init__(self, process: subprocess.Popen[str], longest: float) -> None:
        self._process = process
        self._longest = longest

    def result(self) -> PingResult:
        """Wait for the ping's end and count its replies."""
        printed, _ = self._process.communicate(timeout=self._longest)
        return _ping_result(printed)


class LabGuest:
    """A guest, or an outside machine, on a bridge of a laboratory host; a context manager.

    `tap` names the host's end (a guest's tap, or `eth1` for an uplink), `bridge` what it is a port of; without a
    bridge the host's end is an interface of its own, which the test then addresses. `addresses` are of either
    family with their prefix length, `gateways` at most one of each family.
    """

    def __init__(
        self,
        host: LabHost,
        name: str,
        *,
        tap: str,
        mac: str,
        bridge: str | None = None,
        addresses: Sequence[str] = (),
        gateways: Sequence[str] = (),
        owner_uuid: str | None = None,
    ) -> None:
        if len(tap) > LONGEST_INTERFACE_NAME:
            raise LabError(f"{tap!r} is longer than the kernel's {LONGEST_INTERFACE_NAME} characters")
        self.host = host
        self.name = name
        self.tap = tap
        self.mac = mac
        self.bridge = bridge
        self.interface = INTERFACE
        self.addresses = tuple(addresses)
        self.gateways = tuple(gateways)
        self.owner_uuid = owner_uuid or str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        self.netns = -1
        self._bound = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the namespace and the veth, join the bridge, set the addresses."""
        self.host.ip_batch([f"netns add {self.name}"])
        try:
            self.netns = self.host.hold(self.host.file(f"/run/netns/{self.name}"))
            self.run("sysctl", "-qw", *GUEST_SYSCTLS)
            peer = f"peer name {self.interface} address {self.mac} netns {self.name}"
            self.host.ip_batch([f"link add {self.tap} type veth {peer}"])
            self.host.ip_batch(self._host_end())
            self.host.ip_batch(self._inside(), netns=self.name)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Take the filter, the veth and the namespace away; no word where they are gone already."""
        self.host.release(self.netns)
        self.netns = -1
        if not self.host.is_running:
            return
        if self._bound:
            self.unbind_filter()
        self.host.run("ip", "link", "delete", self.tap, check=False)
        self.host.run("ip", "netns", "delete", self.name, check=False)

    def _host_end(self) -> list[str]:
        master = [f"link set {self.tap} master {self.bridge}"] if self.bridge else []
        return [*master, f"link set {self.tap} up"]

    def _inside(self) -> list[str]:
        links = ["link set lo up", f"link set {self.interface} up"]
        assign = [f"address add {a} dev {self.interface}" + " nodad" * (":" in a) for a in self.addresses]
        routes = [f"route add default via {gateway} dev {self.interface}" for gateway in self.gateways]
        return [*links, *assign, *routes]

    # -- what the guest has ----------------------------------------------------------------------------------------

    @property
    def ipv4(self) -> str:
        """The first IPv4 address, without its prefix length."""
        return self._first(4)

    @property
    def ipv6(self) -> str:
        """The first IPv6 address, without its prefix length."""
        return self._first(6)

    @property
    def link_local(self) -> str:
        """The link-local address that the kernel derives from the MAC."""
        octets = bytearray.fromhex(self.mac.replace(":", ""))
        octets[0] ^= 2
        identifier = bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
        return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))

    def _first(self, version: int) -> str:
        for address in map(ipaddress.ip_interface, self.addresses):
            if address.version == version:
                return str(address.ip)
        raise LabError(f"the guest {self.name} has no IPv{version} address")

    def run(self, *argv: str, check: bool = True, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest: its network is the guest's, its files are the host's."""
        return self.host.run(*argv, check=check, timeout=timeout, netns=self.name)

    # -- packet filter ---------------------------------------------------------------------------------------------

    def bind_filter(
        self, filter_xml_or_name: str, parameters: Parameters | None = None, *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Bind an nwfilter to the tap, as libvirt does when a guest starts.

        XML is defined first, under its own name. A parameter with several values is written once for each, which
        makes it a list in the filter. It takes about a second: libvirt calls ebtables for each rule.
        """
        filter_name = filter_xml_or_name
        if filter_xml_or_name.lstrip().startswith("<"):
            self.host.virsh_with("nwfilter-define", filter_xml_or_name, "--validate")
            filter_name = ElementTree.fromstring(filter_xml_or_name).attrib["name"]
        binding = binding_xml(self, filter_name, parameters or {})
        done = self.host.virsh_with("nwfilter-binding-create", binding, "--validate", check=check)
        self._bound = done.returncode == 0
        return done

    def unbind_filter(self) -> None:
        """Take the binding and its rules away."""
        self._bound = False
        self.host.virsh("nwfilter-binding-delete", self.tap, check=False)

    # -- traffic ---------------------------------------------------------------------------------------------------

    def ping(self, address: str, count: int = 2, size: int = 56) -> PingResult:
        """Ping with `size` bytes of payload, `count` times in quick succession."""
        return self.long_ping(address, count, size, interval=PING_INTERVAL).result()

    def long_ping(self, address: str, count: int = 20, size: int = 56, interval: float = 0.05) -> LongPing:
        """Start a ping that lasts about `count * interval` seconds; several can be alive at once."""
        longest = count * interval + PING_PATIENCE + PING_GRACE
        options = ["-n", "-q", f"-c{count}", f"-s{size}", f"-i{interval}", f"-W{PING_PATIENCE}"]
        return LongPing(self.host.spawn("ping", *options, address, netns=self.name, timeout=longest), longest + 5)

    def tcp_listen(self, port: int, family: socket.AddressFamily = socket.AF_INET6) -> socket.socket:
        """Listen on every address of both families (or of IPv4 alone); close the socket to stop."""
        return self._bind(socket.SOCK_STREAM, port, family)

    def udp_listen(self, port: int, family: socket.AddressFamily = socket.AF_INET6) -> socket.socket:
        """Receive datagrams on every address of both families (or of IPv4 alone)."""
        return self._bind(socket.SOCK_DGRAM, port, family)

    def tcp_connect(self, address: str, port: int, patience: float = PATIENCE) -> Connection:
        """Try to connect: a reset and an ICMP rejection are both `refused`, silence is `timeout`."""
        return try_connect(self, address, port, patience)

    def send_udp(self, address: str, port: int, payload: bytes = b"kvmgen", source_port: int = 0) -> None:
        """Send one datagram."""
        family = _family(address)
        with open_socket(self, family, socket.SOCK_DGRAM) as client:
            client.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", source_port))
            in_netns(self, lambda: client.sendto(payload, (address, port)))

    def udp_reaches(self, other: "LabGuest", address: str, port: int, patience: float = UDP_PATIENCE) -> bool:
        """Send one datagram to a port that `other` opens for the occasion, and say whether it arrives."""
        payload = os.urandom(16)
        with other.udp_listen(port) as server:
            server.settimeout(patience)
            try:
                self.send_udp(address, port, payload)
                return server.recv(64) == payload
            except TimeoutError:
                return False
            except OSError as error:
                if error.errno != errno.ENETUNREACH:
                    raise
                return False

    def _bind(self, kind: socket.SocketKind, port: int, family: socket.AddressFamily) -> socket.socket:
        server = open_socket(self, family, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            server.listen(16)
        return server


def binding_xml(guest: LabGuest, filter_name: str, parameters: Parameters) -> str:
    """The document that `virsh nwfilter-binding-create` reads."""
    root = ElementTree.Element("filterbinding")
    owned = ElementTree.SubElement(root, "owner")
    ElementTree.SubElement(owned, "name").text = guest.name
    ElementTree.SubElement(owned, "uuid").text = guest.owner_uuid
    ElementTree.SubElement(root, "portdev", name=guest.tap)
    ElementTree.SubElement(root, "mac", address=guest.mac)
    reference = ElementTree.SubElement(root, "filterref", filter=filter_name)
    for name, values in parameters.items():
        for value in [values] if isinstance(values, str) else values:
            ElementTree.SubElement(reference, "parameter", name=name, value=value)
    return ElementTree.tostring(root, encoding="unicode")


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _ping_result(printed: str) -> PingResult:
    if "Network is unreachable" in printed:
        return PingResult(0, 0)
    counts = re.search(r"(\d+) packets transmitted, (\d+) received", printed)
    if counts is None:
        raise LabError(f"ping did not run: {printed.strip()}")
    return PingResult(int(counts[1]), int(counts[2]))
