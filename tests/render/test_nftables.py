"""What keeps the guests of a bridge apart, by platform: as text, and as systemd reads the drop-in."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from kvmgen.artifact import Artifact, Kind
from kvmgen.inventory.isolation import tap_in_group, tap_prefix
from kvmgen.model.site import views
from kvmgen.pipeline import load
from kvmgen.render import nftables, render
from tests.sites import SITE, write

BRIDGES: dict[str, dict[str, object]] = {
    "br11": {"ports": ["eno1"]},
    "br12": {},
    "br13": {"ports": ["eno2", "eno3"], "stp": True},
}


def rendered(folder: Path, platform: str) -> dict[str, Artifact]:
    bridges = {name: {**said, "forward-delay": 4, "isolation": "guests"} for name, said in BRIDGES.items()}
    host = {"platform": platform, "ethernets": {"eno1": {}, "eno2": {}, "eno3": {}}, "bridges": bridges}
    result = load(write(folder, {"site.yaml": SITE, "hosts/kvm01.yaml": json.dumps(host)}))
    assert result.is_good, result.diagnostics
    assert result.site is not None
    (view,) = views(result.site)
    return {file.path: file for file in render(view)}


def test_a_table_of_the_bridge_family(tmp_path: Path) -> None:
    files = rendered(tmp_path, "el9")
    table = files[nftables.PATH]
    assert (
        "".join(line for line in table.text.splitlines(keepends=True) if not line.startswith("#"))
        == """\
table bridge kvmgen
delete table bridge kvmgen
table bridge kvmgen {
	chain forward {
		type filter hook forward priority filter; policy accept;
		meta ibrname "br11" iifname != "eno1" oifname != "eno1" drop
		meta ibrname "br12" drop
		meta ibrname "br13" iifname != { "eno2", "eno3" } oifname != { "eno2", "eno3" } drop
	}
}
"""
    )
    assert [str(source.pointer[-1]) for source in table.sources] == ["isolation"] * 3
    assert not any("br_netfilter" in file.text for file in files.values() if file.kind is not Kind.FIREWALL)
    assert not any("firewalld" in path for path in files)


@pytest.mark.parametrize("platform", ["el6", "el7", "el8.5"])
def test_a_rule_of_iptables_for_both_families(platform: str, tmp_path: Path) -> None:
    """With the bridge netfilter that it needs."""
    files = rendered(tmp_path, platform)
    only = "-m physdev --physdev-is-bridged"
    eno2, eno3 = (f"! --physdev-in {port} ! --physdev-out {port}" for port in ("eno2", "eno3"))
    rules = (
        f"-i br11 -o br11 {only} ! --physdev-in eno1 ! --physdev-out eno1 -j DROP",
        f"-i br12 -o br12 {only} -j DROP",
        f"-i br13 -o br13 {only} {eno2} -m physdev {eno3} -j DROP",
    )
    texts = [file.text for file in files.values() if file.kind is Kind.FIREWALL]
    assert [sum(text.count(rule) for text in texts) for rule in rules] == [2, 2, 2]
    assert any("bridge-nf-call-ip6tables = 1" in file.text for file in files.values())


def grouped(folder: Path, platform: str) -> dict[str, Artifact]:
    """A bridge that isolates all, one with two groups, and libvirt's networks with each of their words."""
    host = {"platform": platform, "ethernets": {"eno1": {}, "eno2": {}, "eno3": {}}}
    bridges = {"br11": {"ports": ["eno1", "eno2"], "isolation": "all"}, "br12": {"isolation": "groups"}}
    files = {"site.yaml": SITE, "hosts/kvm01.yaml": json.dumps({**host, "bridges": bridges})}
    for name, word, own in (("apart", "guests", "192.0.2.1/24"), ("teams", "groups", "2001:db8::1/64")):
        network = {"hosts": {"kvm01": {}}, "forward": "isolated", "bridge": {"name": f"virbr-{name}"}}
        files[f"networks/{name}.yaml"] = json.dumps({**network, "addresses": [own], "isolation": word})
    for guest, group in (("web", "shop"), ("desk", "back-office")):
        plugs: dict[str, dict[str, str]] = {"eth0": {"bridge": "br12"}, "eth1": {"network": "teams"}}
        nics = {name: {**plug, "isolation-group": group} for name, plug in plugs.items()}
        files[f"guests/{guest}.yaml"] = json.dumps({"hosts": ["kvm01"], "memory": "1 GiB", "interfaces": nics})
    result = load(write(folder, files))
    assert result.site is not None, result.diagnostics
    (view,) = views(result.site)
    return {file.path: file for file in render(view)}


def test_groups_all_and_networks_in_the_table(tmp_path: Path) -> None:
    files = grouped(tmp_path, "el9")
    assert [line.strip() for line in files[nftables.PATH].text.splitlines() if "ibrname" in line] == [
        'meta ibrname "br11" iifname != { "eno1", "eno2" } drop',
        'meta ibrname "br11" oifname != { "eno1", "eno2" } drop',
        *(f'meta ibrname "br12" iifname "{name}-*" oifname "{name}-*" accept' for name in ("gba42d", "shop")),
        'meta ibrname "br12" drop',
        *(f'meta ibrname "virbr-teams" iifname "{name}-*" oifname "{name}-*" accept' for name in ("gba42d", "shop")),
        'meta ibrname "virbr-teams" drop',
        'meta ibrname "virbr-apart" ip daddr 192.0.2.0/24 ip daddr != { 192.0.2.1, 192.0.2.255 } drop',
        'meta ibrname "virbr-teams" ip6 daddr 2001:db8::/64 ip6 daddr != 2001:db8::1 drop',
    ]
    assert "<port isolated='yes'/>" in files["libvirt/networks/apart.xml"].text
    assert "<port isolated='yes'/>" not in files["libvirt/networks/teams.xml"].text


@pytest.mark.parametrize(("platform", "by_ports"), [("el6", False), ("el7", False), ("el8.6", True)])
def test_groups_all_and_networks_by_iptables(platform: str, by_ports: bool, tmp_path: Path) -> None:
    """A group's accept comes before the drop: firewalld keeps no order among rules of one priority."""
    files = grouped(tmp_path, platform)
    texts = "".join(file.text for file in files.values() if file.kind is Kind.FIREWALL)
    bridged = "-m physdev --physdev-is-bridged"
    accept = f"-i br12 -o br12 {bridged} --physdev-in shop-+ --physdev-out shop-+ -j ACCEPT"
    for rule in (
        f"-i br11 -o br11 {bridged} ! --physdev-in eno1 -m physdev ! --physdev-in eno2 -j DROP",
        f"-i br11 -o br11 {bridged} ! --physdev-out eno1 -m physdev ! --physdev-out eno2 -j DROP",
        *(accept, f"-i br12 -o br12 {bridged} -j DROP"),
        *(f"-i virbr-{name} -o virbr-{name} -j DROP" for name in ("apart", "teams")),
    ):
        assert texts.count(rule) == 2, rule
    assert platform == "el6" or f"priority='-10001'>{accept}" in texts
    assert texts.index(accept) < texts.index(f"-i br12 -o br12 {bridged} -j DROP")
    assert ("<port isolated='yes'/>" in files["libvirt/networks/apart.xml"].text) is by_ports


def test_the_names_of_a_groups_taps(tmp_path: Path) -> None:
    """A short group's own name; of others, and of those that libvirt would drop, a part and a hash."""
    prefixes = [tap_prefix(group) for group in ("shop", "back-office", "vnet1", "vif", "sixsix", "g-1", "a")]
    assert [prefixes[at] for at in (0, 4, 6)] == ["shop-", "sixsix-", "a-"]
    assert all(re.fullmatch(r"g..?[0-9a-f]{3}-", prefixes[at]) for at in (1, 2, 3, 5))
    assert len(set(prefixes)) == len(prefixes)
    assert not any(one != other and one.startswith(other) for one in prefixes for other in prefixes)
    assert all(len(tap_in_group(group, "a-guest", "eth0")) <= 15 for group in ("sixsix", "back-office"))
    domain = grouped(tmp_path, "el9")["libvirt/domains/web.xml"].text
    assert f"<target dev='{tap_in_group('shop', 'web', 'eth0')}'/>" in domain


@pytest.mark.real
def test_systemd_takes_the_drop_ins(tmp_path: Path) -> None:
    """systemd-analyze looks at each daemon's unit with its drop-in, and would tell of a word that it doesn't know."""
    files = [file for file in rendered(tmp_path / "inventory", "el10").values() if file.kind is Kind.UNIT]
    assert len(files) == 2
    for file in files:
        units = tmp_path / file.path.removeprefix("etc/systemd/system/")
        write(tmp_path, {str(units): file.text.replace("/usr/sbin/nft", "/bin/true")})
        name = units.parent.name.removesuffix(".d")
        write(tmp_path, {name: "[Service]\nExecStart=/bin/true\n"})
        command = ("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / name))
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
