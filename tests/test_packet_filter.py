"""The packet filter of a machine, where no kernel is needed to know what its files mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

import pytest

from kvmgen.model.platform import Platform
from kvmgen.reachability.firewall import PacketFilter
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.packet import ARP, IPV4, TCP, Packet, State
from kvmgen.reachability.step import Verdict
from kvmgen.reachability.way import Way

CALLED = {"etc/sysctl.conf": "net.bridge.bridge-nf-call-iptables = 1\n"}
BRIDGED = Way(incoming="br1", outgoing="br1", bridged=True, port_in="vnet-a", port_out="vnet-b")
ROUTED = Way(incoming="br1", outgoing="eth0")
SYN = Packet(
    source_mac="52:54:00:00:00:0a",
    target_mac="52:54:00:00:00:0b",
    ethertype=IPV4,
    source=ip_address("192.0.2.10"),
    target=ip_address("198.51.100.20"),
    protocol=TCP,
    source_port=40000,
    target_port=80,
    tcp_flags=frozenset(("SYN",)),
)
NAT = """<network><name>{0}</name><forward mode='nat'/><bridge name='{0}'/><ip address='{1}' prefix='24'/></network>"""
TABLE = """
table bridge kvmgen {
\tchain forward {
\t\ttype filter hook forward priority filter; policy accept;
\t\tmeta ibrname "br1" iifname != { "eno1", "eno2" } oifname != { "eno1", "eno2" } drop
\t\tmeta ibrname "br2" iifname "vnet-x*" ct state new drop
\t\tmeta ibrname "br3" ip daddr 198.51.100.0/24 ip daddr != { 198.51.100.1, 198.51.100.20 } drop
\t}
}
"""


def machine(files: Mapping[str, str], platform: str = "el9") -> PacketFilter:
    return PacketFilter(Folder(name="kvm01", platform=Platform.parse(platform), files=files))


def saved(*rules: str) -> Mapping[str, str]:
    return {**CALLED, "etc/sysconfig/iptables": "\n".join(("*filter", *rules, "COMMIT", ""))}


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        (("-A FORWARD -m bpf --bytecode 'x' -j DROP",), Verdict.UNKNOWN),
        (("-A FORWARD -i br2 -m bpf --bytecode x -j DROP",), None),
        (("-A FORWARD -m bpf --bytecode x -j ACCEPT", "-A FORWARD -j ACCEPT"), Verdict.ACCEPT),
        (("-A FORWARD -m bpf --bytecode x -j DROP", "-A FORWARD -j REJECT"), Verdict.DROP),
        (("-A FORWARD -j TEE --gateway 192.0.2.1",), Verdict.UNKNOWN),
        (("-A FORWARD -s ! 192.0.2.0/255.255.255.0 -j DROP",), None),
        (("-A FORWARD -g own", ":own - [0:0]", "-A own -p udp -j DROP", "-A FORWARD -j DROP"), None),
        (("-A FORWARD -m limit --limit 1/s -j LOG", "-A FORWARD -m limit --limit 1/s -j ACCEPT"), Verdict.ACCEPT),
        (("-A FORWARD -m set --match-set known src -j LOG",), None),
    ],
)
def test_a_rule_that_is_not_understood_counts_only_where_it_matters(
    rules: tuple[str, ...], verdict: Verdict | None
) -> None:
    steps = machine(saved(*rules)).forward(SYN, ROUTED, None, None)
    assert (steps[-1].verdict if steps else None) is verdict


def test_a_cause_is_the_files_line() -> None:
    (step,) = machine(saved(":FORWARD ACCEPT [0:0]", "-A FORWARD -p tcp --dport 80 -j DROP")).forward(
        SYN, BRIDGED, None, None
    )
    assert step.cause is not None
    assert (step.cause.file, step.cause.line) == ("etc/sysconfig/iptables", 3)


def test_bridged_frames_are_only_shown_where_a_setting_says_so() -> None:
    rules = {"etc/sysconfig/iptables": "*filter\n-A FORWARD -j DROP\nCOMMIT\n"}
    late = {"etc/sysctl.d/10-on.conf": CALLED["etc/sysctl.conf"], "etc/sysctl.d/90-off.conf": ""}
    off = {**late, "etc/sysctl.d/90-off.conf": "-net/bridge/bridge-nf-call-iptables=0\n"}
    told = [
        machine({**rules, **files}).forward(SYN, BRIDGED, None, None)[-1].verdict for files in ({}, CALLED, late, off)
    ]
    assert told == [Verdict.PASS, Verdict.DROP, Verdict.DROP, Verdict.PASS]


def test_the_order_of_old_libvirts_networks_is_not_known() -> None:
    files = {
        f"libvirt/networks/{name}.xml": NAT.format(name, ip) for name, ip in (("a", "10.0.1.1"), ("b", "10.0.2.1"))
    }
    packet = replace(SYN, source=ip_address("10.0.1.5"))
    way = Way(incoming="a", outgoing="b")
    verdicts = [machine(files, el).forward(packet, way, None, None)[-1].verdict for el in ("el7", "el8.3")]
    assert verdicts == [Verdict.UNKNOWN, Verdict.REJECT]


def test_a_flow_is_translated_and_its_answer_is_not() -> None:
    nat = saved("COMMIT", "*nat", "-A POSTROUTING -o eth0 -p tcp -j SNAT --to-source 203.0.113.7:1024-2048")
    translated = machine(nat).translate(SYN, ROUTED)
    assert (str(translated.source), translated.translated) == ("203.0.113.7", frozenset(("SNAT",)))
    masquerading = {"etc/firewalld/zones/public.xml": "<zone><masquerade/></zone>"}
    assert str(machine(masquerading).translate(SYN, ROUTED).source) == "0.0.0.0"
    answer = replace(SYN, reply=True)
    assert machine(nat).translate(answer, ROUTED) == answer


@pytest.mark.parametrize(
    ("bridge", "port_in", "port_out", "verdict"),
    [
        ("br1", "vnet-a", "vnet-b", Verdict.DROP),
        ("br1", "eno1", "vnet-b", Verdict.PASS),
        ("br1", "vnet-a", "eno2", Verdict.PASS),
        ("br2", "vnet-a", "vnet-b", Verdict.PASS),
        ("br2", "vnet-xa", "vnet-b", Verdict.UNKNOWN),
    ],
)
def test_the_bridge_familys_table(bridge: str, port_in: str, port_out: str, verdict: Verdict) -> None:
    frame = Packet(source_mac=SYN.source_mac, target_mac="ff:ff:ff:ff:ff:ff", ethertype=ARP, state=State.UNTRACKED)
    way = Way(incoming=bridge, outgoing=bridge, bridged=True, port_in=port_in, port_out=port_out)
    (step,) = machine({"etc/nftables/kvmgen.nft": TABLE}).bridge(frame, way)
    assert step.verdict is verdict


@pytest.mark.parametrize(("target", "verdict"), [("198.51.100.20", Verdict.PASS), ("198.51.100.21", Verdict.DROP)])
def test_the_bridge_familys_addresses(target: str, verdict: Verdict) -> None:
    way = Way(incoming="br3", outgoing="br3", bridged=True, port_in="vnet-a", port_out="vnet-b")
    files = {"etc/nftables/kvmgen.nft": TABLE}
    told = [step.verdict for step in machine(files).bridge(replace(SYN, target=ip_address(target)), way)]
    assert told == [verdict]
    inwards = {"etc/nftables/kvmgen.nft": TABLE.replace("hook forward", "hook input")}
    up = Way(incoming="br3", port_in="vnet-a")
    told = [step.verdict for step in machine(inwards).input(replace(SYN, target=ip_address(target)), up, None)]
    assert told == [verdict] * (verdict is Verdict.DROP)
    assert [step.verdict for step in machine(inwards).bridge(SYN, way)] == [Verdict.PASS]
    arp = replace(SYN, ethertype=ARP, source=None, target=None)
    assert [step.verdict for step in machine(files).bridge(arp, way)] == [Verdict.PASS]
