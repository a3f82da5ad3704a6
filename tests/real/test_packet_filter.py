"""The packet filter that is read from a machine's files, against the kernel that has them loaded.

One host routes between two bridges and libvirt's networks; what a connection's first packet meets is predicted and
tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from kvmgen.diagnostics import Origin
from kvmgen.model.host import Firewall
from kvmgen.model.platform import Platform
from kvmgen.model.values import Address
from kvmgen.reachability.firewall import PacketFilter
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.libvirt_network import networks, rules
from kvmgen.reachability.packet import IPV4, IPV6, TCP, Packet, State
from kvmgen.reachability.step import Verdict
from kvmgen.reachability.way import Way
from kvmgen.render import firewalld
from tests.lab.guest import GUEST_SYSCTLS, LabGuest
from tests.lab.host import Backend, LabHost
from tests.lab.netns import Node
from tests.real.packets import listening
from tests.render.builders import host
from tests.sites import write

pytestmark = pytest.mark.real

_IPV6 = "<ip family='ipv6' address='fd00:{0}::1' prefix='64'/>"


def network(number: int, inner: str, more: str = "") -> str:
    return (
        f"<network><name>net{number}</name>{inner}<bridge name='virbr{number}' stp='off' delay='0'/>"
        f"<ip address='192.168.{120 + number}.1' netmask='255.255.255.0'>{more}</ip>{_IPV6.format(120 + number)}"
        "</network>"
    )


POOL = "<nat ipv6='yes'><address start='192.0.2.10' end='192.0.2.12'/></nat>"
NETWORKS = {
    "nat": network(0, "<forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward>"),
    "pool": network(1, f"<forward mode='nat' dev='br2'>{POOL}</forward>"),
    "route": network(2, "<forward mode='route'/>"),
    "isolated": network(3, ""),
    "open": network(4, "<forward mode='open'/>"),
    "tftp": network(5, "<forward/>", more="<tftp root='/tmp'/>"),
    "bare": "<network ipv6='yes'><name>net6</name><bridge name='virbr6' delay='0'/></network>",
}
SYSCTL = (
    "net.ipv4.ip_forward = 1\nnet.ipv6.conf.all.forwarding = 1\n"
    "net.bridge.bridge-nf-call-iptables = 1\nnet.bridge.bridge-nf-call-ip6tables = 1\n"
)
RULES = (
    "-i br1 -o br2 -p tcp -m tcp --dport 8001 -j ACCEPT",
    "-p tcp --dport 8002 -j DROP",
    '-i br+ -p tcp -m multiport --dports 8003,8010:8012 -m comment --comment "two words" -j REJECT',
    "-i br1 -o br1 -m physdev --physdev-is-bridged ! --physdev-in tap-a -j REJECT",
    "-i br1 -o br1 -m physdev --physdev-is-bridged -p tcp --dport 8004 -j ACCEPT",
    "! -i br2 -p tcp --syn --dport 8005 -m conntrack --ctstate NEW -j own",
)
OWN = ("-m pkttype --pkt-type unicast -o br2 -j RETURN", "-j ACCEPT")
FIREWALLD = {
    "zones/office.xml": """<zone>
  <interface name='br1'/>
  <service name='ssh'/>
  <port port='8080-8090' protocol='tcp'/>
  <rule priority='-5'><port port='8085' protocol='tcp'/><drop/></rule>
  <rule family='ipv4'><source address='192.0.2.11'/><port port='8086' protocol='tcp'/><reject/></rule>
</zone>
""",
    "zones/servers.xml": """<zone target='%%REJECT%%'>
  <interface name='br2'/>
  <masquerade/>
  <forward/>
</zone>
""",
    "policies/out.xml": """<policy priority='-10' target='CONTINUE'>
  <ingress-zone name='office'/>
  <egress-zone name='servers'/>
  <service name='http'/>
  <port port='8006' protocol='tcp'/>
  <rule family='ipv6'><port port='8006' protocol='tcp'/><reject/></rule>
</policy>
""",
    "policies/late.xml": """<policy priority='10' target='ACCEPT'>
  <ingress-zone name='office'/>
  <egress-zone name='ANY'/>
  <rule><port port='8007' protocol='tcp'/><drop/></rule>
</policy>
""",
}
PORTS = (22, 80, 8001, 8002, 8003, 8004, 8005, 8006, 8007, 8080, 8085, 8086, 9000)
KNOWN = {"open": Verdict.ACCEPT, "refused": Verdict.REJECT, "timeout": Verdict.DROP}


def direct_xml() -> str:
    lines = ["<direct>"]
    for family in ("ipv4", "ipv6"):
        lines.append(f"  <chain ipv='{family}' table='filter' chain='own'/>")
        place = f"ipv='{family}' table='filter' chain"
        lines += [f"  <rule {place}='own' priority='{at}'>{text}</rule>" for at, text in enumerate(OWN)]
        lines += [f"  <rule {place}='FORWARD' priority='{at}'>{text}</rule>" for at, text in enumerate(RULES)]
        mangle = f"ipv='{family}' table='mangle' chain='FORWARD' priority='0'"
        lines.append(f"  <rule {mangle}>-p tcp --dport 9000 -j DROP</rule>")
    return "\n".join([*lines, "</direct>", ""])


def saved() -> str:
    forward = [f"-A FORWARD {text}" for text in RULES]
    own = [f"-A own {text}" for text in OWN]
    first = ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]", ":own - [0:0]"]
    answers = "-A FORWARD -m state --state RELATED,ESTABLISHED -j ACCEPT"
    inwards = "-A INPUT -i br1 -p tcp -m tcp --dport 8080 -j REJECT"
    return "\n".join([*first, answers, *forward, *own, inwards, "-A FORWARD -p tcp --dport 80 -j ACCEPT", "COMMIT", ""])


def folder(platform: str, files: Mapping[str, str], kept: tuple[str, ...] = ("nat", "isolated")) -> Folder:
    own = {f"libvirt/networks/{name}.xml": NETWORKS[name] for name in kept}
    return Folder(
        name="kvm01",
        platform=Platform.parse(platform),
        files={"etc/sysctl.d/99-bridge.conf": SYSCTL, **own, **files},
    )


# -- libvirt's own rules -----------------------------------------------------------------------------------------------


def chains(printed: str) -> dict[tuple[str, str], list[str]]:
    """libvirt's chains of the tables nat and filter, by table and chain."""
    found: dict[tuple[str, str], list[str]] = {}
    table = ""
    for line in printed.splitlines():
        table = line[1:] if line.startswith("*") else table
        rule = re.fullmatch(r"-A (LIBVIRT_\w+) (.*)", line)
        if rule and table in ("nat", "filter"):
            found.setdefault((table, rule[1]), []).append(rule[2])
    return found


def test_libvirts_rules_are_those_that_it_makes() -> None:
    every = folder("el9", {}, tuple(NETWORKS))
    with LabHost() as lab:
        lab.add_bridge("br2")
        lab.start_libvirtd()
        for xml in NETWORKS.values():
            lab.virsh_with("net-define", xml, "--validate")
        for known in networks(every):
            lab.virsh("net-start", known.name)
        for version, program in ((4, "iptables-save"), (6, "ip6tables-save")):
            expected: dict[tuple[str, str], list[str]] = {}
            for known in reversed(networks(every)):  # each network goes on top of those before
                for table, chain, text in rules(known, version):
                    expected.setdefault((table, chain), []).append(text)
            assert chains(lab.run(program).stdout) == expected


# -- packets -----------------------------------------------------------------------------------------------------------


class Net:
    """A running host: a and b on br1, c on br2, n on the nat network."""

    def __init__(self, host: LabHost, guests: Mapping[str, LabGuest]) -> None:
        self.host, self.guests = host, guests


PLACES = {
    "a": ("br1", 10, "192.0.2", "2001:db8:1:"),
    "b": ("br1", 11, "192.0.2", "2001:db8:1:"),
    "c": ("br2", 20, "198.51.100", "2001:db8:2:"),
    "n": ("virbr0", 10, "192.168.120", "fd00:120:"),
    "i": ("virbr3", 10, "192.168.123", "fd00:123:"),
}
PAIRS = (("a", "c"), ("a", "b"), ("b", "a"), ("c", "a"), ("n", "c"), ("c", "n"), ("i", "c"), ("n", "i"))
HOSTS_ADDRESSES = {"a": ("192.0.2.1", "2001:db8:1::1"), "n": ("192.168.120.1", "fd00:120::1")}


@contextmanager
def running(backend: Backend | None, files: Mapping[str, str], tmp: Path) -> Iterator[Net]:
    with LabHost() as host, ExitStack() as stack:
        host.run("sysctl", "-q", "-p", "-", input=SYSCTL)
        host.run("sysctl", "-qw", *GUEST_SYSCTLS)
        host.add_bridge("br1", ["192.0.2.1/24", "2001:db8:1::1/64"])
        host.add_bridge("br2", ["198.51.100.1/24", "2001:db8:2::1/64"])
        if backend is None:
            for family in ("iptables", "ip6tables"):
                host.run(f"{family}-restore", input=files[f"etc/sysconfig/{family}"])
        else:
            own = {path.removeprefix("etc/firewalld/"): text for path, text in files.items()}
            assert host.start_firewalld(write(tmp, own), backend) == "running", host.log("firewalld")
        host.start_libvirtd()
        for name in ("nat", "isolated"):
            host.virsh_with("net-define", NETWORKS[name])
            host.virsh("net-start", re.findall("<name>(.*?)<", NETWORKS[name])[0])
        guests = {}
        for name, (bridge, number, net4, net6) in PLACES.items():
            guests[name] = stack.enter_context(
                LabGuest(
                    host,
                    name,
                    tap=f"tap-{name}",
                    mac=f"52:54:00:00:0{ord(name) % 10}:{number:02x}",
                    bridge=bridge,
                    addresses=[f"{net4}.{number}/24", f"{net6}:{number}/64"],
                    gateways=[f"{net4}.1", f"{net6}:1"],
                )
            )
        _introduce(guests["a"], guests["b"])
        nodes: tuple[Node, ...] = (*guests.values(), host)
        for port in PORTS:
            for node in nodes:
                stack.enter_context(listening(node, port))
        yield Net(host, guests)


def _introduce(one: LabGuest, other: LabGuest) -> None:
    """Tell two guests each other's MAC: neighbour discovery crosses the bridge too, and meets the same rules."""
    for here, there in ((one, other), (other, one)):
        entries = [f"neigh replace {there.ipv6} lladdr {there.mac} dev {here.interface} nud permanent"]
        here.host.ip_batch(entries, netns=here.name)


def first_packet(net: Net, sender: str, target: str, port: int) -> Packet:
    source = net.guests[sender].ipv6 if ":" in target else net.guests[sender].ipv4
    return Packet(
        source_mac=net.guests[sender].mac,
        target_mac="52:54:00:aa:aa:aa",
        ethertype=IPV6 if ":" in target else IPV4,
        source=ip_address(source),
        target=ip_address(target),
        protocol=TCP,
        source_port=40000,
        target_port=port,
        tcp_flags=frozenset(("SYN",)),
    )


def disagreements(net: Net, filter_: PacketFilter) -> list[str]:
    wrong: list[str] = []
    for one, other in PAIRS:
        bridged = PLACES[one][0] == PLACES[other][0]
        way = Way(
            incoming=PLACES[one][0],
            outgoing=PLACES[other][0],
            bridged=bridged,
            port_in=f"tap-{one}",
            port_out=f"tap-{other}" if bridged else None,
        )
        for target in (net.guests[other].ipv4, net.guests[other].ipv6):
            for port in PORTS:
                predicted = forwarded(filter_, first_packet(net, one, target, port), way)
                wrong += compared(net, one, target, port, predicted)
    for one, targets in HOSTS_ADDRESSES.items():
        way = Way(incoming=PLACES[one][0], port_in=f"tap-{one}")
        for target in targets:
            for port in PORTS:
                steps = filter_.input(first_packet(net, one, target, port), way, None)
                wrong += compared(net, one, target, port, steps[-1].verdict if steps else Verdict.ACCEPT)
    return wrong


def forwarded(filter_: PacketFilter, packet: Packet, way: Way) -> Verdict:
    """What the one who connects sees: an answer that is stopped is silence."""
    steps = filter_.forward(packet, way, None, None)
    if steps and steps[-1].verdict not in (Verdict.ACCEPT, Verdict.PASS):
        return steps[-1].verdict
    answer = replace(
        packet,
        source=packet.target,
        target=packet.source,
        source_port=packet.target_port,
        target_port=packet.source_port,
        tcp_flags=frozenset(("SYN", "ACK")),
        state=State.ESTABLISHED,
        reply=True,
    )
    back = Way(
        incoming=way.outgoing, outgoing=way.incoming, bridged=way.bridged, port_in=way.port_out, port_out=way.port_in
    )
    steps = filter_.forward(answer, back, None, None)
    return Verdict.DROP if steps and steps[-1].verdict.stops else Verdict.ACCEPT


def compared(net: Net, one: str, target: str, port: int, predicted: Verdict) -> list[str]:
    seen = net.guests[one].tcp_connect(target, port, patience=0.12)
    predicted = Verdict.ACCEPT if predicted is Verdict.PASS else predicted
    return [] if KNOWN.get(seen) is predicted else [f"{one} -> {target} {port}: predicted {predicted}, seen {seen}"]


def test_saved_rules(tmp_path: Path) -> None:
    files = {"etc/sysconfig/iptables": saved(), "etc/sysconfig/ip6tables": saved()}
    # What libvirt makes is that of the release that runs here, so that it isn't an el6.
    with running(None, files, tmp_path) as net:
        assert disagreements(net, PacketFilter(folder("el9", files))) == []


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_firewalld(backend: Backend, tmp_path: Path) -> None:
    files = {f"etc/firewalld/{path}": text for path, text in {**FIREWALLD, "direct.xml": direct_xml()}.items()}
    conf = {"etc/firewalld/firewalld.conf": f"FirewallBackend={backend}\n"}
    with running(backend, files, tmp_path) as net:
        assert disagreements(net, PacketFilter(folder("el9.4", {**files, **conf}))) == []
        assert_strangers_are_dropped(net, PacketFilter(folder("el9.4", {**files, **conf}), None, leads_back))
        # Without the direct rules, which stop the answer that goes from the one to the other.
        files |= {"etc/firewalld/direct.xml": "<direct></direct>\n", **settings_without_reverse_path(backend)}
        for path in ("etc/firewalld/direct.xml", "etc/firewalld/firewalld.conf"):
            net.host.write(f"/{path}", files[path])
        net.host.run("firewall-cmd", "--reload")
        assert strangers(net, PacketFilter(folder("el9.4", files), None, leads_back), Verdict.ACCEPT) == []


def settings_without_reverse_path(backend: Backend) -> dict[str, str]:
    """What kvmgen writes for `ipv6-rpfilter: false`, for either backend."""
    origin = Origin("hosts/kvm01.yaml")
    firewall = Firewall(origin=origin, ipv6_rpfilter=False)
    (written,) = firewalld.files(host(platform=Platform.parse("el9.4"), firewall=firewall))
    return {written.path: written.text.replace("FirewallBackend=nftables", f"FirewallBackend={backend}")}


def leads_back(address: Address, interface: str) -> bool:
    return not (interface == "br1" and str(address).startswith("2001:db8:9:"))


def assert_strangers_are_dropped(net: Net, filter_: PacketFilter) -> None:
    """IPv6 between two guests of a bridge, from a network that the host has no route to."""
    one, other = net.guests["a"], net.guests["b"]
    for guest, peer, number in ((one, other, 10), (other, one, 11)):
        net.host.ip_batch(
            [
                f"address add 2001:db8:9::{number}/64 dev {guest.interface} nodad",
                f"neigh replace 2001:db8:9::{21 - number} lladdr {peer.mac} dev {guest.interface} nud permanent",
            ],
            netns=guest.name,
        )
    assert strangers(net, filter_, Verdict.DROP) == []


def strangers(net: Net, filter_: PacketFilter, verdict: Verdict) -> list[str]:
    """Where the prediction of them, or the kernel, has another verdict."""
    packet = replace(first_packet(net, "a", "2001:db8:9::11", 80), source=ip_address("2001:db8:9::10"))
    way = Way(incoming="br1", outgoing="br1", bridged=True, port_in="tap-a", port_out="tap-b")
    assert forwarded(filter_, packet, way) is verdict
    return compared(net, "a", "2001:db8:9::11", 80, verdict)
