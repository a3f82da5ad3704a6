"""What the README shows is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.readme import blocks, files, shown, told
from tests.sites import ROOT, write
from tests.test_cli import run


def test_the_inventory_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (inventory,) = (block for block in blocks("An inventory") if "# inventory/hosts/kvm01.yaml" in block)
    write(tmp_path, files(inventory) | {"inventory/site.yaml": "name: readme\n"})
    monkeypatch.chdir(tmp_path)
    assert run("validate", "--strict") == (0, "Valid: 1 host, 1 guest.\n", "")


def test_the_wrong_site_gets_the_errors_that_are_shown() -> None:
    assert told() == shown()
    assert len(re.findall(r"KV\d{3}:", shown())) > 5


def test_every_command_is_in_the_overview() -> None:
    (overview,) = (block for block in blocks("The command") if "kvmgen build" in block)
    commands = set(re.findall(r"^│ (\w[\w-]*) ", run("--help")[1], re.MULTILINE))
    assert commands >= {"build", "validate", "init"}
    assert set(re.findall(r"^kvmgen (\w[\w-]*)", overview, re.MULTILINE)) == commands


def test_every_option_of_the_overview_is_there() -> None:
    (overview,) = (block for block in blocks("The command") if "kvmgen build" in block)
    for command, words in re.findall(r"^kvmgen ([a-z][\w-]*)(.*(?:\n {4,}\[.*)*)", overview, re.MULTILINE):
        said = run(command, "--help")[1]
        assert [option for option in re.findall(r"--[a-z][a-z-]*", words) if option not in said] == [], command


def test_every_room_of_the_house_is_named() -> None:
    (house,) = (block for block in blocks("The house") if "inventory/" in block)
    rooms = {path.name for path in (ROOT / "generator/kvmgen").iterdir() if (path / "__init__.py").exists()}
    assert {room for room in rooms - {"cli"} if f"{room}/" not in house} == set()


@pytest.mark.parametrize("heading", ["Why a line is there", "Who reaches whom"])
def test_what_a_command_tells_of_the_example_is_shown(heading: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command, _, answer = blocks(heading)[0].partition("\n\n")
    monkeypatch.chdir(ROOT)
    _, out, err = run(*command.split()[1:])
    assert (out, err) == (f"{answer}\n", "")
