"""el6's iptables files: as text, and as iptables-restore reads them."""

from __future__ import annotations

import subprocess

import pytest

from kvmgen.artifact import Artifact, Kind
from kvmgen.diagnostics import Origin
from kvmgen.model.host import DirectChain, DirectRule, Firewall
from kvmgen.model.platform import Platform
from kvmgen.render import iptables
from tests.render.builders import host

ORIGIN = Origin("guests/vml000010.yaml", ("firewall",))
HEADER = "# Made by kvmgen from inventory/guests/vml000010.yaml: edit that and build again.\n"


def rule(chain: str, text: str, *, table: str = "filter", priority: int = 0, why: str | None = None) -> DirectRule:
    return DirectRule(family="ipv4", table=table, chain=chain, priority=priority, rule=text, origin=ORIGIN, why=why)


GATEWAY = Firewall(
    origin=ORIGIN,
    chains=(DirectChain(family="ipv4", table="filter", chain="SSH", origin=ORIGIN),),
    rules=(
        rule("POSTROUTING", "-o eth0 -j MASQUERADE", table="nat"),
        rule("SSH", "-s 10.0.0.0/24 -j ACCEPT"),
        rule("FORWARD", "-j REJECT --reject-with icmp-host-prohibited", priority=10),
        rule("FORWARD", '-i eth1 -o eth0 -m comment --comment "from the DMZ" -j ACCEPT', why="The DMZ may go out."),
        rule("FORWARD", "-p icmp -j ACCEPT"),
        rule("INPUT", "-p tcp -m tcp --dport 22 -j SSH"),
        rule("INPUT", "-m state --state RELATED,ESTABLISHED -j ACCEPT", priority=-1),
    ),
    chain_policies=(("ipv4", "FORWARD", "DROP"), ("ipv6", "FORWARD", "DROP")),
)


def written(firewall: Firewall | None) -> dict[str, Artifact]:
    node = host(platform=Platform.parse("el6"), firewall=firewall)
    return {file.path: file for file in iptables.files(node)}


def test_tables_chains_and_rules_in_order() -> None:
    file = written(GATEWAY)["etc/sysconfig/iptables"]
    assert (
        file.text
        == f"""{HEADER}*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:SSH - [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j SSH
# The DMZ may go out.
-A FORWARD -i eth1 -o eth0 -m comment --comment "from the DMZ" -j ACCEPT
-A FORWARD -p icmp -j ACCEPT
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
-A SSH -s 10.0.0.0/24 -j ACCEPT
COMMIT
"""
    )
    assert (file.kind, file.mode, file.sources) == (Kind.FIREWALL, 0o600, (ORIGIN,))


def test_a_policy_alone_makes_a_file() -> None:
    assert (
        written(GATEWAY)["etc/sysconfig/ip6tables"].text
        == f"""{HEADER}*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
"""
    )


def test_a_family_of_which_nothing_is_said_is_not_opened() -> None:
    only_ipv4 = Firewall(origin=ORIGIN, rules=(rule("INPUT", "-j DROP"),))
    assert list(written(only_ipv4)) == ["etc/sysconfig/iptables"]
    assert written(None) == {}


@pytest.mark.real
@pytest.mark.parametrize(
    ("restore", "path"),
    [("iptables-restore", "etc/sysconfig/iptables"), ("ip6tables-restore", "etc/sysconfig/ip6tables")],
)
def test_iptables_restore_accepts_the_file(restore: str, path: str) -> None:
    command = ("unshare", "-n", restore, "--test")
    done = subprocess.run(
        command, input=written(GATEWAY)[path].text, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.real
def test_iptables_holds_the_rules_that_were_meant() -> None:
    text = written(GATEWAY)["etc/sysconfig/iptables"].text
    script = "iptables-restore && iptables -S FORWARD && iptables -t nat -S POSTROUTING"
    done = subprocess.run(
        ("unshare", "-n", "sh", "-c", script), input=text, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "-P FORWARD DROP",
        '-A FORWARD -i eth1 -o eth0 -m comment --comment "from the DMZ" -j ACCEPT',
        "-A FORWARD -p icmp -j ACCEPT",
        "-A FORWARD -j REJECT --reject-with icmp-host-prohibited",
        "-P POSTROUTING ACCEPT",
        "-A POSTROUTING -o eth0 -j MASQUERADE",
    ]
