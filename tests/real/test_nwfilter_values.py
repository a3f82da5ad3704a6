"""Whatever spelling an inventory has, a filter's file is what libvirt writes back."""

from __future__ import annotations

from typing import Any

import pytest

from kvmgen.render.nwfilter import filter_xml
from tests.inventory.nwfilters import lowered
from tests.lab.host import LabHost
from tests.real.compare import differences

pytestmark = pytest.mark.real

SPELLINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("mac", {"srcmacaddr": "52:54:00:AA:BB:CC", "srcmacmask": "FF:FF:FF:00:00:00"}),
    *(("mac", {"protocolid": one}) for one in (2048, "0x0806", "0x86DD", 33024, "0x8035", "0xABCD", 1536, "arp")),
    ("vlan", {"vlanid": "0x00A", "encap-protocol": 2054}),
    ("stp", {"root-address": "52:54:00:AA:BB:CC", "root-cost": "0x0000FFFF", "flags": "0x01"}),
    *(("ip", {"protocol": one}) for one in (1, 2, 6, "0x11", 50, 51, 58, 132, 136, 89, 0, "0x00", "0xFF")),
    ("ip", {"srcipaddr": "10.0.0.0", "srcipmask": "255.128.0.0", "dstipaddr": "$IP", "dstipmask": "0.0.0.0"}),
    ("ipv6", {"srcipaddr": "2001:0DB8::0000:1", "srcipmask": "ffff:FFF0::", "dstipaddr": "::ffff:c000:201"}),
    ("tcp-ipv6", {"srcipaddr": "2001:db8:0:0:1:0:0:0", "srcipmask": "::"}),
    *(("arp", {"opcode": one}) for one in (*range(11), "request", "Request_reverse", "DRARP_error", "InARP_request")),
    ("arp", {"hwtype": "0x01", "protocoltype": "0x0800", "gratuitous": True}),
    ("rarp", {"gratuitous": False}),
    *(("tcp", {"state": one}) for one in ("ESTABLISHED,NEW", "INVALID,RELATED,NEW,NEW", "NONE")),
    *(("tcp", {"flags": one}) for one in ("ACK,SYN/SYN", "URG,ACK,PSH,RST,SYN,FIN/FIN", "ALL/NONE", "SYN,SYN/NONE")),
    *(("tcp", {"dstportstart": one}) for one in ("0x0050", "$P[@0]", "$P[@01]", "$P[00]", "$P[1]", "$P")),
    ("all", {"ipset": "a Set", "ipsetflags": "SRC,Dst", "dscp": "0x0A", "comment": "As It, is"}),
)


def test_libvirt_writes_what_stands_in_the_file(lab_libvirt: LabHost) -> None:
    rules = [{"action": "accept", "direction": "in", protocol: said} for protocol, said in SPELLINGS]
    text = filter_xml(lowered({"priority": 0, "rules": rules}))
    lab_libvirt.virsh_with("nwfilter-define", text, "--validate")
    dumped = lab_libvirt.virsh("nwfilter-dumpxml", "web").stdout
    assert differences(text, dumped) == differences(dumped, text) == []
