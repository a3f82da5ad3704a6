"""What reachability believes that libvirt makes of a filter is what a real libvirtd puts into the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kvmgen.model.builtin_filters import BUILT_IN_FILTERS
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.nwfilter import Filters
from kvmgen.render.nwfilter import filter_xml
from tests.inventory.nwfilters import lowered
from tests.lab.filter_rules import BELIEVED, differences
from tests.lab.guest import LabGuest
from tests.lab.host import LabHost
from tests.lab.random_filters import PARAMETERS, PLATFORM
from tests.real.spoofing import MAC

pytestmark = pytest.mark.real

OUTPUT = Path(__file__).parents[2] / "output"
ADDRESSES: Mapping[str, Sequence[str]] = {
    "IP": ["192.0.2.11", "192.0.2.12"],
    "IPV6": ["2001:db8::11", "fe80::5054:ff:fe00:1"],
    "DHCPSERVER": ["192.0.2.1"],
    "GATEWAY_MAC": ["52:54:00:00:00:99"],
    "CTRL_IP_LEARNING": ["none"],
}


@pytest.fixture(scope="module")
def guest() -> Iterator[LabGuest]:
    with LabHost() as host:
        host.start_libvirtd()
        host.add_bridge("br0")
        with LabGuest(host, "web01", tap="realreal", mac=MAC, bridge="br0") as started:
            yield started


def compared(
    guest: LabGuest,
    texts: Mapping[str, str],
    name: str,
    parameters: Mapping[str, Sequence[str]],
    refused: bool = False,
) -> None:
    """Define the filters, the leaves first, bind one, and take all away again."""
    files = {f"libvirt/nwfilters/{one}.xml": text for one, text in texts.items()}
    folder = Folder(name="kvm01", platform=PLATFORM, files=files, guest_platforms={})
    believed = Filters(folder).bind(name, parameters, MAC, BELIEVED)
    assert bool(believed.problem) is refused, believed.problem
    for text in texts.values():
        guest.host.virsh_with("nwfilter-define", text)
    try:
        assert differences(guest, believed, name, parameters) == [], "\n".join(texts.values())
    finally:
        for one in reversed([*texts]):
            guest.host.virsh("nwfilter-undefine", one, check=False)


def test_libvirts_own_filters(guest: LabGuest) -> None:
    compared(guest, {}, "clean-traffic", ADDRESSES)
    compared(guest, {}, "clean-traffic-gateway", ADDRESSES)
    six = {"DHCPSERVER": "2001:db8::1"}
    rules = [{"filter": name, **({"parameters": six} if "v6" in name else {})} for name in BUILT_IN_FILTERS]
    given = {name: values for name, values in ADDRESSES.items() if name != "DHCPSERVER"}
    four = {"filter": "allow-dhcp-server", "parameters": {"DHCPSERVER": "192.0.2.1"}}
    others = [
        rule for rule in rules if rule["filter"] not in ("clean-traffic", "clean-traffic-gateway", four["filter"])
    ]
    compared(guest, {"web": filter_xml(lowered({"rules": [*others, four]}))}, "web", given)


def example_uses() -> dict[str, tuple[Path, dict[str, list[str]]]]:
    """The filters that the example site's guests have, each with a host of its and the parameters of one interface."""
    found: dict[str, tuple[Path, dict[str, list[str]]]] = {}
    for domain in sorted(OUTPUT.glob("*/libvirt/domains/*.xml")):
        for reference in ElementTree.parse(domain).iterfind(".//interface/filterref"):
            parameters: dict[str, list[str]] = {}
            for parameter in reference.iterfind("parameter"):
                parameters.setdefault(parameter.attrib["name"], []).append(parameter.attrib["value"])
            found.setdefault(reference.attrib["filter"], (domain.parents[1] / "nwfilters", parameters))
    return found


def inside(folder: Path, name: str) -> list[str]:
    """The files' names of a filter and of all that it includes, leaves first."""
    file = folder / f"{name}.xml"
    if not file.exists():
        return []
    included = re.findall("<filterref filter='([^']*)'", file.read_text())
    return list(dict.fromkeys([*(leaf for one in included for leaf in inside(folder, one)), name]))


def test_the_example_sites_filters(guest: LabGuest) -> None:
    """Each filter once, the largest trees first; policies are all of one kind, and libvirt takes its time for them."""
    uses = {name: (folder, parameters, inside(folder, name)) for name, (folder, parameters) in example_uses().items()}
    seen: set[str] = set()
    for name, (folder, parameters, names) in sorted(uses.items(), key=lambda use: -len(use[1][2])):
        kinds = {re.sub(r"^polic(y-|ies\.).*", "policy", one) for one in names}
        if kinds <= seen:
            continue
        seen |= kinds
        texts = {one: (folder / f"{one}.xml").read_text() for one in names}
        compared(guest, texts, name, parameters)


RULES = (
    "{action: accept, direction: in, tcp: {match: false, srcportstart: 2, dstportstart: 3}}",
    "{action: accept, direction: in, tcp: {match: false, dstportstart: 3}}",
    "{action: accept, direction: out, tcp: {match: false, flags: 'SYN,ACK/SYN', dscp: 46}}",
    "{action: accept, direction: inout, icmp: {type: 8}}",
    "{action: accept, direction: out, icmp: {type: 255, code: 1}}",
    "{action: accept, direction: in, all: {ipset: friends}}",
    "{action: accept, direction: in, tcp: {ipset: friends, ipsetflags: 'src,dst'}}",
    "{action: accept, direction: out, all: {connlimit-above: 3, state: NEW}}",
    "{action: accept, direction: out, all: {match: false, connlimit-above: 3, srcmacaddr: '52:54:00:00:00:02'}}",
    "{action: accept, direction: in, all: {srcmacaddr: '52:54:00:00:00:02', comment: x}}",
    "{action: accept, direction: in, all: {state: NONE}}",
    "{action: accept, direction: in, statematch: false, all: {state: NEW}}",
    "{action: drop, direction: inout, all: {state: INVALID}}",
    "{action: accept, direction: inout, vlan: {vlanid: 7, encap-protocol: arp}}",
    "{action: accept, direction: inout, ip: {protocol: tcp, dstportstart: 22, dscp: 46, srcipaddr: 192.0.2.9}}",
    "{action: accept, direction: out, ipv6: {protocol: icmpv6, typeend: 136, code: 1}}",
    "{action: accept, direction: in, arp: {arpsrcipaddr: 192.0.2.0, arpsrcipmask: 24, arpdstipaddr: 198.51.100.7}}",
    "{action: accept, direction: inout, arp: {match: false, opcode: Reply, gratuitous: true, hwtype: 1}}",
    "{action: reject, direction: out, sctp-ipv6: {srcipfrom: '2001:db8::1', dstportstart: $PORTS}}",
    "{action: accept, direction: out, tcp: {srcportstart: $PORTS, dstportstart: $OTHERS}}",
    "{action: accept, direction: out, tcp: {srcportstart: $PORTS, dstportstart: '$OTHERS[@3]', srcipaddr: $ADDRESSES}}",
    "{action: accept, direction: out, tcp: {srcportstart: $PORTS, dstportstart: '$OTHERS[2]'}}",
)


REFUSED = (
    "{action: accept, direction: in, tcp: {ipset: friends}}",
    "{action: continue, direction: in, all: {}}",
    "{action: accept, direction: out, vlan: {vlanid: 4095}}",
    "{action: accept, direction: inout, stp: {srcmacaddr: '52:54:00:00:00:02'}}",
    "{action: accept, direction: out, ip: {match: false, protocol: tcp, dstportstart: 22}}",
    "{action: accept, direction: out, ipv6: {type: 135}}",
    "{action: accept, direction: out, tcp: {match: false, srcipaddr: 192.0.2.9, srcipmask: 0}}",
    "{action: accept, direction: out, tcp: {srcportstart: $PORTS, srcipaddr: $IP}}",
    "{action: accept, direction: out, tcp: {srcportstart: $NOBODY}}",
    "{action: accept, direction: out, mac: {protocolid: $PORTS}}",
)


def test_rules_that_surprise(guest: LabGuest) -> None:
    rules = [f"{{priority: {number}, {rule[1:]}" for number, rule in enumerate(RULES)]
    compared(guest, {"web": filter_xml(lowered(f"rules: [{', '.join(rules)}]"))}, "web", PARAMETERS)


@pytest.mark.parametrize("rule", REFUSED)
def test_rules_that_libvirt_or_the_kernel_refuses(guest: LabGuest, rule: str) -> None:
    compared(guest, {"web": filter_xml(lowered(f"rules: [{rule}]"))}, "web", PARAMETERS, refused=True)


def test_before_a_lease(guest: LabGuest) -> None:
    servers = {"DHCPSERVER": ["192.0.2.1", "192.0.2.2"]}
    compared(guest, {}, "clean-traffic", {"CTRL_IP_LEARNING": ["dhcp"]})
    compared(guest, {}, "clean-traffic", {"CTRL_IP_LEARNING": ["dhcp"], **servers})
    compared(guest, {}, "clean-traffic", {"CTRL_IP_LEARNING": ["none"]}, refused=True)
