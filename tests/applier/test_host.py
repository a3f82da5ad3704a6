"""What an apply does to a running host besides libvirt: links, kernel settings, firewalld.

The host is one of the laboratory's, as root of its own files, so that the applier takes it for the machine it runs on.
systemd's programs, firewalld, libvirtd and the kernel are real; of network-scripts, which belong to no Debian release,
`network_scripts/` has a stand-in.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmgen.pipeline import build
from tests.lab.domain import as_testable, start_paused
from tests.lab.guest import LabGuest
from tests.lab.host import LabHost
from tests.sites import ROOT, SITE, write

pytestmark = pytest.mark.real

APPLIER = ROOT / "generator/applier/kvmgen_apply.py"
STAND_IN = Path(__file__).with_name("network_scripts")
SCRIPTS = "/etc/sysconfig/network-scripts"
DONE, FAILED, PENDING, ROLLED_BACK = 0, 1, 3, 4
KILLED = 99
PATIENCE = 20.0

HOST = "platform: el7\nmemory: 8 GiB\nmanagement: eno1\nethernets:\n  eno1: {addresses: [192.0.2.11/24]}\n"
BRIDGE = HOST + "  eno2: {}\nbridges:\n  br0: {ports: [eno2], addresses: [198.51.100.1/24]}\n"
OTHER_ADDRESS = BRIDGE.replace("198.51.100.1/24", "198.51.100.2/24")
CONFIRMED = ("--confirm-within", "60")


class Site:
    """A laboratory host and the folder that is built for it."""

    def __init__(self, lab: LabHost, scratch: Path) -> None:
        self.lab = lab
        self.scratch = scratch
        self.environment = {"PATH": "/run/lab/network-scripts:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.words: tuple[str, ...] = ()

    def folder(self, host: str, **others: str) -> Path:
        """Compile an inventory with this host."""
        for place in ("inventory", "output"):
            shutil.rmtree(self.scratch / place, ignore_errors=True)
        files = {f"{name.replace('__', '/')}.yaml": text for name, text in others.items()}
        write(self.scratch / "inventory", {"site.yaml": SITE, "hosts/kvm01.yaml": host, **files})
        result = build(self.scratch / "inventory", self.scratch / "output")
        assert result.is_good, result.diagnostics
        return self.scratch / "output/kvm01"

    def run(self, *words: str) -> tuple[int, str]:
        """Run the applier as the host's root; the exit code, and all that it said."""
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        argv = ["env", *environment, "python3", "-I", str(APPLIER), *words]
        # The laboratory takes 137 for its own time limit.
        renamed = f'"$@"; code=$?; test $code != 137 || exit {KILLED}; exit $code'
        done = self.lab.run("sh", "-c", renamed, "sh", *argv, check=False, timeout=100)
        return done.returncode, done.stdout + done.stderr

    def apply(self, host: str, *words: str, expect: int = DONE, **others: str) -> str:
        code, said = self.run("apply", str(self.folder(host, **others)), *words)
        assert code == expect, said
        if "--confirm-within" in words and code == DONE:
            assert self.run("confirm")[0] == DONE
        return said

    def status(self) -> dict[str, Any]:
        code, said = self.run("--json", "status")
        report: dict[str, Any] = json.JSONDecoder().raw_decode(said)[0]  # the log follows
        assert code == (PENDING if report["drift"] or report["pending"] else DONE)
        return report

    def links(self) -> list[str]:
        """What ifup and ifdown were asked for since the last time."""
        log = self.lab.file("/run/lab/ifup.log")
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def addresses(self, link: str) -> list[str]:
        rows = self.lab.run("ip", "-o", "-4", "address", "show", "dev", link, check=False).stdout.splitlines()
        return [row.split()[3] for row in rows]

    def has_link(self, link: str) -> bool:
        return self.lab.run("test", "-d", f"/sys/class/net/{link}", check=False).returncode == 0

    def setting(self, key: str) -> str:
        return self.lab.run("sysctl", "-n", key).stdout.strip()


@pytest.fixture
def site(lab_host: LabHost, tmp_path: Path) -> Iterator[Site]:
    """A host with two NICs that are wired to machines outside, and not in use."""
    lab_host.run("cp", "-r", str(STAND_IN), "/run/lab/network-scripts")
    lab_host.run("mkdir", "-p", SCRIPTS)
    with (
        LabGuest(lab_host, "outside1", tap="eno1", mac="52:54:00:00:01:01", addresses=["192.0.2.99/24"]),
        LabGuest(lab_host, "outside2", tap="eno2", mac="52:54:00:00:01:02", addresses=["198.51.100.99/24"]),
    ):
        lab_host.ip_batch(["link set eno1 down", "link set eno2 down"])
        yield Site(lab_host, tmp_path)


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- links -------------------------------------------------------------------------------------------------------------


def test_new_links_start_in_order_and_go_with_a_rollback(site: Site) -> None:
    site.apply(HOST)
    assert site.links() == ["ifup eno1"]
    site.apply(BRIDGE)
    assert site.links() == ["ifup eno2", "ifup br0"]
    assert site.addresses("br0") == ["198.51.100.1/24"]
    assert site.status()["pending"] == []
    assert site.run("rollback")[0] == DONE
    assert site.links() == ["ifdown br0", "ifdown eno2"]
    assert not site.has_link("br0")
    assert site.addresses("eno1") == ["192.0.2.11/24"]


def test_links_that_an_unhealthy_apply_started_are_stopped(site: Site) -> None:
    site.apply(HOST)
    site.apply(BRIDGE, "--check-command", "ip link show br0 && false", expect=ROLLED_BACK)
    assert not site.has_link("br0")
    assert site.status()["pending"] == []


def test_an_ifup_that_fails_rolls_back(site: Site) -> None:
    said = site.apply(BRIDGE.replace("eno2", "eno7"), expect=ROLLED_BACK)
    assert "ifup eno7: Device eno7 does not seem to be present" in said
    assert site.lab.run("ls", SCRIPTS).stdout == ""


def test_killed_within_ifup_the_next_run_puts_all_back(site: Site) -> None:
    site.apply(HOST)
    site.lab.write("/run/lab/kill", "kill -9 $PPID; exit\n")
    site.lab.run("sed", "-i", '/new_bridge "$DEVICE"/r /run/lab/kill', "/run/lab/network-scripts/ifup")
    said = site.apply(BRIDGE + "sysctl: {net.ipv4.ip_forward: 1}\n", expect=KILLED)
    assert site.has_link("br0"), said
    assert site.setting("net.ipv4.ip_forward") == "1"
    assert site.status()["drift"] == []
    assert not site.has_link("br0")
    assert site.lab.run("ls", SCRIPTS).stdout == "ifcfg-eno1\n"
    assert site.setting("net.ipv4.ip_forward") == "0"


def test_a_link_in_use_waits_until_it_is_named(site: Site) -> None:
    site.apply(BRIDGE)
    site.links()
    code, said = site.run("plan", str(site.folder(OTHER_ADDRESS)))
    assert code == PENDING
    assert "(later" in said
    site.apply(OTHER_ADDRESS)
    assert site.links() == []
    assert site.addresses("br0") == ["198.51.100.1/24"]
    waits = f"the link br0 runs with an older {SCRIPTS[1:]}/ifcfg-br0: --disruptive br0 restarts it"
    assert (site.status()["pending"], site.status()["drift"]) == ([waits], [])
    site.apply(OTHER_ADDRESS, "--disruptive", "br0")
    assert site.links() == ["ifdown br0", "ifup br0"]
    assert site.addresses("br0") == ["198.51.100.2/24"]
    assert site.status()["pending"] == []
    outside = site.lab.run("ping", "-c1", "-W2", "198.51.100.99", check=False)
    assert outside.returncode == 0, "the port is back on the bridge"
    # A rollback ends where the link last worked, not with the file that waited.
    assert site.run("rollback")[0] == DONE
    assert site.addresses("br0") == ["198.51.100.1/24"]


def test_a_change_taken_back_waits_no_more(site: Site) -> None:
    site.apply(BRIDGE)
    site.apply(OTHER_ADDRESS)
    site.apply(BRIDGE)
    assert site.status()["pending"] == []


def test_a_bridge_waits_for_the_nic_whose_address_it_takes(site: Site) -> None:
    moved = HOST.replace("eno1: {addresses: [192.0.2.11/24]}", "eno1: {}").replace(
        "management: eno1", "management: br0"
    )
    moved += "bridges:\n  br0: {ports: [eno1], addresses: [192.0.2.11/24]}\n"
    site.apply(HOST)
    site.links()
    site.apply(moved)
    assert site.links() == []
    pending = site.status()["pending"]
    assert any(line.startswith("the link br0 isn't up (it waits for eno1)") for line in pending), pending
    site.apply(moved, "--disruptive", "eno1", "--disruptive", "br0")
    assert site.links() == ["ifdown eno1", "ifup eno1", "ifup br0"]
    assert (site.addresses("eno1"), site.addresses("br0")) == ([], ["192.0.2.11/24"])


def test_a_vlan_goes_and_comes_with_its_parent(site: Site) -> None:
    vlan = BRIDGE + "  br5: {ports: [eno3.5]}\nvlans:\n  eno3.5: {parent: eno3, id: 5}\n"
    vlan = vlan.replace("  eno2: {}\n", "  eno2: {}\n  eno3: {}\n")
    with LabGuest(site.lab, "outside3", tap="eno3", mac="52:54:00:00:01:03"):
        site.lab.run("ip", "link", "set", "eno3", "down")
        site.apply(vlan)
        assert site.links() == [f"ifup {link}" for link in ("eno1", "eno2", "eno3", "eno3.5", "br0", "br5")]
        site.apply(vlan.replace("eno3: {}", "eno3: {mtu: 1400}"), "--disruptive", "eno3")
        assert site.links() == ["ifdown eno3.5", "ifdown eno3", "ifup eno3", "ifup eno3.5"]
        assert site.lab.run("ls", "/sys/class/net/br5/brif").stdout == "eno3.5\n"


def test_a_link_that_is_gone_from_the_inventory_runs_until_it_is_named(site: Site) -> None:
    site.apply(BRIDGE)
    site.links()
    site.apply(HOST + "  eno2: {}\n")
    assert site.links() == []
    assert site.status()["pending"] == [
        f"the link br0 still runs, and {SCRIPTS[1:]}/ifcfg-br0 is gone: it goes when the host starts anew",
        f"the link eno2 runs with an older {SCRIPTS[1:]}/ifcfg-eno2: --disruptive eno2 restarts it",
    ]
    assert site.run("rollback")[0] == DONE
    site.apply(HOST + "  eno2: {}\n", "--disruptive", "br0", "--disruptive", "eno2")
    assert not site.has_link("br0")
    assert site.run("rollback")[0] == DONE
    assert site.addresses("br0") == ["198.51.100.1/24"]


DOMAIN = """<domain type='kvm'><name>web01</name><memory unit='MiB'>32</memory><os><type arch='x86_64'>hvm</type></os>
<devices><emulator/><interface type='bridge'><mac address='52:54:00:00:02:01'/><source bridge='br0'/>
<target dev='tap-web01'/><model type='virtio'/></interface></devices></domain>"""


def test_a_guest_keeps_its_tap_on_a_bridge_that_is_restarted(site: Site) -> None:
    site.apply(BRIDGE)
    site.lab.start_libvirtd()
    start_paused(site.lab, as_testable(DOMAIN))
    on_bridge = site.lab.file("/sys/class/net/br0/brif/tap-web01")
    site.lab.run("bridge", "link", "set", "dev", "tap-web01", "isolated", "on")
    site.apply(OTHER_ADDRESS)
    assert site.links() == ["ifup eno1", "ifup eno2", "ifup br0"], "never by itself"
    code, said = site.run("plan", str(site.folder(OTHER_ADDRESS)), "--disruptive", "br0", "--json")
    change = json.loads(said)[0]
    assert (code, change["impact"], change["guests"]) == (PENDING, "network restart", ["web01"])
    site.apply(OTHER_ADDRESS, "--disruptive", "br0")
    assert site.links() == ["ifdown br0", "ifup br0"]
    assert site.lab.run("cat", f"{str(on_bridge).removeprefix(f'/proc/{site.lab.pid}/root')}/isolated").stdout == "1\n"
    # What a rollback would take away carries a guest by now: it stays.
    assert site.run("rollback", "0")[0] == DONE
    assert site.has_link("br0")


# -- the way in --------------------------------------------------------------------------------------------------------


def test_the_way_in_needs_a_confirmation(site: Site) -> None:
    """A session that came in by a bridge on a VLAN on a NIC."""
    inside = HOST + "  eno2: {}\nvlans:\n  eno2.5: {parent: eno2, id: 5}\n"
    inside += "bridges:\n  br0: {ports: [eno2.5], addresses: [198.51.100.1/24]}\n"
    site.apply(inside)
    site.environment["SSH_CONNECTION"] = "198.51.100.99 50000 198.51.100.1 22"
    for old, new in (
        ("198.51.100.1/24", "198.51.100.2/24"),
        ("eno2: {}", "eno2: {mtu: 1400}"),
        ("id: 5}", "id: 5, mtu: 1400}"),
    ):
        said = site.apply(inside.replace(old, new), expect=FAILED)
        assert "on the way that administrators come in" in said
    site.apply(inside.replace("[192.0.2.11/24]", "[192.0.2.12/24]"))
    # Another port of the bridge that they come in by, although nothing of it is there yet.
    joined = inside.replace("ports: [eno2.5]", "ports: [eno2.5, eno3]").replace(
        "  eno2: {}\n", "  eno2: {}\n  eno3: {}\n"
    )
    assert "ifcfg-eno3" in site.apply(joined, expect=FAILED)
    # Without a session it is the default route's link.
    del site.environment["SSH_CONNECTION"]
    site.lab.run("ip", "route", "add", "default", "via", "192.0.2.99")
    assert "ifcfg-eno1" in site.apply(inside, expect=FAILED)


def test_nobody_confirms_a_restarted_link(site: Site) -> None:
    """The file that waited is taken back as well: with it the link would be as unreachable as before."""
    site.apply(BRIDGE)
    site.apply(OTHER_ADDRESS)
    site.lab.run("ip", "route", "add", "default", "via", "198.51.100.99")
    folder = site.folder(OTHER_ADDRESS)
    assert site.run("apply", str(folder), "--disruptive", "br0")[0] == FAILED
    assert site.run("apply", str(folder), "--disruptive", "br0", "--confirm-within", "1")[0] == DONE
    until(lambda: site.addresses("br0") == ["198.51.100.1/24"])
    until(lambda: site.run("status")[0] == PENDING)
    assert site.status()["drift"], "the file isn't the last manifest's"


# -- kernel settings, modules, udev ------------------------------------------------------------------------------------

SYSCTL = HOST + "sysctl: {net.ipv4.ip_forward: 1, net.ipv4.ip_local_reserved_ports: 5900-5999}\n"


def test_kernel_settings_hold_and_go_back(site: Site) -> None:
    site.lab.run("sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=7000")
    site.apply(SYSCTL)
    assert site.setting("net.ipv4.ip_forward") == "1"
    assert site.setting("net.ipv4.ip_local_reserved_ports") == "5900-5999"
    site.lab.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    assert any("net/ipv4/ip_forward is 0, not 1" in line for line in site.status()["drift"])
    site.apply(SYSCTL.replace("5900-5999", "5900-5998"))
    assert site.setting("net.ipv4.ip_forward") == "1"
    site.apply(HOST)
    assert site.setting("net.ipv4.ip_local_reserved_ports") == "5900-5998", "no file says what it was"
    assert site.run("rollback", "0")[0] == DONE
    assert site.setting("net.ipv4.ip_local_reserved_ports") == "7000"
    assert site.setting("net.ipv4.ip_forward") == "0"


def test_a_later_file_of_others_that_wins_is_told(site: Site) -> None:
    site.lab.write("/etc/sysctl.d/99-others.conf", "net.ipv4.ip_forward = 0\nnet.ipv4.tcp_syncookies = 0\n")
    before = site.setting("net.ipv4.tcp_syncookies")
    said = site.apply(SYSCTL, expect=ROLLED_BACK)
    assert "the kernel's net/ipv4/ip_forward is 0, not 1" in said
    assert site.setting("net.ipv4.ip_local_reserved_ports") == ""
    assert site.setting("net.ipv4.tcp_syncookies") == before, "others' settings are theirs"


def test_what_the_kernel_doesnt_have_waits(site: Site) -> None:
    site.apply(HOST + "sysctl: {net.ipv4.no_such_setting: 1}\nfirewall: {bridge-netfilter: true}\n")
    pending = site.status()["pending"]
    assert "the kernel has no net/ipv4/no_such_setting yet, which is to be 1" in pending
    assert site.lab.run("ls", "/etc/udev/rules.d").stdout.split() == ["99-kvmgen-bridge.rules"]
    assert site.lab.run("cat", "/etc/modules-load.d/kvmgen-bridge.conf").stdout.endswith("br_netfilter\n")


def test_settings_that_can_lock_out_need_a_confirmation(site: Site) -> None:
    strict = HOST + "sysctl: {net.ipv4.conf.all.rp_filter: 1}\n"
    assert "--confirm-within" in site.apply(strict, expect=FAILED)
    site.apply(strict, *CONFIRMED)
    assert site.setting("net.ipv4.conf.all.rp_filter") == "1"


# -- firewalld ---------------------------------------------------------------------------------------------------------

RULE = "-i br0 -o br0 -m physdev --physdev-is-bridged ! --physdev-in eno2 ! --physdev-out eno2 -j DROP"
DIRECT = BRIDGE + (
    "firewall:\n  bridge-netfilter: true\n  direct:\n"
    f"    - {{family: both, table: mangle, chain: FORWARD, priority: 0, rule: '{RULE}'}}\n"
)
NETWORK = """hosts: {kvm01: {}}
forward: nat
bridge: {name: virbr7}
addresses: [203.0.113.1/24]
"""


def refuse(folder: Path, path: str, old: str, new: str) -> None:
    """Have a folder say something that its reader refuses, as no build would."""
    file, manifest = folder / path, folder / "manifest.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    before, after = (hashlib.sha256(content.encode()).hexdigest() for content in (text, file.read_text()))
    manifest.write_text(manifest.read_text().replace(before, after))


def test_firewalld_holds_what_was_put(site: Site) -> None:
    site.apply(BRIDGE)
    assert site.lab.start_firewalld() == "running"
    assert "--confirm-within" in site.apply(DIRECT, expect=FAILED)
    site.apply(DIRECT, *CONFIRMED)
    assert site.status()["drift"] == []
    mangle = site.lab.run("iptables-save", "-t", "mangle").stdout
    assert RULE.rsplit(maxsplit=1)[-1] in mangle
    site.lab.run("firewall-cmd", "--direct", "--remove-rules", "ipv4", "mangle", "FORWARD")
    assert site.status()["drift"] == [f"firewalld doesn't have the rule ipv4 mangle FORWARD 0 {RULE}"]


def test_a_rule_that_firewalld_refuses_rolls_back(site: Site) -> None:
    site.apply(BRIDGE)
    assert site.lab.start_firewalld() == "running"
    site.apply(DIRECT, *CONFIRMED)
    folder = site.folder(DIRECT.replace("-j DROP'", "-j ACCEPT'"))
    refuse(folder, "etc/firewalld/direct.xml", "-j ACCEPT", "-j NOWHERE")
    code, said = site.run("apply", str(folder), *CONFIRMED)
    assert (code, "NOWHERE" in said) == (ROLLED_BACK, True), said
    assert site.lab.run("firewall-cmd", "--state").stdout == "running\n"
    assert site.status()["drift"] == []


def test_files_for_a_firewalld_that_doesnt_run_wait(site: Site) -> None:
    site.apply(DIRECT, *CONFIRMED)
    assert "firewalld doesn't run: its files count when it starts" in site.status()["pending"]


def test_zones_follow(site: Site) -> None:
    zoned = BRIDGE.replace("el7", "el8.6").replace("[198.51.100.1/24]", "[198.51.100.1/24], zone: lan")
    zoned += "firewall:\n  zones:\n    lan: {services: [ssh], forward: true}\n"
    site.apply(zoned.replace(", forward: true", ""), *CONFIRMED)
    shutil.copytree(site.scratch / "output/kvm01/etc/firewalld", site.scratch / "firewalld")
    assert site.lab.start_firewalld(site.scratch / "firewalld") == "running"
    site.lab.run("firewall-cmd", "--zone=public", "--change-interface=br0")
    drift = "firewalld's zone lan doesn't have the interface br0"
    assert drift in site.status()["drift"]
    site.apply(zoned, *CONFIRMED)
    assert site.lab.run("firewall-cmd", "--get-zone-of-interface=br0").stdout == "lan\n"
    assert site.status()["drift"] == []
    site.lab.run("firewall-cmd", "--zone=lan", "--add-service=http")
    assert site.status()["drift"] == ["firewalld's zone lan also has the service http"]


def test_firewallds_settings_are_taken_over_by_name(site: Site) -> None:
    """A host has settings of its own: they stay until somebody says so, and a rollback brings them back."""
    bridge = BRIDGE.replace("el7", "el8.6")
    site.apply(bridge)
    assert site.lab.start_firewalld() == "running"
    own, file = site.lab.run("cat", "/etc/firewalld/firewalld.conf").stdout, "etc/firewalld/firewalld.conf"

    def filters() -> bool:
        return "fib saddr" in site.lab.run("nft", "list", "table", "inet", "firewalld").stdout

    assert filters()
    settings = bridge + "firewall: {ipv6-rpfilter: false}\n"
    assert f"--adopt {file}" in site.apply(settings, *CONFIRMED, expect=FAILED)
    site.apply(settings, *CONFIRMED, "--adopt", file)
    assert not filters()
    assert site.status()["drift"] == []
    site.run("rollback")
    assert site.lab.run("cat", f"/{file}").stdout == own
    assert filters()


SLOW_LIBVIRTD = """#!/bin/sh
libvirtd=$(cat /run/lab/libvirtd.pid)
if test "$1" = --reload; then
    kill -STOP $libvirtd
    (sleep 2; kill -CONT $libvirtd) >/dev/null 2>&1 &
fi
exec /usr/bin/firewall-cmd "$@"
"""


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_libvirts_rules_and_guests_survive_a_reload(site: Site, backend: Any) -> None:
    """A guest behind NAT with a filter of its own: what passed passes, what was dropped is dropped."""
    site.apply(BRIDGE + "sysctl: {net.ipv4.ip_forward: 1}\n")
    assert site.lab.start_firewalld(backend=backend) == "running"
    site.lab.start_libvirtd()
    site.apply(BRIDGE + "sysctl: {net.ipv4.ip_forward: 1}\n", networks__nat=NETWORK)
    rules = "<rule action='drop' direction='out' priority='500'><icmp dstipaddr='198.51.100.98'/></rule>"
    site.lab.run("ip", "-n", "outside2", "address", "add", "198.51.100.98/24", "dev", "eth0")
    with LabGuest(
        site.lab,
        "web01",
        tap="tap-web01",
        mac="52:54:00:00:02:01",
        bridge="virbr7",
        addresses=["203.0.113.7/24"],
        gateways=["203.0.113.1"],
    ) as guest:
        guest.bind_filter(f"<filter name='half' chain='root'>{rules}</filter>")

        def flows() -> tuple[bool, bool]:
            return guest.ping("198.51.100.99").all_answered, guest.ping("198.51.100.98", count=1).all_answered

        until(lambda: guest.ping("203.0.113.1").all_answered)  # the bridge's STP holds the first packets back
        assert flows() == (True, False)
        # However long libvirtd takes to hear of the reload, its rules are back before anything else happens.
        site.lab.write("/run/lab/network-scripts/firewall-cmd", SLOW_LIBVIRTD, mode=0o755)
        back = ("--check-command", "iptables -S LIBVIRT_FWI | grep virbr7 && iptables -S FI-tap-web01")
        site.apply(DIRECT + "sysctl: {net.ipv4.ip_forward: 1}\n", *CONFIRMED, *back, networks__nat=NETWORK)
        site.lab._daemons["libvirtd"].send_signal(signal.SIGCONT)  # the nsenter that started it stopped with it
        assert flows() == (True, False)
        assert site.status()["drift"] == []
