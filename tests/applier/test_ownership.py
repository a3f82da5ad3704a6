"""What a manifest once put on the host is changed and removed, and nothing else; and all of it can be had back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.applier.folder import FILES, IFCFG, MODULES, SYSCTL, Image

OTHER = b"net.ipv4.ip_forward = 0\n# ours\n"


@pytest.fixture
def image(tmp_path: Path) -> Image:
    found = Image(tmp_path)
    found.offer()
    return found


def test_what_is_put_is_what_the_folder_holds(image: Image) -> None:
    foreign = image.write("etc/sysconfig/network-scripts/ifcfg-lo", b"DEVICE=lo\n", 0o600)
    image.offer({**FILES, "guests/web/etc/sysctl.d/90-kvmgen.conf": b"a = 1\n"})
    image.apply()
    assert {path: image.read(path) for path in FILES} == dict(FILES)
    assert foreign.read_bytes() == b"DEVICE=lo\n"
    assert not (image.root / "guests").exists()
    assert image.as_json(0, "plan", str(image.folder)) == []
    assert "Nothing to do." in image.apply()


def test_what_somebody_else_made_is_refused_with_the_words_that_take_it_over(image: Image) -> None:
    image.write(SYSCTL, OTHER)
    before = image.state()
    told = image.apply(code=1)
    assert f"sysctl {SYSCTL}" in told
    assert f"--adopt {SYSCTL}" in told
    assert image.state() == before
    assert f"adopt   sysctl    {SYSCTL}" in image.apply("--adopt", SYSCTL)
    assert image.read(SYSCTL) == FILES[SYSCTL]


def test_what_is_the_same_already_is_taken_over_without_a_word(image: Image) -> None:
    image.write(SYSCTL, FILES[SYSCTL])
    image.apply()
    image.offer({IFCFG: FILES[IFCFG]})
    image.apply()
    assert not (image.root / SYSCTL).exists()


@pytest.mark.parametrize("name", ["etc/sysctl.d/91-kvmgen.conf", "90-kvmgen.conf", ""])
def test_taking_over_what_the_manifest_does_not_have_is_a_wrong_call(image: Image, name: str) -> None:
    before = image.state()
    assert "the manifest has nothing of that name" in image.apply("--adopt", name, code=2)
    assert image.state() == before


@pytest.mark.real
def test_going_back_gives_what_somebody_else_made_back_as_it_was(image: Image) -> None:
    foreign = image.write(SYSCTL, b"\xff\x00 no text\r\n", 0o640)
    os.chown(foreign, 12, 34)
    for name, value in (("security.selinux", b"system_u:object_r:etc_t:s0\0"), ("trusted.backup", b"\0\xff")):
        os.setxattr(foreign, name, value)
    attributes = {name: os.getxattr(foreign, name) for name in os.listxattr(foreign)}
    before = image.state()
    image.apply("--adopt", SYSCTL)
    assert foreign.read_bytes() == FILES[SYSCTL]
    assert (foreign.stat().st_uid, foreign.stat().st_mode & 0o7777) == (0, 0o644)
    image.expect(0, "rollback")
    assert {path: state for path, state in image.state().items() if path in before} == before
    assert not [path for path in FILES if path != SYSCTL and (image.root / path).exists()]
    assert {name: os.getxattr(foreign, name) for name in os.listxattr(foreign)} == attributes
    assert "not kvmgen's" in image.apply(code=1)


# -- changed by hand ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "mode", "tells"),
    [
        (OTHER, 0o644, "+net.ipv4.ip_forward = 1"),
        (FILES[SYSCTL].rstrip(b"\n"), 0o644, "its line ends or its encoding differ"),
        (FILES[SYSCTL].replace(b"\n", b"\r\n"), 0o644, "its line ends or its encoding differ"),
        (FILES[SYSCTL], 0o666, "mode 0666 becomes 0644"),
    ],
)
def test_what_was_changed_by_hand_is_told_overwritten_and_can_be_had_back(
    image: Image, content: bytes, mode: int, tells: str
) -> None:
    image.apply()
    assert image.as_json(0, "status")["drift"] == []
    image.write(SYSCTL, content, mode)
    by_hand = image.state()

    assert SYSCTL in "".join(image.as_json(3, "status")["drift"])
    for told in (image.expect(3, "plan", str(image.folder)), image.apply()):
        assert "changed by hand: its " in told
        assert tells in told
    assert image.read(SYSCTL) == FILES[SYSCTL]
    image.expect(0, "rollback")
    assert image.state() == by_hand


def test_what_was_removed_by_hand_is_put_again(image: Image) -> None:
    image.offer({MODULES: b""})
    image.apply()
    (image.root / MODULES).unlink()
    assert image.as_json(3, "status")["drift"] == [f"modules {MODULES}: it is gone"]
    assert "changed by hand: it is gone" in image.apply()
    assert image.read(MODULES) == b""


# -- what leaves the manifest ------------------------------------------------------------------------------------------


def test_what_leaves_the_manifest_is_removed_where_it_was_kvmgens(image: Image) -> None:
    foreign = image.write("etc/sysctl.d/50-other.conf", b"")
    image.apply()
    image.write(SYSCTL, OTHER)
    image.offer({IFCFG: FILES[IFCFG]})
    removals = {change["name"]: change["details"] for change in image.as_json(3, "plan", str(image.folder))}
    assert removals == {SYSCTL: ["changed by hand: its content was changed"], MODULES: []}
    image.apply()
    assert not (image.root / SYSCTL).exists()
    assert foreign.exists()
    image.expect(0, "rollback")
    assert image.read(SYSCTL) == OTHER


def test_what_left_the_manifest_is_somebody_elses_from_then_on(image: Image) -> None:
    image.apply()
    image.offer({IFCFG: FILES[IFCFG]})
    image.apply()
    image.write(SYSCTL, OTHER)
    image.offer()
    assert "not kvmgen's" in image.apply(code=1)
    image.offer({IFCFG: FILES[IFCFG]})
    assert "Nothing to do." in image.apply()
    assert image.read(SYSCTL) == OTHER


def test_every_generation_can_be_gone_back_to(image: Image) -> None:
    states = [image.state()]
    for number in range(1, 4):
        image.offer({**FILES, SYSCTL: b"vm.swappiness = %d\n" % number, f"etc/sysctl.d/{number}.conf": b""})
        image.apply()
        states.append(image.state())
    files = [{path for path, state in found.items() if state[3] is not None} for found in states]
    assert len({frozenset(names) for names in files}) == len(states)
    for number in (1, 3, 0, 2):
        image.expect(0, "rollback", str(number))
        there = {path: state for path, state in image.state().items() if state[3] is not None}
        assert there == {path: states[number][path] for path in files[number]}
    assert [row["generation"] for row in image.as_json(0, "history")] == list(range(1, 8))
