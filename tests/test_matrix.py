"""The matrix, and what a change opens and closes: of every pair the same as of that pair asked alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from kvmgen import pipeline
from kvmgen.difference import flows as flows_module
from kvmgen.difference.flows import ABSENT, flows
from kvmgen.model.site import Site
from kvmgen.proof import Rendered, parties, rendered
from kvmgen.proof.services import named_services
from kvmgen.reachability.alike import WatchedPort, answers
from kvmgen.reachability.answer import Question, Service, reach
from kvmgen.reachability.classes import ends
from kvmgen.reachability.fingerprints import DECIDING
from kvmgen.reachability.matrix import matrix
from kvmgen.reachability.nwfilter_match import Condition, Line, block
from kvmgen.reachability.packet import IPV4, IPV6, Packet
from kvmgen.reachability.step import Cause
from tests.bench.site import write_site
from tests.crowds import crowd, repeated
from tests.every_pair import INVENTORY, disagreements

PING, SSH, HTTP, DNS = (
    Service(protocol="ping"),
    Service(protocol="tcp", port=22),
    Service(protocol="tcp", port=80),
    Service(protocol="udp", port=53),
)


def example() -> Site:
    site = pipeline.load(INVENTORY).site
    assert site is not None
    return site


def test_a_sample_of_the_example_sites_pairs() -> None:
    found = list(disagreements(example(), (PING, HTTP), most=150))
    assert len(found) > 250
    assert [wrong for wrong in found if wrong] == []


@pytest.mark.parametrize("seed", [3, 14, 16])
def test_crowds(seed: int, tmp_path: Path) -> None:
    found = list(disagreements(crowd(seed, tmp_path), (SSH, DNS), most=200))
    assert [wrong for wrong in found if wrong] == []


@pytest.mark.parametrize("seed", [0, 2, 5, 6])
def test_addresses_that_every_host_has_anew(seed: int, tmp_path: Path) -> None:
    site = repeated(seed, tmp_path)
    given = [address for _, nic in site.nics() for address in nic.addressing.addresses]
    assert len(set(given)) < 0.9 * len(given)
    found = list(disagreements(site, (SSH,), most=500))
    assert [wrong for wrong in found if wrong] == []


def test_repeated_addresses_are_few_classes(tmp_path: Path) -> None:
    few, many = (
        {
            end.key
            for end in ends(
                rendered(repeated(0, tmp_path / str(hosts), hosts=hosts, gaps=False)).consumers
            ).known.values()
        }
        for hosts in (3, 9)
    )
    assert len(few) == len(many) < 12


def test_machines_that_are_alike_are_asked_about_once(tmp_path: Path) -> None:
    write_site(tmp_path, guests=60)
    site = pipeline.load(tmp_path).site
    assert site is not None
    known = ends(rendered(site).consumers).known.values()
    assert len(known) == 1 + 3 + 60 * 2
    assert len({end.key for end in known}) == 1 + 1 + 10 * 2, "five filters on each of two networks"


def test_leases_stay_in_their_subnets(tmp_path: Path) -> None:
    write_site(tmp_path, guests=400)
    for path in (tmp_path / "guests").iterdir():
        path.write_text(re.sub(r"addresses: \[192.*", "dhcp4: true", path.read_text()))
    site = pipeline.load(tmp_path).site
    assert site is not None
    leased = [(party.hosts, one) for party in parties(site) for one in party.learned]
    assert len(leased) == 400
    assert len(set(leased)) == 400, "no two on a host have the same"
    assert {str(one.network) for _, one in leased} == {"192.168.122.0/24", "192.168.123.0/24"}


def test_an_ethernet_rule_with_addresses_of_the_other_ip_version() -> None:
    cause = Cause(file="libvirt/nwfilters/list.xml", text="accept in ipv6")
    lines = [
        Line(
            layer="ebtables",
            chain="libvirt-I-{tap}",
            conditions=(Condition("ethertype", IPV6, ""), Condition("source", (number, 128, 128), "")),
            target="ACCEPT",
            cause=cause,
        )
        for number in range(4)
    ]
    packet = Packet(source_mac="", target_mac="", ethertype=IPV4, source=IPv4Address(1), target=IPv4Address(2))
    assert not any(line.fits(packet) for line in block(lines).candidates(packet))


class _Read(Mapping[str, str]):
    """A host's files that note which of their texts are read."""

    def __init__(self, files: Mapping[str, str], host: str, read: set[tuple[str, str]]) -> None:
        self._files, self._host, self._read = files, host, read

    def __getitem__(self, path: str) -> str:
        self._read.add((self._host, path))
        return self._files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def test_nothing_is_read_that_a_class_leaves_aside() -> None:
    made = rendered(example())
    site = made.places.site
    read: set[tuple[str, str]] = set()
    site.folders = [replace(folder, files=_Read(folder.files, folder.name, read)) for folder in site.folders]
    matrix(made.consumers, (PING,), sources=["outside", *site.hosts], targets=["outside", *site.hosts])
    inside = {path.split("/", 2)[2] if path.startswith("guests/") else path for _, path in read}
    assert len(inside) > 20
    assert [path for path in sorted(inside) if not path.startswith((*DECIDING, "libvirt/"))] == []


def test_a_port_tells_which_others_fare_alike() -> None:
    port = WatchedPort(80)
    assert 22 < port <= 443
    assert port != 25
    assert [number for number in (22, 25, 26, 443, 444) if port.fits(number)] == [26, 443]
    assert not WatchedPort(80).fits(81) or port.fits(81)
    assert str(port) == "80"
    assert not port.fits(80)  # whoever prints it may do anything with it


def test_services_together_are_answered_as_each_alone() -> None:
    made, services = rendered(example()), named_services(example())
    for target in ("exercise01", "shop-web01", "limit01", "vml000020"):
        together = list(answers(made.consumers, "outside", target, services, 4))
        alone = [
            reach(made.consumers, Question(source="outside", target=target, service=service, version=4))
            for service in services
        ]
        assert together == alone


# -- what a change opens and closes ------------------------------------------------------------------------------------

_Fates = dict[tuple[str, str, str, int], tuple[str, str]]


def _told(before: Rendered, after: Rendered, services: tuple[Service, ...]) -> _Fates:
    """What the flows say, one packet each."""
    found = flows(before, after, services)
    owners = {name: end.owner for made in (before, after) for name, end in ends(made.consumers).known.items()}
    told: _Fates = {}
    for flow in (*found.opens, *found.closes, *found.other):
        for source in flow.sources:
            for target in flow.targets:
                for service in flow.services:
                    for version in flow.versions:
                        if owners[source] != owners[target]:
                            key = source, target, service, version
                            assert key not in told
                            told[key] = flow.before, flow.after
    return told


def _measured(before: Rendered, after: Rendered, services: tuple[Service, ...]) -> _Fates:
    """The same, every packet asked alone."""
    sides: list[dict[tuple[str, str, str, int], str]] = [{}, {}]
    for fates, made in zip(sides, (before, after), strict=True):
        known = ends(made.consumers).known.values()
        for one in known:
            for other in known:
                if one.owner == other.owner:
                    continue
                for service in services:
                    for version in one.versions & other.versions:
                        asked = Question(source=one.name, target=other.name, service=service, version=version)
                        fates[one.name, other.name, str(service), version] = str(reach(made.consumers, asked).outcome)
    both = {key: (sides[0].get(key, ABSENT), sides[1].get(key, ABSENT)) for key in sides[0].keys() | sides[1].keys()}
    return {
        key: (old, new)
        for key, (old, new) in both.items()
        if old != new and ("delivered" in (old, new) or ABSENT not in (old, new))
    }


def _without_a_guest(folder: Path) -> None:
    (folder / "guests/guest05.yaml").unlink()


def _with_another_port(folder: Path) -> None:
    for path in (folder / "policies").glob("*.yaml"):
        text = path.read_text()
        path.write_text(text.replace('"tcp": 22', '"tcp": 80') if '"tcp": 22' in text else text.replace("443", "22"))


def _with_a_guest_moved(folder: Path) -> None:
    path = folder / "guests/guest02.yaml"
    text = path.read_text()
    path.write_text(text.replace("kvm01", "kvm03") if "kvm01" in text else text.replace("kvm02", "kvm01"))


def _with_a_host_that_routes(folder: Path) -> None:
    path = folder / "hosts/kvm02.yaml"
    path.write_text(path.read_text().rstrip()[:-1] + ', "sysctl": {"net.ipv4.ip_forward": 1}}')


@pytest.mark.parametrize(
    ("seed", "change"),
    [(1, _with_another_port), (2, _without_a_guest), (7, _with_a_guest_moved), (3, _with_a_host_that_routes)],
)
def test_flows_are_the_difference_of_all_answers(seed: int, change: Callable[[Path], None], tmp_path: Path) -> None:
    before = rendered(crowd(seed, tmp_path, guests=12))
    change(tmp_path)
    site = pipeline.load(tmp_path).site
    assert site is not None
    after = rendered(site)
    told = _told(before, after, (SSH,))
    assert len(told) > 6
    assert told == _measured(before, after, (SSH,))


def test_nothing_is_asked_where_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = rendered(example()), rendered(example())
    monkeypatch.setattr(flows_module, "asked", None)
    assert flows(before, after, (PING, SSH)) == flows_module.Flows()
