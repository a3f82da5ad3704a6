"""Where real systemd is process 1: what goes back by itself, also over a reboot, and the units."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applier.folder import HOST, IFCFG
from tests.applier.machine.host import APPLY, NETWORK, OLD, host_disk, network, offer, simple
from tests.applier.machine.image import OURS, make_disk
from tests.applier.machine.machine import Machine

pytestmark = pytest.mark.real

WAITING = "systemctl is-active --quiet 'kvmgen-apply-confirm-*'"
JOURNAL = "/var/lib/kvmgen/journal.json"
HAS_OLD = f"grep -q old /{IFCFG} && ! test -e {JOURNAL}"
LAB = "virsh --quiet --connect qemu:///system net-dumpxml lab"
HAS_NEW = f"grep -q new /{IFCFG} && ! test -e {JOURNAL}"


@pytest.fixture
def machine(parts: Path, tmp_path: Path) -> Iterator[Machine]:
    with Machine(parts, host_disk(tmp_path, simple("old", 0), simple("new", 1))) as machine:
        machine.wait_until_up()
        yield machine


def test_it_goes_back_though_the_session_and_the_run_were_killed(machine: Machine) -> None:
    words = "--confirm-within 12 --check-command 'touch /run/checked; sleep 60'"
    machine.expect(0, f'systemd-run --quiet --unit=session sh -c "{APPLY} {words}; true"')
    machine.eventually("test -e /run/checked")
    machine.expect(0, "systemctl kill --signal=KILL session.service")
    machine.eventually("! systemctl is-active --quiet session.service")
    machine.expect(0, f"{WAITING} && grep -q new /{IFCFG} && test -e {JOURNAL}")
    machine.eventually(f"! {WAITING} && {HAS_OLD} && test $(cat /proc/sys/net/ipv4/ip_forward) = 0")
    assert "the host is at generation 1" in machine.expect(0, "journalctl --quiet --unit='kvmgen-apply-confirm-*'")
    machine.expect(1, "systemctl is-failed --quiet 'kvmgen-apply-confirm-*'")

    machine.expect(0, f"{APPLY} --confirm-within 600 && {WAITING} && kvmgen-apply confirm")
    machine.expect(0, f"! {WAITING} && {HAS_NEW} && test $(cat /proc/sys/net/ipv4/ip_forward) = 1")


def test_before_the_network_starts_the_files_are_back_and_libvirt_follows(parts: Path, tmp_path: Path) -> None:
    old = simple("old", 0) | {NETWORK: network("old.example")}
    disk = host_disk(tmp_path, old, simple("new", 1) | {NETWORK: network("new.example")})
    with Machine(parts, disk) as machine:
        machine.wait_until_up()
        machine.expect(0, "systemctl enable kvmgen-apply-boot.service")
        machine.expect(0, f"kvmgen-apply apply {OLD} --host {HOST} && {APPLY} --confirm-within 600 && {HAS_NEW}")
        assert "new.example" in machine.expect(0, LAB)
        machine.send("systemctl reboot")
        machine.wait_for_end()
    with Machine(parts, disk) as machine:
        machine.wait_until_up()
        assert 'NAME="old"' in machine.expect(0, "cat /run/network/ifcfg-br0")
        assert machine.expect(0, "cat /run/forward") == "0\n"
        machine.eventually(HAS_OLD)
        assert "old.example" in machine.expect(0, LAB)
        machine.expect(0, "test ! -e /run/asked-too-early && ! systemctl is-failed --quiet 'kvmgen-apply*'")
        assert "nobody confirmed" in machine.expect(0, "kvmgen-apply history")


def test_the_service_pulls_and_applies_and_the_timer_waits(parts: Path, tmp_path: Path) -> None:
    host_disk(tmp_path, simple("old", 0), {})
    site, clone = tmp_path / "host/var/lib/site", tmp_path / "host/var/lib/kvmgen-site"
    offer(site / "output" / HOST, simple("old", 0))
    _git(site, "init", "--quiet", "--initial-branch=main")
    _commit(site)
    subprocess.run(["git", "clone", "--quiet", site, clone], check=True, timeout=30)
    _git(clone, "remote", "set-url", "origin", "/var/lib/site")
    offer(site / "output" / HOST, simple("new", 1))
    _commit(site)
    disk = make_disk(tmp_path, tmp_path / "host")
    with Machine(parts, disk) as machine:
        machine.wait_until_up()
        assert machine.expect(0, f"systemd-analyze verify {' '.join(OURS)}") == ""
        machine.expect(0, "systemctl enable --quiet --now kvmgen-apply.timer && systemctl start kvmgen-apply.service")
        machine.expect(0, f"{HAS_NEW} && test $(cat /proc/sys/net/ipv4/ip_forward) = 1")
        assert "kvmgen-apply.service" in machine.expect(0, "systemctl list-timers --no-pager")
        assert "Generation 2" in machine.expect(0, "journalctl --quiet --unit=kvmgen-apply.service")
        machine.expect(0, f"systemctl start kvmgen-apply.service && {HAS_NEW}")


def _commit(site: Path) -> None:
    _git(site, "add", ".")
    _git(site, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message=a")


def _git(place: Path, *words: str) -> None:
    subprocess.run(["git", "-C", place, *words], check=True, timeout=30)
