"""A laboratory host keeps to itself, says what is wrong, and leaves nothing behind."""

import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.guest import LabGuest
from tests.lab.host import ENVIRONMENT, Backend, LabError, LabHost
from tests.lab.netns import in_netns
from tests.lab.probe import Wire

pytestmark = pytest.mark.real

PROJECT = Path(__file__).parents[2]
DIRECT_XML = """\
<?xml version="1.0" encoding="utf-8"?>
<direct>
  <rule ipv="ipv4" table="mangle" chain="FORWARD" priority="0">-i br0 -o br0 -j DROP</rule>
  <rule ipv="ipv6" table="mangle" chain="FORWARD" priority="0">-i br0 -o br0 -j DROP</rule>
</direct>
"""


def processes_in(pid_namespace: int) -> list[int]:
    """The processes of a pid namespace that the caller holds open, so that its number can't be used again."""
    wanted = os.fstat(pid_namespace).st_ino
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "ns/pid").stat().st_ino == wanted:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def machine_state() -> tuple[list[str], list[str], int]:
    """The machine's own interfaces and mounts, and how many namespaces this process holds open."""
    links = sorted(os.listdir("/sys/class/net"))
    mounts = sorted(line.split(" ", 4)[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    held = [link for link in map(target_of, Path("/proc/self/fd").iterdir()) if link.startswith("net:")]
    return links, mounts, len(held)


def target_of(link: Path) -> str:
    """What a symlink says, nothing where it is gone."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


def a_test_that_fails(namespaces: list[int]) -> None:
    """Start everything that could be left behind, then fail."""
    with LabHost() as host:
        namespaces.append(os.open(f"/proc/{host.pid}/ns/pid", os.O_RDONLY))
        host.start_libvirtd()
        host.add_bridge("br0")
        LabGuest(host, "web01", tap="vnet-web01-0", mac="52:54:00:00:00:01", bridge="br0").start()
        host.spawn("sleep", "50", timeout=60)
        assert len(processes_in(namespaces[0])) >= 3
        raise ZeroDivisionError


def test_nothing_is_left_after_a_test_that_fails() -> None:
    before = machine_state()
    namespaces: list[int] = []
    with pytest.raises(ZeroDivisionError):
        a_test_that_fails(namespaces)
    (namespace,) = namespaces
    assert processes_in(namespace) == []
    os.close(namespace)
    assert machine_state() == before


def test_nothing_is_left_after_the_test_process_is_killed() -> None:
    program = """
import sys, time
from tests.lab.host import LabHost
with LabHost() as host:
    host.start_libvirtd()
    print(host.pid, flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert holder.stdout is not None
    ready, _, _ = select.select([holder.stdout], [], [], 15)
    assert ready, "the host did not start"
    namespace = os.open(f"/proc/{int(holder.stdout.readline())}/ns/pid", os.O_RDONLY)
    assert processes_in(namespace)
    holder.kill()
    holder.wait(timeout=5)
    deadline = time.monotonic() + 5
    while processes_in(namespace) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_in(namespace) == []
    os.close(namespace)
    holder.stdout.close()


def test_the_machine_is_out_of_reach(lab_host: LabHost) -> None:
    lab_host.write("/etc/kvmgen-lab-was-here", "only in the namespace\n", mode=0o600)
    assert lab_host.run("stat", "-c", "%a", "/etc/kvmgen-lab-was-here").stdout == "600\n"
    assert not Path("/etc/kvmgen-lab-was-here").exists()
    with pytest.raises(LabError, match="isn't the host's own"):
        lab_host.write("/tmp/anything", "")
    with pytest.raises(LabError, match="isn't the host's own"):
        lab_host.write("/etc/../tmp/anything", "")
    links = lab_host.run("ls", "/sys/class/net").stdout.split()
    assert links == ["lo"]
    assert lab_host.run("sysctl", "-w", "kernel.panic=0", check=False).returncode != 0
    assert lab_host.run("hostname").stdout == "kvm01\n"


def test_sys_can_be_read_only() -> None:
    with LabHost(sys_read_only=True) as host:
        assert " /sys sysfs ro," in host.run("cat", "/proc/mounts").stdout


def test_libvirtd_can_be_restarted(lab_host: LabHost) -> None:
    lab_host.start_libvirtd()
    assert lab_host.virsh("net-list", "--all", "--name").stdout.split() == []
    lab_host.virsh_with("net-define", "<network><name>lan</name></network>")
    lab_host.start_libvirtd()
    assert lab_host.virsh("net-list", "--all", "--name").stdout.split() == ["lan"]


def test_a_command_is_killed_after_its_timeout(lab_host: LabHost) -> None:
    with pytest.raises(LabError, match=r"no end after 0\.2 s"):
        lab_host.run("sleep", "61.25", timeout=0.2)
    assert "61.25" not in lab_host.run("ps", "axo", "args").stdout


def test_a_missing_real_part_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"needs unshare, which isn't installed: install the package util-linux"):
        LabHost().start()


def test_without_root_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="needs root"):
        LabHost().start()


def test_what_goes_wrong_inside_the_namespaces_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "init.py"
    broken.write_text("print('one line')\nraise SystemExit('and the reason')\n")
    monkeypatch.setattr("tests.lab.host.INIT", broken)
    with pytest.raises(LabError, match="one line\nand the reason"):
        LabHost().start()


# -- namespaces --------------------------------------------------------------------------------------------------------


def test_work_in_a_namespace_leaves_the_test_where_it_was(lab_host: LabHost) -> None:
    before = os.readlink("/proc/thread-self/ns/net")
    assert in_netns(lab_host, lambda: os.readlink("/proc/thread-self/ns/net")) != before
    assert os.readlink("/proc/thread-self/ns/net") == before
    with pytest.raises(OSError, match="no interface with this name"):
        Wire(lab_host, "eth0")


# -- firewalld ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_firewalld_loads_direct_rules(lab_host: LabHost, backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "direct.xml").write_text(DIRECT_XML)
    assert lab_host.start_firewalld(tmp_path, backend) == "running"
    rules = lab_host.run("firewall-cmd", "--direct", "--get-all-rules").stdout.splitlines()
    assert rules == [f"{family} mangle FORWARD 0 -i br0 -o br0 -j DROP" for family in ("ipv4", "ipv6")]
    for command in ("iptables", "ip6tables"):
        assert "-i br0 -o br0 -j DROP" in lab_host.run(f"{command}-save", "-t", "mangle").stdout
    zone_table = "table inet firewalld" in lab_host.run("nft", "list", "tables").stdout
    assert zone_table == (backend == "nftables")
    assert lab_host.run("firewall-cmd", "--get-default-zone").stdout == "public\n"


def test_one_bad_direct_rule_is_a_failed_state(lab_host: LabHost, tmp_path: Path) -> None:
    (tmp_path / "direct.xml").write_text(DIRECT_XML.replace("DROP", "NO_SUCH_TARGET"))
    assert lab_host.start_firewalld(tmp_path) == "failed"
    shutil.rmtree(tmp_path)
    assert lab_host.start_firewalld() == "running"
