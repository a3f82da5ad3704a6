"""Whatever is put into an inventory: it is told, with place and hint, or it can't do any harm."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from kvmgen.inventory.schema import validate
from kvmgen.inventory.source import MAX_BYTES, MAX_DEPTH, Source, parse
from tests.hostile import STRINGS, WRONG_TYPES, Place, as_yaml, places
from tests.sites import SMALL, tree, write
from tests.test_cli import run

FOLDERS = {"host": "hosts", "network": "networks", "guest": "guests", "filter": "filters"}
AROUND = {
    "site.yaml": "name: test\n",
    "hosts/kvm01.yaml": "platform: el8.6\nethernets: {eno1: {}}\nbridges: {br0: {ports: [eno1]}}\n",
}
LONGEST_LINE = 1_000
_TOLD = re.compile(r"(?P<file>\S.*?):\d+:\d+: (?P<severity>error|warning) KV\d{3}: \S.*")


def wrong_files(err: str, inventory: Path) -> set[str]:
    """The files in which errors are told; each must be told with a place and a hint, on lines that people can read."""
    assert "Traceback" not in err
    lines = err.splitlines()
    assert all(line.isprintable() and len(line) < LONGEST_LINE for line in lines), max(lines, key=len)[:2_000]
    found = set()
    for line, following in pairwise((*lines, "")):
        match = _TOLD.fullmatch(line)
        if match:
            assert following.startswith(("  hint: ", f"  {inventory}/")), line
            if match["severity"] == "error":
                found.add(match["file"].removeprefix(f"{inventory}/"))
    assert found or " error KV" not in err, err
    return found


# Every place of every schema.

Written = Mapping[str, tuple[Place, Any]]
"""What stands where, by the name of the object."""


def put_everywhere(kind: str, values: Mapping[str, Any]) -> Written:
    """An object for every value at every place of a kind's schema; texts only where the schema takes some."""
    every = [(place, value) for place in places(kind) for value in values.values()]
    chosen = [(place, value) for place, value in every if place.takes(value)]
    return {f"x{number}": pair for number, pair in enumerate(chosen)}


def _files_of(name: str, place: Place, value: Any) -> dict[str, str]:
    """An object's file, and for a filter a guest that uses it."""
    text = as_yaml(place.put(value))
    for one, own in (("virbr1", f"virbr{name[1:]}"), ("/x", f"/{name}")):  # what nobody shares
        text = text.replace(f'"{one}"', f'"{own}"')
    user = f"hosts: [kvm01]\ninterfaces: {{eth0: {{bridge: br0, filter: {name}}}}}\n"
    return {
        f"{FOLDERS[place.kind]}/{name}.yaml": text,
        **({f"guests/{name}.yaml": user} if place.kind == "filter" else {}),
    }


def compiled(folder: Path, written: Written, *, harmless: bool = False) -> tuple[Path, set[str]]:
    """Build what is right of some objects, and say which those are."""
    inventory, output = write(folder / "inventory", AROUND), folder / "output"
    for name, (place, value) in written.items():
        write(inventory, _files_of(name, place, place.harmless if harmless else value))
    good = set(written)
    while True:  # errors of a later step show when those of an earlier one are gone
        code, _, err = run("build", "-i", inventory, "-o", output)
        wrong = {Path(name).stem for name in wrong_files(err, inventory)}
        assert code == bool(wrong), err
        if not wrong:
            return output, good
        assert wrong <= good
        assert not output.exists()
        good -= wrong
        for path in files(inventory):
            if path.stem in wrong:
                path.unlink()


RENDERED = {
    "host": {"ethernets/*/ethtool", "sysctl/*", "firewall/direct/0/rule", "firewall/zones/*/description"},
    "network": {"dns/txt/0/value"},
    "guest": {"title", "description", "disks/*/file"},
    "filter": {"rules/0/else/mac/comment"},
}
"""Where a schema lets strange texts through, which then stand in a file of the output."""


@pytest.mark.parametrize("kind", FOLDERS)
def test_text_is_told_or_stays_text(kind: str, tmp_path: Path) -> None:
    """What compiles has the very shape that it has with a harmless text in the same place, and says that text."""
    written = put_everywhere(kind, STRINGS)
    _, good = compiled(tmp_path / "first", written)
    twins, good = compiled(tmp_path / "twins", {name: written[name] for name in good}, harmless=True)
    written = {name: written[name] for name in good}
    output, good = compiled(tmp_path / "second", written)
    assert good == set(written)
    assert shapes(output) == shapes(twins)

    rendered = [(place, text) for place, text in written.values() if place.way.partition("/")[2] in RENDERED[kind]]
    assert {place.way.partition("/")[2] for place, _ in rendered} == RENDERED[kind]
    said = {text for path in files(output) for text in texts(path)}
    assert [(place.way, text) for place, text in rendered if text not in said and not place.way.endswith("file")] == []


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_value_of_another_type_is_told_or_compiles(kind: str, tmp_path: Path) -> None:
    compiled(tmp_path, put_everywhere(kind, WRONG_TYPES))


def test_the_site_file_holds_nothing_else(tmp_path: Path) -> None:
    inventory = write(tmp_path / "inventory", {**AROUND, "guests/web.yaml": "hosts: [kvm01]\nplatform: el8\n"})
    for place in places("site"):
        for value in (*WRONG_TYPES.values(), *STRINGS.values()):
            if place.takes(value) and not validate("site", place.put(value), "site.yaml"):
                write(inventory, {"site.yaml": as_yaml(place.put(value))})
                code, _, err = run("validate", "-i", inventory)
                assert code == bool(wrong_files(err, inventory)), (place.way, value, err)


def files(output: Path) -> list[Path]:
    return [path for path in sorted(output.rglob("*")) if path.is_file()]


def shapes(output: Path) -> dict[str, Any]:
    """What every file is made of, without what its texts say."""
    return {str(path.relative_to(output)): _shape(path) for path in files(output)}


def _shape(path: Path) -> Any:
    match path.suffix:
        case ".json":
            return _keys(json.loads(path.read_text()))
        case ".xml":
            return [(str(element.tag), sorted(element.attrib)) for element in _elements(path)]
    return [line.partition("=")[0] for line in path.read_text().split("\n")]


def _keys(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _keys(value) for key, value in content.items()}
    return [_keys(value) for value in content] if isinstance(content, list) else type(content)


def _elements(path: Path) -> Any:
    return etree.fromstring(path.read_bytes()).iter()


def texts(path: Path) -> list[str]:
    """What a file's reader finds in it: contents and attributes, values, or a direct rule's words."""
    if path.suffix == ".xml":
        for element in _elements(path):
            if element.tag == "rule" and "ipv" in element.attrib:
                assert shlex.split(element.text)  # as firewalld does; one rule that can't be split takes all with it
        return [text for element in _elements(path) for text in (element.text or "", *element.attrib.values())]
    pairs = [re.split(" ?= ?", line, maxsplit=1) for line in path.read_text().split("\n")]
    return [shlex.split(pair[1])[0] if pair[1][:1] in "\"'" else pair[1] for pair in pairs if len(pair) == 2]
