"""What the checks say of filters' variables, held against a real libvirtd: whether a guest's filter can be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

from kvmgen.checks._kinds import kind_of
from kvmgen.render.nwfilter import filter_xml
from tests.inventory.nwfilters import lowered
from tests.lab.guest import LabGuest
from tests.lab.host import LabHost
from tests.real.spoofing import MAC

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHost]:
    with LabHost() as host:
        host.start_libvirtd()
        host.add_bridge("br0")
        yield host


@pytest.fixture(scope="module")
def guest(lab: LabHost) -> Iterator[LabGuest]:
    with LabGuest(lab, "web01", tap="vnet-web01", mac=MAC, bridge="br0") as started:
        yield started


def starts(guest: LabGuest, rules: str, parameters: Mapping[str, Sequence[str]], chain: str = "root") -> str | None:
    """Nothing where libvirt makes the filter's rules, and what it says where it doesn't."""
    guest.host.virsh("nwfilter-undefine", "web", check=False)
    guest.host.virsh_with("nwfilter-define", filter_xml(lowered(f"chain: {chain}\nrules: [{rules}]")))
    bound = guest.bind_filter("web", parameters, check=False)
    guest.unbind_filter()
    return None if bound.returncode == 0 else bound.stderr


@pytest.mark.parametrize(
    ("protocol", "attribute", "good", "bad"),
    [
        ("ip", "srcipaddr", "192.0.2.1", "2001:db8::1"),
        ("tcp", "srcipaddr", "192.0.2.1", "banana"),
        ("ipv6", "srcipaddr", "2001:db8::1", "192.0.2.1"),
        ("mac", "srcmacaddr", "52:54:00:00:00:02", "525400000002"),
        ("tcp", "dstportstart", "22", "70000"),
        ("tcp", "dstportstart", "80:90", "80:70000"),
        ("vlan", "vlanid", "7", "0x7"),
        ("tcp", "dscp", "0x2e", "64"),
        ("mac", "protocolid", "0x88cc", "0x5ff"),
        ("vlan", "encap-protocol", "0x800", "1"),
        ("ip", "protocol", "89", "300"),
        ("arp", "opcode", "1", "0x1"),
        ("arp", "hwtype", "Ethernet", "0x1"),
    ],
)
def test_values_that_no_rule_takes(guest: LabGuest, protocol: str, attribute: str, good: str, bad: str) -> None:
    kind = kind_of(protocol, attribute)
    assert kind is not None
    rule = f"{{action: drop, direction: out, {protocol}: {{{attribute}: $X}}}}"
    for value in (good, bad):
        problem = starts(guest, rule, {"X": [value]})
        assert (problem is None) is kind.fits(value) is (value == good), problem


@pytest.mark.parametrize(
    ("protocol", "attribute", "text", "shown"),
    [
        ("mac", "protocolid", "2048", "-p 0x2048"),
        ("arp", "protocoltype", "2048", "--arp-ptype 0x2048"),
        ("ip", "protocol", "010", "--ip-proto egp"),
        ("ip", "srcipaddr: 192.0.2.0, srcipmask", "024", "--ip-src 192.0.0.0/20"),
    ],
)
def test_values_that_mean_something_else(guest: LabGuest, protocol: str, attribute: str, text: str, shown: str) -> None:
    """EtherTypes without 0x are hexadecimal all the same, and a leading zero makes a number octal."""
    kind = kind_of(protocol, attribute.rpartition(" ")[2])
    assert kind is not None
    assert not kind.fits(text)
    rules = f"rules: [{{action: drop, direction: out, {protocol}: {{{attribute}: $X}}}}]"
    guest.host.virsh("nwfilter-undefine", "web", check=False)
    guest.host.virsh_with("nwfilter-define", filter_xml(lowered(rules)))
    guest.bind_filter("web", {"X": [text]})
    listed = guest.host.run("ebtables", "-t", "nat", "-L", f"libvirt-I-{guest.tap}").stdout
    guest.unbind_filter()
    assert shown in listed


TWO_LISTS = '{action: accept, direction: in, tcp: {srcportstart: "%s", dstportstart: "%s"}}'
OTHER_LENGTHS = "Cardinality of list items must be the same"
NOT_THERE = "unresolvable variables or unavailable list elements"


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (TWO_LISTS % ("$A", "$B"), OTHER_LENGTHS),
        (TWO_LISTS % ("$A[@1]", "$B[@1]"), OTHER_LENGTHS),
        ("{action: drop, direction: out, mac: {srcmacaddr: $MAC, protocolid: $A}}", OTHER_LENGTHS),
        (TWO_LISTS % ("$A[@1]", "$B[@2]"), None),
        (TWO_LISTS % ("$A", "$B[0]"), None),
        (TWO_LISTS % ("$A[1]", "$B"), None),
        (TWO_LISTS % ("$A[2]", "$B"), NOT_THERE),
        (TWO_LISTS % ("$A[@1]", "$C[@2]"), NOT_THERE),
        ("{action: drop, direction: out, ip: {srcipaddr: $IP}}", None),
        ('{action: drop, direction: out, ip: {srcipaddr: "$IP[0]"}}', NOT_THERE),
        ("{action: drop, direction: out, ip: {srcipaddr: $IP, srcipmask: $LENGTH}}", NOT_THERE),
    ],
)
def test_lists_and_variables_without_a_value(guest: LabGuest, rule: str, problem: str | None) -> None:
    """A is two EtherTypes (or ports), B three ports; IP is learned where nothing else is missing."""
    said = starts(guest, rule, {"A": ["2048", "2054"], "B": ["22", "80", "443"], "CTRL_IP_LEARNING": ["dhcp"]})
    assert (problem or "") in (said or "")
    assert (said is None) is (problem is None), said


def test_parameters_from_outside_win(guest: LabGuest) -> None:
    guest.host.virsh_with("nwfilter-define", filter_xml(lowered(LEAF, "leaf")))
    include = "{filter: leaf, parameters: {PORT: 2222}}"
    assert starts(guest, include, {}) is None
    assert starts(guest, include, {"PORT": ["70000"]}) is not None


LEAF = "rules: [{action: accept, direction: in, tcp: {dstportstart: $PORT}}]"


@pytest.mark.parametrize(("length", "fits"), [(10, True), (11, False)])
def test_a_tap_and_a_chain_have_25_characters(lab: LabHost, length: int, fits: bool) -> None:
    with LabGuest(lab, f"long{length}", tap="t" * 15, mac=MAC, bridge="br0") as named:
        rule = "{action: drop, direction: out, ip: {srcipaddr: 192.0.2.1}}"
        problem = starts(named, rule, {}, chain="ipv4-abcdefgh"[:length])
        assert (problem is None) is fits, problem
        assert fits or "28 chars max" in (problem or "")
