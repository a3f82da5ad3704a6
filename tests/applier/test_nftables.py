"""What an apply does to a running host's nftables and firewalld policies, and for systemd's drop-ins.

The table has the shape of the rendered one, but for `meta ibrname`, which not every kernel that runs these tests has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.applier.folder import APPLIER, HOST, Image, files_of, put
from tests.lab.host import LabHost

pytestmark = pytest.mark.real

DONE, FAILED, PENDING, ROLLED_BACK = 0, 1, 3, 4
TABLE = "etc/nftables/kvmgen.nft"
DROP_IN = "etc/systemd/system/virtqemud.service.d/kvmgen-nftables.conf"
POLICY = "etc/firewalld/policies/apart.xml"
CONFIRMED = ("--confirm-within", "60")


def table(*ports: str) -> bytes:
    rules = "".join(f'\t\tiifname != "{port}" oifname != "{port}" drop\n' for port in ports)
    head = "table bridge kvmgen\ndelete table bridge kvmgen\ntable bridge kvmgen {\n\tchain forward {\n"
    return f"{head}\t\ttype filter hook forward priority filter; policy accept;\n{rules}\t}}\n}}\n".encode()


ISOLATED: Mapping[str, bytes] = {TABLE: table("eno1"), DROP_IN: b"[Service]\nExecStartPre=/usr/sbin/nft -f /x\n"}


class Running:
    """A laboratory host, and the folders that are applied to it."""

    def __init__(self, lab: LabHost, scratch: Path) -> None:
        self.lab = lab
        self.folder = scratch / "folder"

    def run(self, *words: str, code: int = DONE) -> str:
        done = self.lab.run("python3", "-I", str(APPLIER), *words, check=False, timeout=100)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def apply(self, contents: Mapping[str, bytes], *words: str, code: int = DONE) -> str:
        for path in self.folder.rglob("*"):
            path.unlink() if path.is_file() else None
        for name, content in files_of(contents).items():
            put(self.folder / name, content)
        said = self.run("apply", str(self.folder), "--host", HOST, *words, code=code)
        if words and code == DONE:
            self.run("confirm")
        return said

    def drift(self, code: int = PENDING) -> list[str]:
        found: list[str] = json.JSONDecoder().raw_decode(self.run("--json", "status", code=code))[0]["drift"]
        return found

    def loaded(self) -> str:
        return self.lab.run("nft", "-s", "list", "ruleset").stdout


@pytest.fixture
def host(lab_host: LabHost, tmp_path: Path) -> Running:
    return Running(lab_host, tmp_path)


def test_the_table_follows_its_file(host: Running) -> None:
    """It is loaded at once, replaced as a whole, seen where somebody changed it, and goes with the file."""
    assert "(live)" in host.apply(ISOLATED)
    assert 'iifname != "eno1"' in host.loaded()
    host.apply({**ISOLATED, TABLE: table("eno2")})
    assert 'iifname != "eno2"' in host.loaded()
    assert "eno1" not in host.loaded()
    assert host.drift(DONE) == []
    host.lab.run("nft", "insert", "rule", "bridge", "kvmgen", "forward", "accept")
    assert host.drift() == [f"nftables' table bridge kvmgen was changed: `nft -f /{TABLE}` loads it"]
    host.lab.run("nft", "flush", "ruleset")
    assert host.drift() == [f"nftables' table bridge kvmgen isn't loaded: `nft -f /{TABLE}` loads it"]
    host.run("rollback")
    assert 'iifname != "eno1"' in host.loaded()
    host.apply({})
    assert host.loaded() == ""


def test_a_table_that_nft_refuses_changes_nothing(host: Running) -> None:
    host.apply(ISOLATED)
    said = host.apply({TABLE: table("eno1").replace(b" drop", b" dorp")}, code=FAILED)
    assert "can't be loaded here" in said
    assert 'oifname != "eno1" drop' in host.loaded()


def test_a_later_failure_brings_the_old_table_back(host: Running) -> None:
    host.apply(ISOLATED)
    said = host.apply({TABLE: table("eno2")}, "--check-command", "false", code=ROLLED_BACK)
    assert 'iifname != "eno1"' in host.loaded(), said
    assert "eno2" not in host.loaded()


def test_a_host_without_nft_is_told_so(host: Running) -> None:
    host.lab.run("mkdir", "/run/lab/bin")
    for program in ("python3", "sh", "ip"):
        found = host.lab.run("which", program).stdout.strip()
        host.lab.run("ln", "-s", found, f"/run/lab/bin/{program}")
    for name, content in files_of(ISOLATED).items():
        put(host.folder / name, content)
    words = ("env", "PATH=/run/lab/bin", "python3", "-I", str(APPLIER), "apply", str(host.folder), "--host", HOST)
    done = host.lab.run(*words, check=False)
    assert (done.returncode, "install the package nftables" in done.stderr) == (FAILED, True), done.stderr


def test_an_image_gets_files_alone(tmp_path: Path) -> None:
    image = Image(tmp_path)
    image.offer(ISOLATED)
    image.apply()
    assert image.read(TABLE) == ISOLATED[TABLE]


def test_policies_are_held_to_their_files(host: Running) -> None:
    assert host.lab.start_firewalld() == "running"
    policy = (
        "<?xml version='1.0' encoding='utf-8'?>\n<policy target='DROP'><short>apart</short><service name='dns'/>"
        "<rule family='ipv4' priority='3'><source address='192.0.2.0/24'/><port port='22' protocol='tcp'/>"
        "<log prefix='ssh: ' level='info'/><accept/></rule>"
        "<ingress-zone name='dmz'/><egress-zone name='dmz'/></policy>\n"
    )
    host.apply({POLICY: policy.encode()}, *CONFIRMED)
    assert host.drift(DONE) == []
    host.lab.run("firewall-cmd", "--policy=apart", "--remove-service=dns")
    host.lab.run("firewall-cmd", "--policy=apart", "--add-rich-rule=rule service name=ssh accept")
    assert host.drift() == [
        "firewalld's policy apart doesn't have the service dns",
        'firewalld\'s policy apart also has the rule rule service name="ssh" accept',
    ]
