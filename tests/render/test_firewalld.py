"""firewalld's files: as text, and as firewalld reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kvmgen.artifact import Artifact, Kind
from kvmgen.diagnostics import Origin
from kvmgen.model.host import DirectChain, DirectRule, Firewall, Zone, ZonePort
from kvmgen.model.platform import Platform
from kvmgen.render import firewalld
from tests.lab.host import LabHost
from tests.render.builders import host

ORIGIN = Origin("hosts/kvm01.yaml", ("firewall",))
BRIDGE = Origin("hosts/kvm01.yaml", ("bridges", "br0"))
MADE = "<!-- Made by kvmgen from inventory/hosts/kvm01.yaml: edit that and build again. -->"

FIREWALL = Firewall(
    origin=ORIGIN,
    chains=(DirectChain(family="ipv4", table="filter", chain="GUESTS", origin=ORIGIN),),
    rules=(
        DirectRule(
            family="ipv4",
            table="filter",
            chain="GUESTS",
            priority=0,
            rule='-m comment --comment "mail & <more>" -p tcp --dport 25 -j DROP',
            origin=ORIGIN,
        ),
        DirectRule(
            family="ipv6",
            table="mangle",
            chain="FORWARD",
            priority=-5,
            rule="-i br0 -o br0 -j DROP",
            origin=BRIDGE,
            why="Guests on br0 are apart --- from each other.",
        ),
    ),
    zones=(
        Zone(name="bare", origin=ORIGIN),
        Zone(
            name="guests",
            origin=BRIDGE,
            target="REJECT",
            description="For <guests> & more",
            interfaces=("br0", "br11"),
            sources=("192.168.200.0/24", "2001:db8::/64"),
            services=("ssh", "dhcpv6-client"),
            ports=(ZonePort(port="5900-5999", protocol="tcp"),),
            masquerade=True,
            forward=True,
        ),
    ),
)


def written(platform: str, firewall: Firewall | None = FIREWALL) -> dict[str, Artifact]:
    node = host(platform=Platform.parse(platform), firewall=firewall)
    return {file.path: file for file in firewalld.files(node)}


def test_chains_come_before_rules_and_reasons_are_comments() -> None:
    direct = written("el7")["etc/firewalld/direct.xml"]
    assert (
        direct.text
        == f"""<?xml version="1.0" encoding="utf-8"?>
{MADE}
<direct>
  <chain ipv='ipv4' table='filter' chain='GUESTS'/>
  <rule ipv='ipv4' table='filter' chain='GUESTS' priority='0'>-m comment --comment "mail &amp; &lt;more&gt;" \
-p tcp --dport 25 -j DROP</rule>
  <!-- Guests on br0 are apart - - - from each other. -->
  <rule ipv='ipv6' table='mangle' chain='FORWARD' priority='-5'>-i br0 -o br0 -j DROP</rule>
</direct>
"""
    )
    assert (direct.kind, direct.mode, direct.sources) == (Kind.FIREWALL, 0o644, (ORIGIN, BRIDGE))


@pytest.mark.parametrize(("platform", "backend"), [("el7", "iptables"), ("el8", "nftables"), ("el10", "nftables")])
def test_settings_are_written_where_one_is_said(platform: str, backend: str) -> None:
    (settings,) = written(platform, Firewall(origin=ORIGIN, ipv6_rpfilter=False)).values()
    assert (settings.path, settings.mode) == ("etc/firewalld/firewalld.conf", 0o644)
    assert (
        settings.text
        == f"""{MADE.replace("<!-- ", "# ").replace(" -->", "")}
DefaultZone=public
FirewallBackend={backend}
IPv6_rpfilter=no
"""
    )


def test_zones_in_firewallds_own_order() -> None:
    files = written("el8")
    assert (
        files["etc/firewalld/zones/guests.xml"].text
        == f"""<?xml version="1.0" encoding="utf-8"?>
{MADE}
<zone target='%%REJECT%%'>
  <short>guests</short>
  <description>For &lt;guests&gt; &amp; more</description>
  <service name='ssh'/>
  <service name='dhcpv6-client'/>
  <port port='5900-5999' protocol='tcp'/>
  <masquerade/>
  <interface name='br0'/>
  <interface name='br11'/>
  <source address='192.168.200.0/24'/>
  <source address='2001:db8::/64'/>
  <forward/>
</zone>
"""
    )
    assert (
        files["etc/firewalld/zones/bare.xml"].text
        == f"""<?xml version="1.0" encoding="utf-8"?>
{MADE}
<zone>
  <short>bare</short>
</zone>
"""
    )


@pytest.mark.parametrize(
    ("platform", "firewall", "paths"),
    [
        ("el7", None, []),
        ("el7", Firewall(origin=ORIGIN), []),
        ("el9", FIREWALL, ["etc/firewalld/zones/bare.xml", "etc/firewalld/zones/guests.xml"]),
    ],
)
def test_nothing_that_the_platform_or_the_inventory_does_not_ask_for(
    platform: str, firewall: Firewall | None, paths: list[str]
) -> None:
    assert list(written(platform, firewall)) == paths


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """The files as firewalld's configuration."""
    for path, file in written("el8").items():
        target = tmp_path / Path(path).relative_to("etc/firewalld")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.text)
    return tmp_path


def offline(configuration: Path, *arguments: str) -> str:
    command = ("firewall-offline-cmd", f"--system-config={configuration}", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


@pytest.mark.real
def test_firewalld_accepts_the_files(configured: Path) -> None:
    """It says nothing where all is well; a broken rule shows that it does look."""
    assert offline(configured, "--check-config") == ""
    direct = configured / "direct.xml"
    direct.write_text(direct.read_text().replace("ipv='ipv6'", "ipv='ipv5'"))
    with pytest.raises(subprocess.CalledProcessError):
        offline(configured, "--check-config")


@pytest.mark.real
def test_firewalld_reads_what_was_meant(configured: Path) -> None:
    assert offline(configured, "--direct", "--get-all-rules").splitlines() == [
        "ipv4 filter GUESTS 0 -m comment --comment 'mail & <more>' -p tcp --dport 25 -j DROP",
        "ipv6 mangle FORWARD -5 -i br0 -o br0 -j DROP",
    ]
    assert offline(configured, "--direct", "--get-all-chains") == "ipv4 filter GUESTS"
    zone = offline(configured, "--info-zone=guests").splitlines()
    assert {line.strip() for line in zone} >= {
        "target: %%REJECT%%",
        "interfaces: br0 br11",
        "sources: 192.168.200.0/24 2001:db8::/64",
        "services: dhcpv6-client ssh",
        "ports: 5900-5999/tcp",
        "forward: yes",
        "masquerade: yes",
    }


@pytest.mark.real
def test_firewalld_runs_with_the_files(configured: Path) -> None:
    """One rule that a live firewalld refuses would fail them all, which the offline check can't see."""
    with LabHost() as lab:
        assert lab.start_firewalld(configured) == "running"
        rules = lab.run("firewall-cmd", "--direct", "--get-all-rules").stdout
        assert len(rules.splitlines()) == len(FIREWALL.rules)
