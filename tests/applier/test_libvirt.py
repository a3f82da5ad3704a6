"""The applier on a real libvirtd: networks, filters and running guests follow the inventory, and go back exactly.

Whatever is applied, running guests keep running and keep their taps, and what isn't kvmgen's stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.applier.folder import applier_module
from tests.applier.run import HOST, Managed
from tests.lab import frames
from tests.lab.domain import START_TIMEOUT
from tests.lab.guest import LabGuest
from tests.lab.host import LabHost
from tests.lab.probe import Wire

pytestmark = pytest.mark.real

NAT, LAN, ROUTED = ("es-nat01", "es-lan01", "es-routed01")
FOREIGN = "<network><name>foreign</name><bridge name='virbr9'/><ip address='10.99.0.1' prefix='24'/></network>"
WEB = """
rules:
  - {{priority: 500, action: accept, direction: in, tcp: {{dstportstart: {port}}}}}
  - {{priority: 1000, action: drop, direction: inout, all: {{}}}}
  - {{priority: 1000, action: drop, direction: inout, all-ipv6: {{}}}}
"""


@pytest.fixture(scope="module")
def carrier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Managed]:
    """A host to which the example is applied, next to a network that isn't kvmgen's."""
    with LabHost(HOST) as lab:
        lab.start_libvirtd()
        lab.add_bridge("br0")
        lab.virsh_with("net-define", FOREIGN)
        lab.virsh("net-start", "foreign")
        managed = Managed(lab, tmp_path_factory.mktemp("managed"))
        managed.apply(managed.base)
        yield managed


@pytest.fixture
def host(carrier: Managed) -> Iterator[Managed]:
    """The host; afterwards all is as it was, so that nothing else was touched."""
    before = carrier.dumps()
    yield carrier
    for guest in carrier.lab.virsh("list", "--name").stdout.split():
        carrier.lab.virsh("destroy", guest)
    carrier.reset()
    carrier.apply(carrier.base)
    assert carrier.dumps() == before


def saved(host: Managed) -> str:
    """What the packet filters hold."""
    texts = [host.lab.run(f"{program}-save").stdout for program in ("ebtables", "iptables", "ip6tables")]
    return re.sub(r"^#.*\n|\[\d+:\d+\]", "", "".join(texts), flags=re.MULTILINE)


def dhcp_request(mac: str, server: str, wanted: str) -> bytes:
    """A client's request for an address."""
    seen = frames.read(frames.dhcp_discover(mac))
    assert seen is not None
    asks = b"\x35\x01\x03\x32\x04" + frames.ip_bytes(wanted) + b"\x36\x04" + frames.ip_bytes(server)
    return frames.udp(seen.ends, 67, 68, seen.payload[8:].replace(b"\x35\x01\x01\x37\x03\x01\x03\x06", asks))


# -- changes -----------------------------------------------------------------------------------------------------------


def test_what_can_be_live_is_live_and_the_rest_waits(host: Managed) -> None:
    host.start(NAT, LAN, ROUTED)
    taps, before = host.taps(), host.dumps()
    host.edit("networks/default.yaml", "122.2-192.168.122.254", "122.50-192.168.122.254")
    host.edit("guests/es-nat01.yaml", "192.168.122.10/24", "192.168.122.11/24")
    host.edit("guests/es-lan01.yaml", "hosts: [kvm-es]", "hosts: [kvm-es]\nmemory: 2 GiB")
    host.edit("networks/es-routed.yaml", "193.16.100.1/24", "193.16.100.9/24")
    folder = host.built()
    assert host.impacts(folder) == {
        "default": ("change", "live", []),
        "routed": ("change", "network restart", [ROUTED]),
        LAN: ("change", "guest restart", [LAN]),
        NAT: ("change", "live", []),
    }
    assert host.dumps() == before, "a plan changes nothing"
    host.apply(folder)
    assert host.taps() == taps
    assert host.guest(NAT).find("devices/interface/filterref/parameter[@value='192.168.122.11']") is not None
    assert "192.168.122.11" in saved(host)
    network = host.network("default")
    assert network.find("ip/dhcp/range[@start='192.168.122.50']") is not None
    assert [found.get("ip") for found in network.iterfind("ip/dhcp/host")] == ["192.168.122.11"]
    assert [found.get("ip") for found in network.iterfind("dns/host")] == ["192.168.122.11"]
    status = host.status(3)
    assert status["drift"] == []
    assert [line.split(":")[0] for line in status["pending"]] == [
        f"the network routed needs a restart, which cuts off {ROUTED}",
        f"the guest {LAN} needs a restart",
    ]
    host.run(0, "rollback")
    assert host.dumps() == before
    assert host.taps() == taps
    assert host.status(0)["pending"] == []


def test_a_lease_survives_a_live_change(host: Managed) -> None:
    mac, address = "52:54:00:00:01:77", "192.168.122.177"
    with LabGuest(host.lab, "client", tap="vnet-client", mac=mac, bridge="virbr0") as client, Wire(client) as wire:
        for _ in range(30):  # until the bridge's spanning tree lets it through
            wire.send(dhcp_request(mac, "192.168.122.1", address))
            if wire.hears(lambda frame: (seen := frames.read(frame)) is not None and seen.payload[:2] == b"\0C", 1):
                break
    assert address in host.lab.virsh("net-dhcp-leases", "default").stdout
    host.edit("networks/default.yaml", "122.2-192.168.122.254", "122.50-192.168.122.254")
    host.edit("guests/es-nat01.yaml", "192.168.122.10/24", "192.168.122.11/24")
    host.apply(host.built())
    assert address in host.lab.virsh("net-dhcp-leases", "default").stdout


def test_a_filters_rule_changes_on_running_guests(host: Managed) -> None:
    host.start(NAT)
    host.write("filters/ours.yaml", WEB.format(port=80))
    host.edit("guests/es-nat01.yaml", "addresses: [192.168.122.10/24]", "addresses: [192.168.122.10/24], filter: ours")
    host.apply(host.built())
    before, rules, taps = host.dumps(), saved(host), host.taps()
    assert "--dport 80 " in rules
    host.write("filters/ours.yaml", WEB.format(port=8080))
    folder = host.built()
    assert host.impacts(folder) == {"ours": ("change", "live", [])}
    host.apply(folder)
    assert saved(host) == rules.replace("--dport 80 ", "--dport 8080 ").replace("--sport 80 ", "--sport 8080 ")
    host.run(0, "rollback")
    assert (host.dumps(), saved(host), host.taps()) == (before, rules, taps)


def test_a_running_guest_moves_to_a_network_that_comes_with_it(host: Managed) -> None:
    """And back: the network that it left is gone meanwhile, and a rollback starts it first."""
    host.start(ROUTED)
    before, taps = host.dumps(), host.taps()
    host.write(
        "networks/new.yaml", "hosts: {kvm-es: {}}\nforward: nat\nbridge: {name: virbr8}\naddresses: [10.8.0.1/24]\n"
    )
    host.edit(
        "guests/es-routed01.yaml", "network: es-routed, addresses: [193.16.100.10/24]", "network: new, dhcp4: true"
    )
    host.drop("networks/es-routed.yaml")
    host.apply(host.built())
    assert host.taps() == {**taps, ROUTED: (taps[ROUTED][0], "virbr8")}
    assert "network routed" not in host.dumps()
    host.run(0, "rollback")
    assert (host.dumps(), host.taps()) == (before, taps)


# -- removals ----------------------------------------------------------------------------------------------------------


def test_what_running_guests_need_is_removed_when_they_have_stopped(host: Managed) -> None:
    host.start(ROUTED)
    generation = str(host.status(0)["generation"])
    before, taps = host.dumps(), host.taps()
    for name in ("guests/es-routed01.yaml", "networks/es-routed.yaml", "networks/es-nat.yaml"):
        host.drop(name)
    folder = host.built()
    assert host.impacts(folder) == {
        ROUTED: ("remove", "waits", [ROUTED]),
        "routed": ("remove", "waits", [ROUTED]),
        "nat11": ("remove", "live", []),
    }
    told = host.apply(folder)
    assert f"pending: the guest {ROUTED} runs" in told
    assert host.taps() == taps
    assert set(before) - set(host.dumps()) == {"network nat11", "live network nat11"}
    assert len(host.status(3)["pending"]) == 2
    assert "Nothing to do" in host.apply(folder)
    host.lab.virsh("managedsave", ROUTED, "--paused", timeout=START_TIMEOUT)
    assert "has a saved state" in host.apply(folder)
    host.lab.virsh("managedsave-remove", ROUTED)
    host.apply(folder)
    assert {ROUTED, "routed"} & {key.split()[-1] for key in host.dumps()} == set()
    assert host.status(0)["pending"] == []
    host.run(0, "rollback", generation)
    assert host.dumps() == {key: text for key, text in before.items() if key != f"live domain {ROUTED}"}


# -- what others did ---------------------------------------------------------------------------------------------------


def test_drift_is_told_and_undone(host: Managed) -> None:
    host.start(LAN)
    assert host.status(0)["drift"] == [], "what libvirt adds is none"
    before, taps = host.dumps(), host.taps()
    added = "<host mac='52:54:00:00:00:99' ip='192.168.122.99'/>"
    host.lab.virsh("net-update", "default", "add", "ip-dhcp-host", added, "--live", "--config")
    host.lab.virsh("net-autostart", "lan", "--disable")
    host.lab.virsh("setvcpus", LAN, "4", "--maximum", "--config")
    rule = "<rule action='drop' direction='in' priority='999'/></filter>"
    text = host.lab.virsh("nwfilter-dumpxml", "kvmgen-arp").stdout.replace("</filter>", rule)
    host.lab.virsh_with("nwfilter-define", text)
    drift = host.status(3)["drift"]
    assert {line.split(": ")[0] for line in drift} == {
        "network default",
        "network lan",
        "nwfilter kvmgen-arp",
        f"domain {LAN}",
    }
    assert "192.168.122.99" in drift[0]
    host.apply(host.base)
    assert (host.dumps(), host.taps()) == (before, taps)
    assert host.status(0)["drift"] == []


def test_a_disk_that_a_snapshot_moved_is_not_put_back() -> None:
    applier = applier_module()
    disk = "<disk><source file='{}'/><target dev='vda'/></disk>"
    domain = f"<domain><name>web</name><uuid>u</uuid><devices>{disk}</devices></domain>"
    item = applier.DomainItem(None, {"defines": {"name": "web", "uuid": "u"}}, domain.format("/a").encode())
    item.baseline = {"put": domain.format("/a"), "there": domain.format("/a")}
    assert item.refusal({"xml": domain.format("/a")}) is None
    assert "blockcommit" in item.refusal({"xml": domain.format("/a.snapshot")})
    item.content = domain.format("/a.snapshot")
    assert item.refusal({"xml": domain.format("/a.snapshot")}) is None


def test_a_guest_with_snapshots_keeps_its_definition() -> None:
    class Virsh:
        def virsh(self, *words: str) -> tuple[int, str]:
            answers = {"list": "web\n", "dominfo": "State: shut off\nManaged save: no\n", "snapshot-list": "one\n\n"}
            return 0, answers[words[0]]

    item = applier_module().DomainItem(Virsh(), {"defines": {"name": "web", "uuid": "u"}}, b"")
    assert item.users() == ["web"]
    assert "has snapshots" in item.remove()


def test_the_same_name_under_another_uuid_is_refused_until_the_inventory_says_it(host: Managed) -> None:
    host.lab.virsh("net-destroy", "isolated")
    host.lab.virsh("net-undefine", "isolated")
    host.lab.virsh_with(
        "net-define", FOREIGN.replace("foreign", "isolated").replace("virbr9", "virbr2").replace("99", "98")
    )
    uuid = host.lab.virsh("net-uuid", "isolated").stdout.strip()
    before = host.dumps()
    for command in ("plan", "apply"):
        told = host.run(1, command, str(host.base), "--adopt", "isolated")
        assert f"Write `uuid: {uuid}` for it into the inventory" in told
    assert host.dumps() == before
    host.edit("networks/es-isolated.yaml", "  kvm-es: {}", f"  kvm-es: {{uuid: {uuid}}}")
    host.apply(host.built())
    assert host.lab.virsh("net-uuid", "isolated").stdout.strip() == uuid
    host.lab.virsh("net-destroy", "isolated")
    host.lab.virsh("net-undefine", "isolated")


def test_what_is_not_ours_is_taken_over_only_by_name(host: Managed) -> None:
    uuid = host.lab.virsh("net-uuid", "foreign").stdout.strip()
    text = f"libvirt-name: foreign\nhosts: {{kvm-es: {{uuid: {uuid}}}}}\nforward: isolated\nbridge: {{name: virbr9}}\n"
    host.write("networks/taken.yaml", text + "addresses: [10.99.0.1/24]\ndhcp: {ranges: [10.99.0.10-10.99.0.20]}\n")
    folder, before = host.built(), host.dumps()
    assert "To take them over: --adopt foreign" in host.run(1, "apply", str(folder))
    assert host.dumps() == before
    host.apply(folder, "--adopt", "foreign")
    assert host.network("foreign").find("ip/dhcp/range") is not None
    host.run(0, "rollback")
    assert host.dumps() == before


# -- restarts that somebody asks for ----------------------------------------------------------------------------------


def nat_ports(host: Managed) -> str | None:
    """Where the ports begin that the running network uses for its guests: nothing that libvirt changes live."""
    port = host.network("default").find("forward/nat/port")
    return None if port is None else port.get("start")


def test_a_network_is_restarted_by_name_and_its_guests_are_plugged_in_again(host: Managed) -> None:
    host.start(NAT)
    generation = str(host.status(0)["generation"])
    taps, before = host.taps(), host.dumps()
    host.edit("networks/default.yaml", "ports: 1024-65535", "ports: 2048-65535")
    folder = host.built()
    host.apply(folder)
    assert nat_ports(host) == "1024"
    told = host.run(4, "apply", str(folder), "--disruptive", "default", "--check-command", "false")
    assert "Everything is as it was before" in told
    assert host.taps() == taps
    assert nat_ports(host) == "1024"
    host.apply(folder, "--disruptive", "default")
    assert nat_ports(host) == "2048"
    assert host.taps() == taps
    assert host.status(0)["pending"] == []
    host.run(0, "rollback", generation)
    assert nat_ports(host) == "2048", "a rollback doesn't restart it"
    assert {key: text for key, text in host.dumps().items() if key != "live network default"} == {
        key: text for key, text in before.items() if key != "live network default"
    }
    host.apply(host.base, "--disruptive", "default")
    assert (host.dumps(), host.taps()) == (before, taps)
