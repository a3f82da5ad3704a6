"""Whatever is put into an inventory: it is told, with place and hint, or it can't do any harm."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from tests.hostile import STRINGS, WRONG_TYPES, Place, as_yaml, places
from tests.sites import write
from tests.test_cli import run

FOLDERS = {"host": "hosts", "network": "networks", "guest": "guests", "filter": "filters"}
AROUND = {
    "site.yaml": "name: test\n",
    "hosts/kvm01.yaml": "platform: el8.6\nethernets: {eno1: {}}\nbridges: {br0: {ports: [eno1]}}\n",
}
_TOLD = re.compile(r"(?P<file>\S.*?):(?P<line>\d+):(?P<column>\d+): (?P<severity>error|warning) KV\d{3}: \S.*")
LONGEST_LINE = 1_000


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
    assert found or "error" not in err, err
    return found


Written = Mapping[str, tuple[Place, Any]]


def put_everywhere(kind: str, values: Mapping[str, Any]) -> Written:
    """A file for every value at every place of a kind's schema."""
    written = {}
    for place in places(kind):
        for value in values.values():
            if place.takes_text or not isinstance(value, str):
                written[f"{FOLDERS[kind]}/x{len(written)}.yaml"] = place, value
    return written


def compiled(folder: Path, written: Written, *, harmless: bool) -> tuple[Path, set[str]]:
    """Build what is right of some files, and say which files those are."""
    inventory, output = write(folder / "inventory", AROUND), folder / "output"
    for number, (name, (place, value)) in enumerate(written.items()):
        text = as_yaml(place.put(place.harmless if harmless else value))
        for one, own in (("virbr1", f"virbr{number}"), ("/x", f"/x{number}")):  # what nobody shares
            text = text.replace(f'"{one}"', f'"{own}"')
        write(inventory, {name: text})
    good = set(written)
    while True:  # errors of the next step show when those of the first one are gone
        code, _, err = run("build", "-i", inventory, "-o", output)
        wrong = wrong_files(err, inventory)
        assert code == bool(wrong), err
        if not wrong:
            return output, good
        assert wrong <= good
        assert not output.exists()
        good -= wrong
        for name in wrong:
            (inventory / name).unlink()


@pytest.mark.parametrize("kind", FOLDERS)
def test_text_is_told_or_stays_text(kind: str, tmp_path: Path) -> None:
    """What compiles has the very shape that it has with a harmless text in the same place."""
    written = put_everywhere(kind, STRINGS)
    _, good = compiled(tmp_path / "first", written, harmless=False)
    twins, good = compiled(tmp_path / "twins", {name: written[name] for name in good}, harmless=True)
    output, good = compiled(tmp_path / "hostile", {name: written[name] for name in sorted(good)}, harmless=False)
    assert shapes(output) == shapes(twins)


def shapes(output: Path) -> dict[str, Any]:
    """What every file is made of, without what its texts say."""
    files = (path for path in sorted(output.rglob("*")) if path.is_file())
    return {str(path.relative_to(output)): _shape(path) for path in files}


def _shape(path: Path) -> Any:
    text = path.read_text()
    match path.suffix:
        case ".json":
            return _keys(json.loads(text))
        case ".xml":
            return [
                (str(element.tag), len(element.attrib), len(_rule(element))) for element in etree.fromstring(text.encode()).iter()
            ]
    return [line.partition("=")[0] for line in text.split("\n")]


def _keys(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _keys(value) for key, value in content.items()}
    return [_keys(value) for value in content] if isinstance(content, list) else type(content)


def _rule(element: Any) -> list[str]:
    """firewalld splits a direct rule as a shell would; one that can't be split takes all the others with it."""
    return shlex.split(element.text or "") if element.tag == "rule" and "ipv" in element.attrib else []
