"""What keeps the guests of a bridge apart, by platform: as text, and as systemd reads the drop-in."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from kvmgen.artifact import Artifact, Kind
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
