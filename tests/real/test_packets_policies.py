"""Policies under real traffic: what their filters let pass, between guests, from outside and from the host itself."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.lab.connect import try_all
from tests.lab.guest import LabGuest
from tests.lab.netns import Node, in_netns, open_socket
from tests.real.packets import (
    ExampleHost,
    compile_host,
    lasting_guest_of,
    listening,
    outside,
    running,
    running_files,
    take_lease,
    udp_answered,
)
from tests.sites import write

pytestmark = pytest.mark.real

LONG = 1.0
"""Seconds for those who may have no answer, all of them together."""

VERSIONS = pytest.mark.parametrize("version", [4, 6])


def address(guest: LabGuest, version: int) -> str:
    return guest.ipv4 if version == 4 else guest.ipv6


def pings(lab: ExampleHost, target: str) -> bool:
    """Whether the host has an answer to its ping."""
    return lab.run("ping", "-n", "-q", "-c", "1", "-W", "0.3", target, check=False).returncode == 0


# -- the example's shop: members of policies, and two policies on one interface ---------------------------------------


@pytest.fixture(scope="module")
def shop() -> Iterator[dict[str, LabGuest | ExampleHost]]:
    with ExitStack() as stack:
        lab = stack.enter_context(running("kvm-cn3"))
        around = ["192.168.201.1/24", "2001:db8:201::1/64"]
        nodes: dict[str, LabGuest | ExampleHost] = {"host": lab}
        nodes["outside"] = stack.enter_context(outside(lab, "eno1", "br0", around))
        for name in ("web", "app", "db"):
            nodes[name] = stack.enter_context(lasting_guest_of(lab, f"shop-{name}01"))
        yield nodes


REACHED = {
    80: {("outside", "web"), ("host", "web")},
    8080: {("web", "app")},
    5432: {("app", "db")},
    22: {("host", "web"), ("host", "app"), ("host", "db")},
}
"""Who is answered on which port; nobody else is."""


@VERSIONS
def test_the_shop(shop: dict[str, LabGuest | ExampleHost], version: int) -> None:
    """Everybody asks every guest for every port, all at once."""
    guests = {name: node for name, node in shop.items() if isinstance(node, LabGuest) and name != "outside"}
    asked = [(source, target, port) for port in REACHED for source in shop for target in guests if source != target]
    with ExitStack() as stack:
        for guest in guests.values():
            for port in REACHED:
                stack.enter_context(listening(guest, port))
        outcomes = try_all(
            [(shop[source], address(guests[target], version), port) for source, target, port in asked], LONG
        )
    opened = {one for one, outcome in zip(asked, outcomes, strict=True) if outcome == "open"}
    assert opened == {(*pair, port) for port, pairs in REACHED.items() for pair in pairs}


# -- one direction closed, limits, leases ------------------------------------------------------------------------------

INVENTORY = {
    "site.yaml": "name: test\n",
    "hosts/kvm1.yaml": "platform: el7\nethernets: {em1: {}}\n"
    "bridges: {br0: {ports: [em1], addresses: [192.0.2.1/24, '2001:db8::1/64']}}\n",
    "networks/lab.yaml": "hosts: {kvm1: {}}\nforward: nat\nbridge: {name: virbr7}\naddresses: [198.51.100.1/24]\n"
    "dhcp: {ranges: [198.51.100.100-198.51.100.200]}\n",
    "policies/ssh-only.yaml": "allow-in: [ssh]\n",
    "policies/silent.yaml": "allow-out: []\n",
    "policies/few.yaml": "allow-in: [{tcp: 22, connections: 2}]\nallow-out: []\n",
    "guests/listens.yaml": "hosts: [kvm1]\ninterfaces:\n"
    "  eth0: {bridge: br0, addresses: [192.0.2.10/24, '2001:db8::10/64'], policies: [ssh-only]}\n",
    "guests/silent.yaml": "hosts: [kvm1]\ninterfaces:\n"
    "  eth0: {bridge: br0, addresses: [192.0.2.11/24, '2001:db8::11/64'], policies: [silent]}\n",
    "guests/few.yaml": "hosts: [kvm1]\ninterfaces:\n"
    "  eth0: {bridge: br0, addresses: [192.0.2.12/24, '2001:db8::12/64'], policies: [few]}\n",
    "guests/leased.yaml": "hosts: [kvm1]\ninterfaces:\n  eth0: {network: lab, dhcp4: true, policies: [few]}\n",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleHost]:
    inventory = write(tmp_path_factory.mktemp("policies"), INVENTORY)
    with running_files(compile_host(inventory, "kvm1"), ["lab"]) as host:
        yield host


@pytest.fixture(scope="module")
def away(lab: ExampleHost) -> Iterator[LabGuest]:
    with outside(lab, "em1", "br0", ["192.0.2.99/24", "2001:db8::99/64"]) as machine:
        yield machine


@pytest.fixture(scope="module")
def listens(lab: ExampleHost) -> Iterator[LabGuest]:
    with lasting_guest_of(lab, "listens") as guest:
        yield guest


@VERSIONS
def test_a_closed_way_in(lab: ExampleHost, listens: LabGuest, away: LabGuest, version: int) -> None:
    """What the guest asks is answered, in fragments as well; the host comes no further than others."""
    mine, theirs = address(listens, version), address(away, version)
    expected: dict[tuple[Node, str, int], str] = {
        (away, mine, 22): "open",
        (away, mine, 443): "timeout",
        (away, mine, 8080): "timeout",
        (lab, mine, 22): "open",
        (lab, mine, 443): "timeout",
        (listens, theirs, 7): "open",
    }
    if version == 4:  # of TCP over IPv6 libvirt can't read the flags
        expected[lab, mine, 8080] = "timeout"
    with listening(listens, 22), listening(listens, 443), listening(listens, 8080), listening(away, 7):
        assert try_all([*expected], LONG) == [*expected.values()]
    assert listens.ping(theirs).all_answered
    assert listens.ping(theirs, size=4000).all_answered
    assert away.ping(mine).received == 0
    assert not pings(lab, mine)
    assert udp_answered(listens, away, theirs, 99)
    assert udp_answered(listens, away, theirs, 123)
    assert not udp_answered(away, listens, mine, 99)
    assert not udp_answered(away, listens, mine, 9999)


@VERSIONS
def test_errors_of_a_connection_pass(listens: LabGuest, away: LabGuest, version: int) -> None:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with open_socket(listens, family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(1)
        in_netns(listens, lambda: asking.connect((address(away, version), 9)))
        asking.send(b"anybody?")
        with pytest.raises(OSError) as told:  # noqa: PT011 the number is what is asked for
            asking.recv(1)
    assert told.value.errno == errno.ECONNREFUSED


@pytest.fixture(scope="module")
def silent(lab: ExampleHost) -> Iterator[LabGuest]:
    with lasting_guest_of(lab, "silent") as guest:
        yield guest


@pytest.fixture(scope="module")
def few(lab: ExampleHost) -> Iterator[LabGuest]:
    with lasting_guest_of(lab, "few") as guest:
        yield guest


@VERSIONS
def test_a_closed_way_out(lab: ExampleHost, silent: LabGuest, away: LabGuest, version: int) -> None:
    with listening(silent, 8080), listening(away, 80), listening(lab, 80):
        mine, theirs = address(silent, version), address(away, version)
        asked: list[tuple[Node, str, int]] = [(away, mine, 8080), (lab, mine, 8080), (silent, theirs, 80)]
        assert try_all(asked, LONG) == ["open", "open", "timeout"]
        assert away.ping(mine).all_answered
        assert silent.ping(theirs).received == 0
        assert silent.ping("192.0.2.1" if version == 4 else "2001:db8::1").received == 0


@VERSIONS
def test_a_limit_of_connections(few: LabGuest, away: LabGuest, version: int) -> None:
    """The third waits; the first two live on."""
    with listening(few, 22), ExitStack() as stack:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        alive = [stack.enter_context(open_socket(away, family, socket.SOCK_STREAM)) for _ in range(2)]
        for client in alive:
            client.settimeout(1)
            client.connect((address(few, version), 22))
        assert away.tcp_connect(address(few, version), 22) == "timeout"
        for client in alive:
            assert client.send(b"still there") == 11


@pytest.fixture(scope="module")
def leased(lab: ExampleHost) -> Iterator[LabGuest]:
    with lasting_guest_of(lab, "leased") as guest:
        yield guest


def test_a_lease_needs_no_word(leased: LabGuest) -> None:
    """The guest asks nobody but the DHCP server, which is the host."""
    assert take_lease(leased).startswith("198.51.100.")
