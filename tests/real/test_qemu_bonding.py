"""What the checks of links believe of the kernel, told by a kernel."""

from __future__ import annotations

import pytest

from kvmgen.checks.bonds import REFUSED_ELSEWHERE, WITH_ARP, word
from kvmgen.inventory.schema import load
from tests.lab.machine import run_in_machine

pytestmark = pytest.mark.real

BOND = load("host")["properties"]["bonds"]["additionalProperties"]["properties"]
MODES = BOND["mode"]["enum"]
VALUES = {
    "miimon": "100",
    "updelay": "200",
    "downdelay": "200",
    "use_carrier": "1",
    "arp_interval": "1000",
    "arp_ip_target": "+192.0.2.1",
    "arp_validate": "active",
    "arp_all_targets": "all",
    "primary": "eno1",
    "primary_reselect": "better",
    "fail_over_mac": "active",
    "xmit_hash_policy": "layer3+4",
    "lacp_rate": "fast",
    "ad_select": "count",
    "min_links": "1",
    "num_grat_arp": "3",
    "resend_igmp": "2",
    "lp_interval": "3",
    "packets_per_slave": "2",
    "all_slaves_active": "1",
    "tlb_dynamic_lb": "0",
}
"""Every option of the schema, miimon before what depends on it."""

ALLOWED = {**REFUSED_ELSEWHERE, **dict.fromkeys(("arp_interval", "arp_validate"), WITH_ARP)}
OF_ANY_LINK = {"ports", "mode", "addresses", "dhcp4", "dhcp6", "accept-ra", "routes", "mtu", "zone"}
WRITE = """
write() {
    if (echo "$3" >/sys/class/net/$1/bonding/$2) 2>/dev/null; then echo "$1 $2 taken"; else echo "$1 $2 refused"; fi
}
"""


def verdicts(script: str) -> dict[str, str]:
    """What a script says in lines of `WHAT VERDICT`, beside the kernel's own messages."""
    lines = run_in_machine(script, {}).splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line.endswith((" taken", " refused")))


def test_every_option_has_a_value() -> None:
    assert {word(option) for option in VALUES} == BOND.keys() - OF_ANY_LINK


def test_modes_take_and_refuse_options() -> None:
    script = [WRITE]
    for mode in MODES:
        script += [f"echo +{mode} >/sys/class/net/bonding_masters", f"write {mode} mode {mode}"]
        script += [f"write {mode} {option} '{value}'" for option, value in VALUES.items()]
    wanted = {
        f"{mode} {option}": "taken" if mode in ALLOWED.get(option, MODES) else "refused"
        for mode in MODES
        for option in ("mode", *VALUES)
    }
    assert verdicts("\n".join(script)) == wanted


DELAYS_AND_TARGETS = f"""{WRITE}
echo +bond0 >/sys/class/net/bonding_masters
write bond0 mode active-backup
write bond0 updelay 200
write bond0 arp_ip_target +2001:db8::1
write bond0 arp_ip_target +0.0.0.0
"""


def test_what_is_refused_in_every_mode() -> None:
    assert verdicts(DELAYS_AND_TARGETS) == {
        "bond0 mode": "taken",
        "bond0 updelay": "refused",
        "bond0 arp_ip_target": "refused",
    }


LAYERS = """
ip link add eno1 mtu 9000 type dummy
ip link add eno2 type dummy
echo +bond0 >/sys/class/net/bonding_masters
echo 802.3ad >/sys/class/net/bond0/bonding/mode
echo "miimon $(</sys/class/net/bond0/bonding/miimon)"
ip link set eno1 down
echo +eno1 >/sys/class/net/bond0/bonding/slaves
echo "port $(</sys/class/net/eno1/mtu)"
ip link add link bond0 name bond0.5 type vlan id 5
ip link set bond0.5 mtu 9000 2>/dev/null || echo "vlan refused"
ip link add br0 type bridge
ip link add br1 type bridge
ip link set br1 master br0 2>/dev/null || echo "bridge refused"
ip link set eno2 master br1
ip link add eno3 mtu 1400 type dummy
ip link set eno3 master br1
echo "bridge $(</sys/class/net/br1/mtu)"
ip link set br1 type bridge stp_state 1
ip link set br1 type bridge forward_delay 100 2>/dev/null || echo "delay refused"
"""


def test_layers() -> None:
    lines = run_in_machine(LAYERS, {}).splitlines()
    wanted = ["miimon 100", "port 1500", "vlan refused", "bridge refused", "bridge 1400", "delay refused"]
    assert [line for line in lines if line in wanted] == wanted, lines
