"""What a change does to a host, by the applier's own judgement: the same definitions are given to both."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kvmgen.difference import impact_libvirt, impact_links, impact_xml
from kvmgen.difference.impact import Applying
from kvmgen.difference.model import Effect, FileChange, Impact, ObjectChange, Verb
from kvmgen.difference.sides import HostSide
from kvmgen.difference.words import IN_THE_PLAN, heaviest, joined, words_of
from kvmgen.model.site import views
from kvmgen.pipeline import load
from tests.applier.folder import applier_module
from tests.sites import EXAMPLE, ROOT, SITE, write

APPLIER = applier_module()
DEFINITIONS = [*sorted((ROOT / "output").glob("*/libvirt/networks/*.xml"))]
DEFINITIONS += sorted((ROOT / "output").glob("*/libvirt/domains/*.xml"))[::3]
EDITS_EACH = 12


def edited(text: str, chance: random.Random) -> str:
    """A definition of which a place or two say something else, or nothing, or the same twice."""
    root = ElementTree.fromstring(text)
    for _ in range(chance.randint(1, 2)):
        parent = chance.choice([element for element in root.iter() if len(element)])
        child = chance.choice(list(parent))
        edit = chance.randrange(4)
        if child.tag in ("name", "uuid", "mac", "devices"):
            continue
        if edit == 0:
            parent.remove(child)
        elif edit == 1 and child.attrib:
            child.set(chance.choice(list(child.attrib)), "7")
        elif edit == 2 and child.attrib:
            del child.attrib[chance.choice(list(child.attrib))]
        elif edit == 3 and child.tag in impact_xml._IDENTITIES:
            parent.append(child)
    return ElementTree.tostring(root, encoding="unicode")


def judged(kind: str, before: str, after: str) -> str:
    """What the applier's plan would say of a running object that it put itself."""
    entry = {"kind": kind, "path": "x", "defines": {"name": "x", "uuid": "u"}}
    item = APPLIER.item_of(None, entry, after.encode())
    item.baseline = {"put": before, "there": before}
    item.users = lambda then=None: []
    word: str = item.impact({"xml": before, "live": before, "autostart": True})[0]
    return word


def predicted(kind: str, before: str, after: str) -> Impact:
    if kind == "network":
        return impact_libvirt.network_impact("x", before, after, ())
    return impact_libvirt.domain_impact("x", before, after)


def applicable(path: Path) -> Iterator[tuple[str, str, str]]:
    before, chance = path.read_text(), random.Random(str(path.relative_to(ROOT)))
    for _ in range(EDITS_EACH):
        after = edited(before, chance)
        try:
            yield judged(path.parent.name[:-1], before, after), before, after
        except (AttributeError, TypeError, KeyError, ValueError):
            continue  # libvirt takes no definition without what the applier looked for


def test_definitions_are_judged_as_the_applier_does() -> None:
    """Whatever differs; and what ``net-update`` is used for is what it is said to be used for."""
    words: set[str] = set()
    for path in DEFINITIONS:
        kind = path.parent.name[:-1]
        for word, before, after in applicable(path):
            said = predicted(kind, before, after)
            assert word in IN_THE_PLAN[said.effect], (path, after, said)
            live, wanted = (ElementTree.fromstring(text) for text in (before, after))
            if kind == "network" and word == "live":
                assert (said.effect is Effect.NET_UPDATE) == any(APPLIER._net_updates(live, wanted)), (path, after)
            words.add(said.effect)
    assert words == {Effect.LIVE, Effect.NET_UPDATE, Effect.NETWORK_RESTART, Effect.GUEST_RESTART}


def test_both_look_at_the_same_words() -> None:
    assert dict(impact_xml._IDENTITIES) == APPLIER._IDENTITIES
    assert [row[1:] for row in APPLIER._UPDATABLE] == list(impact_libvirt._UPDATABLE)
    assert impact_libvirt._LIVE_PARTS == APPLIER._LIVE_PARTS
    assert impact_links._TAKEN_LIVE.pattern == APPLIER.NetworkManager.live.pattern


# -- sides -------------------------------------------------------------------------------------------------------------


def side(place: Path, files: dict[str, str]) -> HostSide:
    site = load(write(place, {"site.yaml": SITE, **files})).site
    assert site is not None
    return HostSide(next(iter(views(site))))


OVS = """platform: el9
ethernets: {eno1: {}, eno2: {}}
bridges:
  br0: {ports: [eno1], openvswitch: true}
  br1: {ports: [eno2]}
"""
GUESTS = {
    "guests/web01.yaml": "hosts: [kvm01]\ninterfaces: {eth0: {bridge: br0}}\n",
    "guests/db01.yaml": "hosts: [kvm01]\ninterfaces: {eth0: {network: lan}}\n",
    "networks/lan.yaml": "hosts: {kvm01: {}}\nforward: bridge\nbridge: {name: br1}\n",
}


def profiles(before: HostSide, after: HostSide | None) -> dict[str, Impact]:
    applying = Applying(before, after)
    paths = [path for path in before.artifacts if path.endswith(".nmconnection")]
    return {Path(path).name.removesuffix(".nmconnection"): applying.of_path(path) for path in paths}


def test_guests_above_a_link_lose_theirs(tmp_path: Path) -> None:
    """Through a switch's port, and through a network that is a bridge of the host's."""
    before = side(tmp_path / "1", {"hosts/kvm01.yaml": OVS, **GUESTS})
    gone = side(tmp_path / "2", {"hosts/kvm01.yaml": "platform: el9\nethernets: {eno1: {}, eno2: {}}\n"})
    said = profiles(before, gone)
    assert {name: (impact.effect, impact.guests) for name, impact in said.items()} == dict.fromkeys(
        ("eno1", "eno1.ovs-port", "br0", "br0.ovs-port", "br0.ovs-bridge"), (Effect.NETWORK_RESTART, ("web01",))
    ) | dict.fromkeys(("eno2", "br1"), (Effect.NETWORK_RESTART, ("db01",)))
    assert said["eno1"].why == "NetworkManager changes it only by starting it anew"


def test_a_host_that_comes_or_goes(tmp_path: Path) -> None:
    host = side(tmp_path, {"hosts/kvm01.yaml": OVS + "management: br1\n", **GUESTS})
    new, left = Applying(None, host), Applying(host, None)
    effects = {new.of_path(path).effect for path, one in host.artifacts.items() if one.kind != "link"}
    assert effects <= {Effect.LIVE, Effect.MANAGEMENT}
    gone = ObjectChange(kind="domain", name="web01", verb=Verb.REMOVED)
    assert left.impact_of(gone) is None, "nothing is applied to it"


def test_an_object_is_as_heavy_as_the_heaviest_of_its_files(tmp_path: Path) -> None:
    before = side(tmp_path / "1", {"hosts/kvm01.yaml": OVS, **GUESTS})
    web = GUESTS["guests/web01.yaml"]
    after = side(tmp_path / "2", {"hosts/kvm01.yaml": OVS, **GUESTS, "guests/web01.yaml": f"{web}memory: 2 GiB\n"})
    applying = Applying(before, after)
    paths = ("guests/web01/etc/motd", "libvirt/domains/web01.xml")
    files = tuple(FileChange(path=path, verb=Verb.CHANGED) for path in paths)
    change = ObjectChange(kind="domain", name="web01", verb=Verb.CHANGED, files=files)
    said = applying.impact_of(change)
    assert said is not None
    assert (said.effect, said.guests) == (Effect.GUEST_RESTART, ("web01",))
    assert said.why == "a running guest can't take memory, currentMemory"
    by_the_manifest = ObjectChange(kind="network", name="lan", verb=Verb.CHANGED)
    assert applying.impact_of(by_the_manifest) == Impact(effect=Effect.LIVE)


def test_every_kind_of_file_of_the_example_is_judged() -> None:
    site = load(EXAMPLE).site
    assert site is not None
    for view in views(site):
        host = HostSide(view)
        applying = Applying(host, HostSide(view, {}))
        assert all(applying.of_path(path).effect in IN_THE_PLAN for path in host.artifacts)


def test_another_uuid_is_refused(tmp_path: Path) -> None:
    before = side(tmp_path / "1", {"hosts/kvm01.yaml": OVS, **GUESTS})
    web = GUESTS["guests/web01.yaml"] + "uuid: 5f1c1e9e-7a52-4c1c-9f0a-6f6a4a4d0c2e\n"
    after = side(tmp_path / "2", {"hosts/kvm01.yaml": OVS, **GUESTS, "guests/web01.yaml": web})
    assert Applying(before, after).of_path("libvirt/domains/web01.xml").why.startswith("the applier refuses it")


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("impact", "words"),
    [
        (Impact(effect=Effect.WAITS, guests=("a",)), "goes once a has stopped"),
        (Impact(effect=Effect.GUEST_RESTART, guests=("a", "b")), "waits until a and b are shut down and started again"),
        (
            Impact(effect=Effect.NETWORK_RESTART, guests=tuple("abcdef"), needs="--disruptive br0"),
            "waits until br0 is restarted (--disruptive): a, b, c, d and 2 more lose their link meanwhile",
        ),
        (
            Impact(effect=Effect.MANAGEMENT, needs="--confirm-within 120 --disruptive eno1"),
            "on the way that administrators come in by (--confirm-within); "
            "waits until eno1 is restarted (--disruptive)",
        ),
    ],
)
def test_words(impact: Impact, words: str) -> None:
    assert words_of(impact) == words


def test_the_heaviest_says_who_feels_it() -> None:
    one = Impact(effect=Effect.GUEST_RESTART, guests=("b",), why="memory")
    other = Impact(effect=Effect.GUEST_RESTART, guests=("a",), why="vcpu")
    changes = [ObjectChange(kind="domain", name="x", verb=Verb.CHANGED, impact=said) for said in (one, other, None)]
    assert heaviest(changes) == Impact(effect=Effect.GUEST_RESTART, guests=("a", "b"), why="memory; vcpu")
    assert heaviest([]) is None
    assert joined([one, Impact(effect=Effect.NETWORK_RESTART, needs="--disruptive x")]) == one
