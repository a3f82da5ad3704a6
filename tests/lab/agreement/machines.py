"""The machines of a stage, each a network namespace: guests, the host itself, and what is outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from typing import Literal

from kvmgen.model.values import Address, Interface
from kvmgen.reachability.topology import Party
from tests.real.packets import ExampleHost

QUIET = (
    "net.ipv4.ip_forward=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    # Whoever follows a redirect sends his next answer another way than his first.
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.default.send_redirects=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.default.dad_transmits=0",
    "net.ipv6.conf.default.accept_ra=0",
    "net.ipv4.icmp_ratelimit=0",
    "net.ipv6.icmp.ratelimit=0",
    "net.ipv4.tcp_challenge_ack_limit=2147483647",
    "net.ipv4.tcp_synack_retries=0",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """An interface of a machine; ``tap`` is its other end on the host, empty for the host's own."""

    name: str
    mac: str
    addresses: tuple[Interface, ...]
    tap: str = ""
    bridge: str = ""
    filtered: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class Machine:
    """A guest, the host itself, or a machine outside; a node of the laboratory."""

    name: str
    kind: Literal["guest", "host", "outside"]
    netns: int
    nics: list[Nic]
    far: tuple[Address, ...] = ()

    def addresses(self, version: int) -> list[Address]:
        """What others call it by, of one IP version; of what is outside that is where it is far away."""
        if self.far:
            return [address for address in self.far if address.version == version]
        every = [address.ip for nic in self.nics for address in nic.addresses]
        return [address for address in every if address.version == version and not address.is_link_local]

    @property
    def shell(self) -> str | None:
        """The named namespace on the host; ``None`` for the host itself."""
        return None if self.kind == "host" else self.name


@dataclass(slots=True)
class Stage:
    """A host that runs, with the machines on and around it."""

    lab: ExampleHost
    parties: dict[str, Party] = field(default_factory=dict)
    machines: list[Machine] = field(default_factory=list)

    def machine(self, name: str) -> Machine:
        """The machine of this name."""
        (found,) = (machine for machine in self.machines if machine.name == name)
        return found


def start(lab: ExampleHost, name: str, nics: Sequence[Nic], gateways: Sequence[str]) -> Machine:
    """A namespace with its interfaces, joined to their bridges."""
    lab.ip_batch([f"netns add {name}"])
    lab.run("sysctl", "-qw", *QUIET, netns=name)
    outer, inner = [], ["link set lo up"]
    for nic in nics:
        outer.append(f"link add {nic.tap} type veth peer name {nic.name} address {nic.mac} netns {name}")
        outer += [f"link set {nic.tap} master {nic.bridge}"] if nic.bridge else []
        outer.append(f"link set {nic.tap} up")
        inner.append(f"link set {nic.name} up")
        inner += [f"address add {address} dev {nic.name}{nodad(address)}" for address in nic.addresses]
    lab.ip_batch(outer)
    subnets = [address.network for nic in nics for address in nic.addresses]
    near = [gateway for gateway in gateways if any(ip_address(gateway) in subnet for subnet in subnets)]
    for gateway in {ip_address(gateway).version: gateway for gateway in reversed(near)}.values():
        inner.append(f"route add default via {gateway}")
    lab.ip_batch(inner, netns=name)
    return Machine(name=name, kind="guest", netns=lab.hold(lab.file(f"/run/netns/{name}")), nics=list(nics))


def nodad(address: Address | Interface) -> str:
    return " nodad" if address.version == 6 else ""


def exists(lab: ExampleHost, link: str) -> bool:
    return lab.file(f"/sys/class/net/{link}").exists()


def network_address(given: dict[str, str]) -> Interface:
    return ip_interface(f"{given['address']}/{given.get('prefix') or given['netmask']}")
