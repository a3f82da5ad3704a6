"""What is predicted of the example site's packets: the verdicts that its laboratory measures, and what decides them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import pytest

from kvmgen import pipeline
from kvmgen.inventory.sources import Sources
from kvmgen.proof import Rendered, rendered
from kvmgen.reachability.answer import Answer, Question, Service, reach, versions_of
from kvmgen.report import reached
from tests.sites import SMALL, write

INVENTORY = Path(__file__).parents[1] / "inventory"
TRACES = Path(__file__).parent / "cases" / "traces.txt"

SSH, HTTP, ALTERNATE = (Service(protocol="tcp", port=port) for port in (22, 80, 81))
DNS, OTHER_UDP = Service(protocol="udp", port=53), Service(protocol="udp", port=54)
PING, ARP = Service(protocol="ping"), Service(protocol="arp")


@cache
def example() -> Rendered:
    site = pipeline.load(INVENTORY).site
    assert site is not None
    return rendered(site)


def answers(source: str, target: str, service: Service) -> Sequence[Answer]:
    made = example()
    versions = versions_of(made.places, source, target, service)
    questions = (Question(source=source, target=target, service=service, version=version) for version in versions)
    return [reach(made.consumers, question) for question in questions]


def verdict(source: str, target: str, service: Service) -> str:
    """The verdict, the same for all IP versions that both ends speak."""
    (found,) = {str(answer.outcome) for answer in answers(source, target, service)}
    return found


@pytest.mark.parametrize(
    ("source", "target", "service", "expected"),
    [
        # system 3: TCP and pings
        ("limit01", "outside", PING, "delivered"),
        ("outside", "limit01", ALTERNATE, "delivered"),
        ("outside", "limit01", DNS, "blocked"),
        # system 4: leased on the default NAT network
        ("clean01", "outside", HTTP, "delivered"),
        # system 5: SSH and HTTP in, ping and DNS out
        ("outside", "exercise01", SSH, "delivered"),
        ("outside", "exercise01", HTTP, "delivered"),
        ("outside", "exercise01", ALTERNATE, "blocked"),
        ("outside", "exercise01", PING, "blocked"),
        ("exercise01", "outside", PING, "delivered"),
        ("exercise01", "outside", DNS, "delivered"),
        ("exercise01", "outside", OTHER_UDP, "blocked"),
        ("exercise01", "outside", HTTP, "blocked"),
        # systems 9 and 10: the DMZ
        ("vml000020", "outside", PING, "delivered"),
        ("vml000020", "outside", SSH, "delivered"),
        ("vml000020", "outside", DNS, "delivered"),
        ("outside", "vml000020", SSH, "blocked"),
        ("outside", "vml000020", DNS, "blocked"),
        ("outside", "vml000020", PING, "one-way"),
        ("outside", "vml000010:eth0", SSH, "delivered"),
        ("outside", "vml000010:eth0", HTTP, "blocked"),
        ("vml000020", "vml000010:eth1", HTTP, "delivered"),
        # systems 12 to 15: NAT, routed, isolated, LAN
        ("es-nat01", "outside", HTTP, "delivered"),
        ("outside", "es-nat01", HTTP, "blocked"),
        ("es-routed01", "outside", PING, "delivered"),
        ("outside", "es-routed01", SSH, "delivered"),
        ("es-isolated01", "outside", PING, "blocked"),
        ("es-isolated01", "kvm-es", PING, "delivered"),
        ("outside", "es-lan01", SSH, "delivered"),
        # system 17: apart from each other, not from the uplink; ARP passes up to el8
        ("ovirt01", "ovirt02", PING, "blocked"),
        ("ovirt02", "ovirt01", HTTP, "blocked"),
        ("outside", "ovirt01", HTTP, "delivered"),
        ("outside", "ovirt01", ALTERNATE, "blocked"),
        ("outside", "ovirt02", ALTERNATE, "delivered"),
        ("ovirt02", "outside", DNS, "delivered"),
        ("ovirt01", "ovirt02", ARP, "delivered"),
        ("el9-apart01", "el9-apart02", PING, "blocked"),
        ("el9-apart01", "el9-apart02", ARP, "blocked"),
        # systems 18 to 22
        ("jp18", "jp19", PING, "delivered"),
        ("jp19", "jp18", HTTP, "delivered"),
        ("outside", "jp22", SSH, "delivered"),
    ],
)
def test_what_the_laboratory_measures(source: str, target: str, service: Service, expected: str) -> None:
    assert verdict(source, target, service) == expected


@pytest.mark.parametrize("guest", ["exercise01", "jp18", "jp19", "jp22", "ovirt02", "es-lan01", "vml000020"])
def test_nobody_poses_as_another(guest: str) -> None:
    made = example()
    target = "vml000010:eth1" if guest == "vml000020" else "outside"
    forged = [
        Question(source=guest, target=target, service=PING, version=4, spoof_ip=ip_address("203.0.113.9")),
        Question(source=guest, target=target, service=PING, version=4, spoof_mac="52:54:00:de:ad:00"),
        Question(source=guest, target=target, service=ARP, version=4, spoof_ip=ip_address("203.0.113.9")),
    ]
    assert [str(reach(made.consumers, question).outcome) for question in forged] == ["blocked"] * 3


TRACED = (("outside", "vml000020", PING), ("outside", "exercise01", ALTERNATE), ("es-nat01", "outside", HTTP))


def traces() -> str:
    """The traces as `kvmgen reach` prints them, with the inventory's path as it is from the project's folder."""
    places = reached.Places(example(), Sources(INVENTORY))
    told = [reached.as_text(answers(*asked), places) for asked in TRACED]
    return "\n".join(told).replace(f"{INVENTORY}/", "inventory/") + "\n"


def test_traces_are_the_golden_ones() -> None:
    assert traces() == TRACES.read_text()


def test_an_address_on_the_senders_own_network_is_not_that_of_another_hosts_guest(tmp_path: Path) -> None:
    """Every host's `lab` has the same addresses; each guest speaks to those of its own host alone."""
    guests = {
        f"guests/{name}.yaml": (
            f"hosts: [{host}]\ndisks: {{vda: {{volume: {name}.qcow2}}}}\n"
            f"interfaces: {{eth0: {{network: lab, addresses: [192.0.2.{number}/24]}}}}\n"
        )
        for name, host, number in (
            ("here", "kvm1", 11),
            ("there", "kvm2", 11),
            ("asks", "kvm1", 12),
            ("lone", "kvm2", 12),
        )
    }
    site = pipeline.load(write(tmp_path / "inventory", {**SMALL, **guests})).site
    assert site is not None
    made = rendered(site)
    asked = {
        target: reach(made.consumers, Question(source="asks", target=target, service=PING, version=4))
        for target in ("here", "there", "lone")
    }
    assert {name: str(answer.outcome) for name, answer in asked.items()} == {
        "here": "delivered",
        "there": "blocked",
        "lone": "blocked",
    }
    cause = asked["there"].cause
    assert cause is not None
    assert cause.text == "192.0.2.11 is here on this network"
