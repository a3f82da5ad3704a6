"""What an apply does to links that NetworkManager has: the real one, in a laboratory host with its own message bus.

A guest's tap has a port priority of its own on the bridge. That is lost once the tap leaves, so that a tap which has it
has never left; one that was given back has its isolation only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applier.folder import applier_module
from tests.applier.managed_links import (
    BR0,
    BRIDGED,
    DONE,
    ENO1,
    ENO2,
    FAILED,
    OTHER_ADDRESS,
    OTHER_MAC,
    PROFILES,
    ROLLED_BACK,
    SCRIPTS,
    Site,
    keyfile,
    uuid_of,
)
from tests.applier.test_host import BRIDGE, KILLED, STAND_IN, until
from tests.lab.guest import LabGuest
from tests.lab.host import LabHost

pytestmark = pytest.mark.real

AUTO_DEFAULT = "[main]\nplugins=keyfile\n"
UNMOVED = {"master": "br0", "isolated": True, "priority": 7}
GIVEN_BACK = {**UNMOVED, "priority": 32}


@pytest.fixture
def site(lab_host: LabHost, tmp_path: Path) -> Iterator[Site]:
    """A host with two NICs that are wired to machines outside, and have no profile."""
    with (
        LabGuest(lab_host, "outside1", tap="eno1", mac="52:54:00:00:01:01", addresses=["192.0.2.99/24"]),
        LabGuest(lab_host, "outside2", tap="eno2", mac="52:54:00:00:01:02", addresses=["198.51.100.99/24"]),
    ):
        lab_host.start_networkmanager()
        yield Site(lab_host, tmp_path)


def test_links_come_up_and_go_with_a_rollback(site: Site) -> None:
    before = site.kernel()
    assert site.impacts(BRIDGED) == dict.fromkeys(BRIDGED, ("create", "live"))
    site.apply({"eno1": ENO1})
    site.apply(BRIDGED)
    assert site.active() == {name: uuid_of(name) for name in BRIDGED}
    assert (site.addresses("eno1"), site.addresses("br0")) == (["192.0.2.11/24"], ["198.51.100.1/24"])
    assert site.reaches_outside()
    assert site.status() == ([], [])
    assert site.lab.run("stat", "-c%a %u", f"{PROFILES}/br0.nmconnection").stdout == "600 0\n"
    site.rollback("0")
    assert (site.kernel(), site.active(), site.profiles()) == (before, {}, {})
    assert [row for row in site.nmcli("-f", "UUID", "connection") if row in map(uuid_of, BRIDGED)] == []


def test_what_a_link_takes_as_it_runs_cuts_nobody_off(site: Site) -> None:
    site.apply(BRIDGED)
    site.plug_in()
    changed = {**BRIDGED, "br0": OTHER_ADDRESS}
    assert site.impacts(changed) == {"br0": ("change", "live")}
    site.apply(changed)
    assert site.addresses("br0") == ["198.51.100.2/24"]
    assert site.kernel()["br0"][1] == 1400
    assert site.plugged() == UNMOVED
    assert site.status() == ([], [])
    # What is still below the change is no reason to restart: NetworkManager takes it back as well.
    site.rollback()
    assert (site.addresses("br0"), site.plugged()) == (["198.51.100.1/24"], UNMOVED)
    site.apply(changed, "--check-command", "false", expect=ROLLED_BACK)
    assert (site.addresses("br0"), site.plugged()) == (["198.51.100.1/24"], UNMOVED)


def test_what_needs_a_restart_waits_until_it_is_named(site: Site) -> None:
    site.apply(BRIDGED)
    site.plug_in()
    changed = {**BRIDGED, "br0": OTHER_MAC}
    assert site.impacts(changed) == {"br0": ("change", "later")}
    site.apply(changed)
    assert (site.addresses("br0"), site.plugged()) == (["198.51.100.1/24"], UNMOVED)
    waits = f"the link br0 runs with an older {PROFILES[1:]}/br0.nmconnection: --disruptive br0 restarts it"
    assert site.status() == ([], [waits])
    # A change that could be made by itself waits with the one that can't, until that is taken back.
    site.apply({**BRIDGED, "br0": {**OTHER_MAC, "ipv4.address1": "198.51.100.4/24"}})
    assert site.addresses("br0") == ["198.51.100.1/24"]
    site.apply({**BRIDGED, "br0": OTHER_ADDRESS})
    assert (site.addresses("br0"), site.plugged(), site.status()) == (["198.51.100.2/24"], UNMOVED, ([], []))

    before = site.kernel(), site.active()
    site.apply(changed, "--disruptive", "br0")
    assert (site.addresses("br0"), site.plugged()) == (["198.51.100.3/24"], GIVEN_BACK)
    assert site.reaches_outside(), "the uplink is back on the bridge"
    assert site.status() == ([], [])
    site.rollback()
    until(lambda: (site.kernel(), site.active()) == before)
    assert site.plugged() == GIVEN_BACK
    assert site.reaches_outside()


KILLING = """#!/bin/sh
case "$*" in *"connection up uuid {0}"*) kill -9 $PPID; sleep 9; esac
exec /usr/bin/nmcli "$@"
"""


@pytest.mark.parametrize("code", [ROLLED_BACK, KILLED])
def test_what_fails_or_is_killed_ends_where_it_began(site: Site, code: int) -> None:
    """One link is new, one restarts and one port goes; the host isn't well, or the bridge is down when the run ends."""
    site.apply({"eno2": ENO2, "br0": BR0})
    site.plug_in()
    before = site.kernel(), site.active(), site.profiles()
    words = ("--disruptive", "eno2", "--check-command", "ip address show br0 | grep 198.51.100.3 && false")
    if code == KILLED:
        site.lab.write("/run/lab/bin/nmcli", KILLING.format(uuid_of("br0")), mode=0o755)
        site.environment["PATH"] = f"/run/lab/bin:{site.environment['PATH']}"
    site.disruptively({"eno1": ENO1, "br0": OTHER_MAC}, *words, expect=code)
    if code == KILLED:
        assert not site.has_link("br0")
        site.lab.run("rm", "/run/lab/bin/nmcli")
        assert site.status() == ([], [])
    until(lambda: (site.kernel(), site.active(), site.profiles()) == before)
    assert site.plugged() == GIVEN_BACK
    assert site.reaches_outside()


def test_the_way_in_goes_back_unless_it_is_confirmed(site: Site) -> None:
    site.apply(BRIDGED)
    site.plug_in()
    site.environment["SSH_CONNECTION"] = "198.51.100.99 50000 198.51.100.1 22"
    changed = {**BRIDGED, "br0": OTHER_ADDRESS}
    assert "on the way that administrators come in" in site.apply(changed, expect=FAILED)
    site.apply(changed, "--confirm-within", "1")
    until(lambda: site.addresses("br0") == ["198.51.100.1/24"])
    until(lambda: site.status() == ([], []))
    assert site.plugged() == UNMOVED


def test_a_bridge_waits_for_the_nic_whose_address_it_takes(site: Site) -> None:
    """It isn't even told to NetworkManager, which would start it by itself."""
    site.apply({"eno2": {**ENO1, "ipv4.address1": "198.51.100.1/24"}})
    moved = {"eno2": ENO2, "br0": BR0}
    site.apply(moved)
    assert (site.addresses("eno2"), site.has_link("br0")) == (["198.51.100.1/24"], False)
    assert any(line.startswith("the link br0 isn't up (it waits for eno2)") for line in site.status()[1])
    site.disruptively(moved)
    assert (site.addresses("eno2"), site.addresses("br0")) == ([], ["198.51.100.1/24"])
    site.rollback()
    until(lambda: site.addresses("eno2") == ["198.51.100.1/24"])
    assert not site.has_link("br0")


def test_a_switchs_interfaces_are_told_from_what_is_behind_them() -> None:
    """Open vSwitch isn't in the laboratory: what the profiles say of each other is all that can be judged here."""
    profiles = {
        "eno2": {"type": "ethernet", "master": uuid_of("eno2 port"), "slave-type": "ovs-port"},
        "eno2.ovs-port": {"type": "ovs-port", "master": uuid_of("br0 bridge"), "slave-type": "ovs-bridge"},
        "br0": {"type": "ovs-interface", "master": uuid_of("br0 port"), "slave-type": "ovs-port"},
        "br0.ovs-port": {"type": "ovs-port", "master": uuid_of("br0 bridge"), "slave-type": "ovs-bridge"},
        "br0.ovs-bridge": {"type": "ovs-bridge"},
    }
    texts = {}
    for name, settings in profiles.items():
        device, _, kind = name.partition(".ovs-")
        texts[f"{PROFILES[1:]}/{name}.nmconnection"] = keyfile(device, settings, f"{device} {kind}".strip())
    applier = applier_module()
    links = applier.links_of(applier.Host(), texts)
    found = {link.path.rpartition("/")[2]: link.controller for link in links.values()}
    assert found == {"eno2.nmconnection": "br0", "br0.nmconnection": None}
    assert {applier.device_of({"path": path}) for path in texts} == {"eno2", "br0"}


ZONE = '<?xml version="1.0" encoding="utf-8"?>\n<zone><service name="ssh"/></zone>\n'


def test_a_link_moves_to_a_zone_that_comes_with_it(site: Site) -> None:
    assert site.lab.start_firewalld() == "running"
    site.apply(BRIDGED)
    site.offer({**BRIDGED, "br0": {**BR0, "zone": "lan"}}, {"etc/firewalld/zones/lan.xml": ZONE})
    site.apply_offered("--confirm-within", "60")
    assert site.run("confirm")[0] == DONE
    until(lambda: site.lab.run("firewall-cmd", "--get-zone-of-interface=br0").stdout == "lan\n")


# -- others ------------------------------------------------------------------------------------------------------------


def test_a_device_never_has_two_profiles(site: Site) -> None:
    """One that it ran by is removed with its user's leave, and is what it runs by again after a rollback."""
    theirs = f"{PROFILES}/made by the installer.nmconnection"
    site.lab.write(theirs, keyfile("eno1", {**ENO1, "ipv4.address1": "192.0.2.12/24"}, "installer"), mode=0o600)
    site.lab.run("nmcli", "connection", "load", theirs)
    until(lambda: site.addresses("eno1") == ["192.0.2.12/24"])
    said = site.apply({"eno1": ENO1}, expect=FAILED)
    assert f"{theirs}: it is for eno1 as well" in said
    assert f"--adopt '{theirs[1:]}'" in said
    site.apply({"eno1": ENO1}, "--adopt", theirs[1:])
    assert site.addresses("eno1") == ["192.0.2.12/24"], "in use: it waits"
    assert site.status()[1] == [
        f"the link eno1 wasn't started with {PROFILES[1:]}/eno1.nmconnection: --disruptive eno1 restarts it"
    ]
    site.disruptively({"eno1": ENO1})
    assert (site.addresses("eno1"), site.active()) == (["192.0.2.11/24"], {"eno1": uuid_of("eno1")})
    site.rollback("0")
    until(lambda: site.addresses("eno1") == ["192.0.2.12/24"])
    assert (site.active(), list(site.profiles())) == ({"eno1": uuid_of("installer")}, [Path(theirs).name])


def test_files_of_others_for_our_devices(site: Site) -> None:
    for path, text in {
        f"{PROFILES}/any.nmconnection": keyfile("", {"type": "ethernet"}, "any"),
        f"{SCRIPTS}/ifcfg-System_br0": "TYPE=Bridge\nDEVICE=br0\n",
    }.items():
        site.lab.write(path, text, mode=0o600)
        said = site.apply(BRIDGED, expect=FAILED)
        assert f"{path}: it is for {'eno1, eno2' if 'any' in path else 'br0'} as well" in said
        site.lab.run("rm", path)
    others = {f"{SCRIPTS}/ifcfg-br0.bak": "DEVICE=br0\n", f"{PROFILES}/wlan0.nmconnection": keyfile("wlan0", ENO1)}
    for path, text in others.items():
        site.lab.write(path, text, mode=0o600)
    site.apply(BRIDGED)


def test_a_nic_that_nobody_uses_is_started(site: Site) -> None:
    """NetworkManager made a profile of its own for it, and waits for DHCP; a rollback goes back to that."""
    site.lab.start_networkmanager(AUTO_DEFAULT)
    until(lambda: {"eno1", "eno2"} <= set(site.active()))
    before = site.active()
    site.apply(BRIDGED)
    assert site.active() == {name: uuid_of(name) for name in BRIDGED}
    site.plug_in()
    site.apply({**BRIDGED, "br0": OTHER_MAC}, "--disruptive", "br0")
    assert site.active() == {name: uuid_of(name) for name in BRIDGED}, "the uplink didn't take its own way"
    site.rollback("0")
    until(lambda: site.active() == before)


def test_what_somebody_does_to_links_is_told(site: Site) -> None:
    site.apply(BRIDGED)
    site.lab.write(f"{PROFILES}/x.nmconnection", keyfile("eno1", ENO1, "other"), mode=0o600)
    site.lab.run("nmcli", "connection", "load", f"{PROFILES}/x.nmconnection")
    site.lab.run("nmcli", "connection", "up", "uuid", uuid_of("other"))
    site.lab.run("ip", "address", "del", "198.51.100.1/24", "dev", "br0")
    site.lab.run("nmcli", "device", "disconnect", "eno2")
    drift, pending = site.status()
    assert drift == [
        f"the link eno1 doesn't run by {PROFILES}/eno1.nmconnection",
        "the link br0 doesn't have the address 198.51.100.1/24",
    ]
    assert pending == ["the link eno2 isn't up (it was stopped): --disruptive eno2 starts it"]


def test_what_networkmanager_refuses_rolls_back(site: Site) -> None:
    before = site.kernel()
    said = site.apply({"eno1": {**ENO1, "ipv4.method": "nonsense"}}, expect=ROLLED_BACK)
    assert "NetworkManager: Could not load file" in said
    assert (site.kernel(), site.profiles()) == (before, {})


def test_without_networkmanager_files_wait(site: Site) -> None:
    site.lab.stop_daemon("NetworkManager")
    site.lab.ip_batch(["link set eno1 down", "link set eno2 down"])
    site.apply(BRIDGED)
    assert "the link br0 isn't up (NetworkManager doesn't run): --disruptive br0 starts it" in site.status()[1]
    site.lab.start_networkmanager()
    until(lambda: site.status() == ([], []))


# -- from ifcfg to keyfiles --------------------------------------------------------------------------------------------

EL7 = BRIDGE
EL9 = BRIDGE.replace("el7", "el9")


@pytest.fixture
def older(site: Site) -> Site:
    """A host whose links were started from ifcfg files by ifup, and which has NetworkManager and no ifup by now."""
    site.lab.stop_daemon("NetworkManager")
    site.lab.run("cp", "-r", str(STAND_IN), "/run/lab/network-scripts")
    site.lab.ip_batch(["link set eno1 down", "link set eno2 down"])
    site.environment["PATH"] = f"/run/lab/network-scripts:{site.environment['PATH']}"
    site.compile(EL7)
    site.apply_offered()
    assert site.reaches_outside()
    site.environment["PATH"] = site.environment["PATH"].partition(":")[2]
    site.compile(EL9)
    return site


def test_a_host_that_was_started_anew_moves_to_keyfiles(older: Site) -> None:
    older.lab.ip_batch(["link delete br0", "address flush dev eno1", "link set eno1 down", "link set eno2 down"])
    older.lab.start_networkmanager()
    older.apply_offered()
    assert set(older.active()) == set(BRIDGED)
    assert older.reaches_outside()
    assert older.status() == ([], [])
    assert not list(older.lab.file(SCRIPTS).iterdir())
    assert older.run("plan", str(older.folder))[0] == DONE


def test_links_that_run_move_to_keyfiles_when_they_are_named(older: Site) -> None:
    older.plug_in()
    older.lab.start_networkmanager()
    older.apply_offered()
    assert (older.plugged(), older.addresses("br0")) == (UNMOVED, ["198.51.100.1/24"])
    words = "the link {0} wasn't started with {1}/{0}.nmconnection: --disruptive {0} restarts it"
    assert older.status() == ([], [words.format(name, PROFILES[1:]) for name in sorted(BRIDGED)])
    named = [word for name in BRIDGED for word in ("--disruptive", name)]
    before = older.kernel()
    older.apply_offered(*named, "--check-command", "false", expect=ROLLED_BACK)
    assert (older.kernel(), older.plugged()) == (before, GIVEN_BACK)
    older.compile(EL9)
    older.apply_offered(*named)
    assert set(older.active()) == set(BRIDGED)
    assert (older.plugged(), older.status()) == (GIVEN_BACK, ([], []))
    assert older.reaches_outside()
