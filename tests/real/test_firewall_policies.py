"""Policies and rules on firewalld itself: what it reads of the files, writes back, and does to packets.

One host that routes between two bridges, each in a zone of its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import canonicalize

import pytest

from kvmgen.model.site import views
from kvmgen.pipeline import load
from kvmgen.render import render
from tests.lab.connect import try_all
from tests.lab.guest import LabGuest
from tests.lab.host import LabHost
from tests.lab.netns import Node
from tests.real.packets import listening, wait_until_forwarding
from tests.sites import SITE, write

pytestmark = pytest.mark.real

HOST = """
platform: el9.4
ethernets: {eno1: {}, eno2: {}}
bridges:
  br1: {ports: [eno1], addresses: [192.0.2.1/24, "2001:db8:1::1/64"], zone: office}
  br2: {ports: [eno2], addresses: [198.51.100.1/24, "2001:db8:2::1/64"], zone: servers}
sysctl: {net.ipv4.ip_forward: 1, net.ipv6.conf.all.forwarding: 1}
firewall:
  zones:
    office:
      description: Desks & <printers>
      target: DROP
      services: [ssh]
      ports: [5900-5910/tcp]
      rules:
        - {source: 192.0.2.10/32, port: 8080/tcp, action: accept, log: {prefix: "web: ", level: info}}
        - {family: ipv6, port: 8080/tcp, action: accept}
        - {icmp-type: echo-request, action: accept, log: {}}
        - {family: ipv4, icmp-type: echo-request, action: reject, priority: -5}
    servers: {forward: true}
  policies:
    office-servers:
      description: What desks may ask
      ingress-zones: [office]
      egress-zones: [servers]
      target: DROP
      services: [http]
      ports: [8443/tcp]
      rules:
        - {source: 192.0.2.10/32, service: ssh, action: accept}
        - {destination: "2001:db8:2::/64", protocol: ipv6-icmp, action: accept}
        - {service: http, destination: 198.51.100.66/32, action: reject}
    servers-out: {ingress-zones: [servers], egress-zones: [ANY], target: REJECT, priority: 100}
    mixed: {ingress-zones: [office, servers], egress-zones: [HOST], services: [ntp]}
    translated: {ingress-zones: [servers], egress-zones: [work], masquerade: true, target: ACCEPT, priority: -2}
"""

LONG = 1.5
"""Seconds for what may be silent: on a busy machine too, a second SYN has its answer by then."""

REWRITE = """
import sys
from firewall.core.io import policy, zone
for kind, name, io in (("zones", "zone", zone), ("policies", "policy", policy)):
    for file in sys.argv[3:]:
        if file.startswith(kind):
            read = getattr(io, name + "_reader")(file.split("/")[1], sys.argv[1] + "/" + kind)
            getattr(io, name + "_writer")(read, sys.argv[2] + "/" + kind)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """firewalld's configuration as it is compiled, by path below /etc/firewalld."""
    result = load(write(tmp_path_factory.mktemp("inventory"), {"site.yaml": SITE, "hosts/kvm01.yaml": HOST}))
    assert result.is_good, result.diagnostics
    assert result.site is not None
    (view,) = views(result.site)
    place = "etc/firewalld/"
    return {file.path.removeprefix(place): file.text for file in render(view) if file.path.startswith(place)}


@pytest.fixture(scope="module")
def folder(files: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("firewalld"), files)


def test_firewalld_writes_back_what_it_read(files: Mapping[str, str], folder: Path, tmp_path: Path) -> None:
    for kind in ("zones", "policies"):
        (tmp_path / kind).mkdir()
    command = ("/usr/bin/python3", "-c", REWRITE, str(folder), str(tmp_path), *files)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    for path, text in files.items():
        assert canonicalize((tmp_path / path).read_text()) == canonicalize(text), path


def test_firewalld_accepts_the_configuration(folder: Path) -> None:
    command = ("firewall-offline-cmd", f"--system-config={folder}", "--check-config")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@dataclass(frozen=True)
class Net:
    """The running host, two machines of the office (the first with rights of its own), and a server."""

    host: LabHost
    desk: LabGuest
    other: LabGuest
    server: LabGuest


@pytest.fixture(scope="module")
def net(folder: Path) -> Iterator[Net]:
    with LabHost() as host:
        host.run("sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        host.add_bridge("br1", ["192.0.2.1/24", "2001:db8:1::1/64"])
        host.add_bridge("br2", ["198.51.100.1/24", "2001:db8:2::1/64"])
        assert host.start_firewalld(folder) == "running", host.log("firewalld")
        office, servers = ["192.0.2.1", "2001:db8:1::1"], ["198.51.100.1", "2001:db8:2::1"]
        with (
            machine(host, "desk", "br1", 10, "192.0.2", "2001:db8:1:", office) as desk,
            machine(host, "other", "br1", 11, "192.0.2", "2001:db8:1:", office) as other,
            machine(host, "server", "br2", 20, "198.51.100", "2001:db8:2:", servers) as server,
        ):
            for guest in (desk, other, server):
                wait_until_forwarding(host, guest.tap)
            yield Net(host, desk, other, server)


def machine(host: LabHost, name: str, bridge: str, number: int, net4: str, net6: str, gateways: list[str]) -> LabGuest:
    addresses = [f"{net4}.{number}/24", f"{net6}:{number}/64"]
    mac = f"52:54:00:00:00:{number:02x}"
    return LabGuest(host, name, tap=f"vnet-{name}", mac=mac, bridge=bridge, addresses=addresses, gateways=gateways)


def test_a_policy_decides_between_zones(net: Net) -> None:
    four, six = net.server.ipv4, net.server.ipv6
    expected: dict[tuple[Node, str, int], str] = {
        **{(net.desk, address, port): "open" for address in (four, six) for port in (80, 8443)},
        **{(net.desk, address, 25): "timeout" for address in (four, six)},
        (net.desk, four, 22): "open",
        (net.other, four, 22): "timeout",
        (net.desk, six, 22): "timeout",
    }
    with listening(net.server, 80), listening(net.server, 22), listening(net.server, 25), listening(net.server, 8443):
        assert try_all([*expected], LONG) == [*expected.values()]
    assert net.desk.ping(six).all_answered
    assert net.desk.ping(four).received == 0


def test_rules_of_a_zone_decide_about_the_host(net: Net) -> None:
    asked: list[tuple[Node, str, int]] = [(guest, "192.0.2.1", 8080) for guest in (net.desk, net.other)]
    with listening(net.host, 8080):
        assert try_all([*asked, (net.other, "2001:db8:1::1", 8080)], LONG) == ["open", "timeout", "open"]
    assert net.desk.ping("2001:db8:1::1").all_answered
    assert net.desk.ping("192.0.2.1").received == 0


def test_a_policy_for_everything_that_leaves_a_zone(net: Net) -> None:
    """Behind the zones by its priority: replies pass, what the server begins doesn't."""
    with listening(net.desk, 80):
        assert net.server.tcp_connect(net.desk.ipv4, 80, LONG) == "refused"
