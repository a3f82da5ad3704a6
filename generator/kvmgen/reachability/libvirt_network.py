"""The packet filter rules that libvirt makes for its own networks, as ``iptables -S`` would show them.

Sources: https://libvirt.org/firewall.html, and what libvirt 9.0 does for each kind of network. A network without
``<forward>`` is isolated; ``open``, ``bridge`` and the macvtap kinds get no rules at all.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from kvmgen.model.platform import Platform, Version
from kvmgen.model.values import Network
from kvmgen.reachability._xml import Element, line_of, read
from kvmgen.reachability.folder import Folder
from kvmgen.value import value

FOLDER = "libvirt/networks/"
OWN_CHAINS: Version = (5, 1)
"""The first libvirt whose rules are in chains of their own; before, each network's are on top of FORWARD."""

_RULED = ("nat", "route", "isolated")
_JUMPS = {
    ("filter", "INPUT"): ("LIBVIRT_INP",),
    ("filter", "FORWARD"): ("LIBVIRT_FWX", "LIBVIRT_FWI", "LIBVIRT_FWO"),
    ("filter", "OUTPUT"): ("LIBVIRT_OUT",),
    ("nat", "POSTROUTING"): ("LIBVIRT_PRT",),
}
_DEFAULT_PORTS = "1024-65535"

Placed = tuple[str, str, str]
"""A table, a chain and a rule."""


@value
class VirtualNetwork:
    """A libvirt network, as far as its packet filter rules go."""

    name: str
    file: str
    line: int
    mode: str
    bridge: str
    device: str = ""
    zone: str = ""
    subnets: tuple[Network, ...] = ()
    nat_ipv6: bool = False
    nat_addresses: str = ""
    nat_ports: str = _DEFAULT_PORTS
    dhcp: bool = False
    tftp: bool = False
    ipv6_without_gateway: bool = False

    @property
    def has_ipv6(self) -> bool:
        """Whether libvirt makes IPv6 rules."""
        return self.ipv6_without_gateway or any(subnet.version == 6 for subnet in self.subnets)

    def has_state(self, version: int) -> bool:
        """Whether libvirt's rules ask for the state of connections of an IP version."""
        return any(_is_translated(self, subnet) for subnet in self.subnets if subnet.version == version)


def networks(folder: Folder) -> list[VirtualNetwork]:
    """The networks that libvirt has a bridge of its own for, in the order of their files."""
    found = (_network(path, read(text)) for path, text in folder.under(FOLDER) if path.endswith(".xml"))
    return [network for network in found if network is not None]


def uses_nftables(platform: Platform) -> bool:
    """Whether libvirt's own rules are in a table of nftables, beside iptables'.

    libvirt can since 10.4; of the distribution's packages el10's do, el9's prefer iptables.
    """
    return platform.libvirt >= (10, 4) and platform.major >= 10


def jumps(table: str, chain: str) -> Sequence[str]:
    """The chains of libvirt's that a built-in one leads to, in order."""
    return _JUMPS.get((table, chain), ())


def rules(network: VirtualNetwork, version: int) -> Iterator[Placed]:
    """A network's rules of one IP version, chain by chain in the order in which a packet meets them.

    Each subnet's rules are put on top of those of the one before.
    """
    if network.mode not in _RULED or (version == 6 and not network.has_ipv6):
        return
    reject = f"-j REJECT --reject-with icmp{'6' if version == 6 else ''}-port-unreachable"
    subnets = [subnet for subnet in reversed(network.subnets) if subnet.version == version]
    for subnet in subnets:
        yield from _inwards(network, subnet)
    yield "filter", "LIBVIRT_FWI", f"-o {network.bridge} {reject}"
    for subnet in subnets:
        yield from _outwards(network, subnet)
    yield "filter", "LIBVIRT_FWO", f"-i {network.bridge} {reject}"
    yield "filter", "LIBVIRT_FWX", f"-i {network.bridge} -o {network.bridge} -j ACCEPT"
    if version == 4 or subnets:
        yield from _services(network, version)
    for subnet in subnets:
        if _is_translated(network, subnet):
            yield from _translation(network, subnet)


def _is_translated(network: VirtualNetwork, subnet: Network) -> bool:
    """IPv6 of a nat network is routed, unless it asks for more."""
    return network.mode == "nat" and (subnet.version == 4 or network.nat_ipv6)


def _inwards(network: VirtualNetwork, subnet: Network) -> Iterator[Placed]:
    if network.mode == "isolated":
        return
    device = f" -i {network.device}" if network.device else ""
    state = " -m conntrack --ctstate RELATED,ESTABLISHED" if _is_translated(network, subnet) else ""
    yield "filter", "LIBVIRT_FWI", f"-d {subnet}{device} -o {network.bridge}{state} -j ACCEPT"


def _outwards(network: VirtualNetwork, subnet: Network) -> Iterator[Placed]:
    if network.mode == "isolated":
        return
    device = f" -o {network.device}" if network.device else ""
    yield "filter", "LIBVIRT_FWO", f"-s {subnet} -i {network.bridge}{device} -j ACCEPT"


def _services(network: VirtualNetwork, version: int) -> Iterator[Placed]:
    """The host's DHCP, DNS and TFTP for the network, to it and from it."""
    ends = (("LIBVIRT_INP", "-i", {4: 67, 6: 547}), ("LIBVIRT_OUT", "-o", {4: 68, 6: 546}))
    for chain, option, dhcp in ends:
        here = f"{option} {network.bridge}"
        if version == 6:
            yield "filter", chain, f"{here} -p udp -m udp --dport {dhcp[6]} -j ACCEPT"
        if version == 4 and network.tftp:
            yield "filter", chain, f"{here} -p udp -m udp --dport 69 -j ACCEPT"
        for port in (53, dhcp[4]) if version == 4 else (53,):
            for protocol in ("udp", "tcp"):
                yield "filter", chain, f"{here} -p {protocol} -m {protocol} --dport {port} -j ACCEPT"


def _translation(network: VirtualNetwork, subnet: Network) -> Iterator[Placed]:
    device = f" -o {network.device}" if network.device else ""
    for unchanged in ("224.0.0.0/24", "255.255.255.255/32") if subnet.version == 4 else ("ff02::/16",):
        yield "nat", "LIBVIRT_PRT", f"-s {subnet} -d {unchanged}{device} -j RETURN"
    away = f"-s {subnet} ! -d {subnet}{device}"
    addresses = network.nat_addresses if subnet.version == 4 else ""
    for protocol in ("tcp", "udp"):
        yield "nat", "LIBVIRT_PRT", f"{away} -p {protocol} {_to(addresses, network.nat_ports)}"
    yield "nat", "LIBVIRT_PRT", f"{away} {_to(addresses)}"


def _to(addresses: str, ports: str = "") -> str:
    if addresses:
        return f"-j SNAT --to-source {addresses}{':' * bool(ports)}{ports}"
    return f"-j MASQUERADE{' --to-ports ' * bool(ports)}{ports}"


# -- the network's XML -------------------------------------------------------------------------------------------------


def _network(path: str, root: Element) -> VirtualNetwork | None:
    forward, bridge = root.find("forward"), root.find("bridge")
    mode = "isolated" if forward is None else forward.get("mode", "nat")
    if bridge is None or mode not in (*_RULED, "open"):
        return None
    nat = None if forward is None else forward.find("nat")
    return VirtualNetwork(
        name=root.findtext("name", ""),
        file=path,
        line=line_of(root if forward is None else forward),
        mode=mode,
        bridge=bridge.get("name", ""),
        device=_device(forward),
        zone=bridge.get("zone", ""),
        subnets=tuple(_subnet(ip) for ip in root.findall("ip")),
        nat_ipv6=nat is not None and nat.get("ipv6") == "yes",
        nat_addresses=_range(nat, "address"),
        nat_ports=_range(nat, "port") or _DEFAULT_PORTS,
        dhcp=root.find("ip/dhcp/range") is not None or root.find("ip/dhcp/host") is not None,
        tftp=root.find("ip/tftp") is not None,
        ipv6_without_gateway=root.get("ipv6") == "yes",
    )


def _device(forward: Element | None) -> str:
    """The first device is the only one that rules are made for."""
    if forward is None:
        return ""
    first = forward.find("interface")
    return str(forward.get("dev", "")) or ("" if first is None else str(first.get("dev", "")))


def _range(nat: Element | None, tag: str) -> str:
    found = None if nat is None else nat.find(tag)
    if found is None:
        return ""
    start, end = found.get("start", ""), found.get("end", "")
    return start if start == end else f"{start}-{end}"


def _subnet(ip: Element) -> Network:
    address = ip.get("address", "")
    mask = ip.get("prefix") or ip.get("netmask") or ("64" if ":" in address else "24")
    return ipaddress.ip_network(f"{address}/{mask}", strict=False)
