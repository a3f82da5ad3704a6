"""Whatever is put into an inventory: it is told, with place and hint, or it can't do any harm."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from lxml import etree

from kvmgen.inventory.schema import validate
from kvmgen.inventory.source import MAX_DEPTH, Source, parse
from tests.hostile import STRINGS, WRONG_TYPES, Place, as_yaml, places
from tests.sites import SMALL, tree, write
from tests.test_cli import run

FOLDERS = {"host": "hosts", "network": "networks", "guest": "guests", "filter": "filters", "policy": "policies"}
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
    "guest": {"title", "description", "disks/*/file", "cloud-init/user-data/*", "cloud-init/user-data/KEY"},
    "filter": {"rules/0/else/mac/comment"},
    "policy": set(),
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
        case ".iso":
            return None  # its files stand beside it
    if path.name == "user-data":
        return [type(value) for value in yaml.safe_load(path.read_text()).values()]
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
    if path.suffix == ".iso":
        return []
    if path.name == "user-data":
        return [text for pair in yaml.safe_load(path.read_text()).items() for text in pair]
    pairs = [re.split(" ?= ?", line, maxsplit=1) for line in path.read_text().split("\n")]
    return [shlex.split(pair[1])[0] if pair[1][:1] in "\"'" else pair[1] for pair in pairs if len(pair) == 2]


def test_a_shell_reads_the_same_and_runs_nothing(tmp_path: Path) -> None:
    """ifcfg files are sourced by root."""
    written = {name: pair for name, pair in put_everywhere("host", STRINGS).items() if pair[0].way.endswith("ethtool")}
    output, good = compiled(tmp_path, written)
    assert good
    (tmp_path / "empty").mkdir()
    for name in good:
        file = output / name / "etc/sysconfig/network-scripts/ifcfg-eno1"
        script = '. "$0" && printf %s "$ETHTOOL_OPTS"'
        done = subprocess.run(
            ["bash", "-c", script, file], cwd=tmp_path / "empty", capture_output=True, text=True, check=True
        )
        assert (done.stdout, done.stderr) == (written[name][1], "")
    assert tree(tmp_path / "empty") == {}


# Files that no editor should have saved.

LAUGHS = "a: &a [x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi"))

CONTENTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "1:1: error KV010"),
    "blank": (b" \n\n", "1:1: error KV010"),
    "only a comment": (b"# hosts: [kvm1]\n", "1:1: error KV010"),
    "only a document's start": (b"---\n", "2:1: error KV010"),
    "a list": (b"- hosts: [kvm1]\n", "1:1: error KV010"),
    "a word": (b"kvm1\n", "1:1: error KV010"),
    "tabs": (b"hosts:\n\t- kvm1\n", "2:1: error KV002"),
    "a tab behind a dash": (b"hosts:\n-\tkvm1\n  - kvm2\n", "error KV0"),
    "a program": (b"\x7fELF\x02\x01\x01" + bytes(9), "1:1: error KV004"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "1:1: error KV001"),
    "every byte": (bytes(range(256)), "error KV001"),
    "zeros": (bytes(4096), "1:1: error KV004"),
    "UTF-16": ("hosts: [kvm1]\n".encode("utf-16"), "1:1: error KV001"),
    "UTF-16 without a mark": ("hosts: [kvm1]\n".encode("utf-16-be"), "1:1: error KV004"),
    "UTF-32": ("hosts: [kvm1]\n".encode("utf-32"), "1:1: error KV001"),
    "a byte order mark": (b"\xef\xbb\xbfhosts: [kvm1]\n", "1:1: error KV001"),
    "Latin-1": ("hosts: [kvm1]\ntitle: Zürich\n".encode("latin-1"), "2:9: error KV001"),
    "cut within a character": ("title: Zü".encode()[:-1], "1:9: error KV001"),
    "half of a pair": (b"title: \xed\xa0\x80\n", "1:8: error KV001"),
    "half of a pair, escaped": (b'title: "\\ud800"\n', "1:11: error KV002"),
    "too long a way to write a slash": (b"title: \xc0\xaf\n", "1:8: error KV001"),
    "turned round": ("title: web \u202e10\n".encode(), "1:12: error KV004"),
    "invisible": ("title: web\u200b10\n".encode(), "1:11: error KV004"),
    "hidden letters": ("# x\U000e0041\nhosts: [kvm1]\n".encode(), "1:4: error KV004"),
    "billion laughs": (LAUGHS.encode(), "1:4: error KV004"),
    "itself": (b"hosts: &a [*a]\n", "1:8: error KV004"),
    "an anchor": (b"hosts: &a [kvm1]\n", "1:8: error KV004"),
    "a merge key": (b"hosts: [kvm1]\n<<: {vcpus: 1}\n", "2:1: error KV004"),
    "a tag": (b"hosts: !!python/object/apply:os.system [reboot]\n", "1:8: error KV004"),
    "a binary tag": (b"hosts: [kvm1]\ntitle: !!binary eA==\n", "2:8: error KV004"),
    "a directive": (b"%YAML 1.1\n---\nhosts: [kvm1]\n", "1:1: error KV004"),
    "another directive": (b"%TAG ! tag:x,2000:\n---\nhosts: [kvm1]\n", "1:1: error KV004"),
    "an unknown directive": (b"%x y\n---\nhosts: [kvm1]\n", "error KV0"),
    "two documents": (b"hosts: [kvm1]\n---\nhosts: [kvm2]\n", "2:1: error KV002"),
    "a key of many keys": (b"? {hosts: [kvm1]}\n: x\n", "1:3: error KV004"),
    "deep": (b"hosts: " + b"[" * 100_000, f"1:{MAX_DEPTH + 7}: error KV004"),
    "deep dashes": (b"- " * 100_000, "error KV004"),
    "deep mappings": (b"{a: " * 100_000, "error KV004"),
    "deep questions": (b"? " * 100_000, "error KV004"),
    "deep blocks": ("".join(f"{' ' * depth}a:\n" for depth in range(200)).encode(), "error KV004"),
    "a long number": (b"vcpus: " + b"9" * 100_000, "1:8: error KV004"),
    "a long amount": (b"memory: " + b"9" * 100_000 + b" GiB", "1:9: error KV010"),
    "a long number in hexadecimal": (b"vcpus: 0x" + b"f" * 100_000, "1:8: error KV004"),
    "a long exponent": (b"vcpus: 1e" + b"9" * 100_000, "1:8: error KV004"),
    "a long key": (b"hosts: [kvm1]\n" + b"k" * 1_000_000 + b": 1\n", "error KV0"),
    "a long key twice": (2 * (b"k" * 900 + b": 1\n"), "2:1: error KV003"),
    "a long tag": (b"hosts: !" + b"t" * 100_000 + b" x\n", "1:8: error KV004"),
    "a long word": (b"machine: " + b"1" * 1_000_000 + b"!\n", "1:10: error KV010"),
    "many keys": ("".join(f"k{number}: 1\n" for number in range(100_000)).encode(), "1:1: error KV011"),
    "many keys twice": (b"k: 1\n" * 100_000, "2:1: error KV003"),
    "many items": (b"hosts: [" + b"kvm1, " * 30_000 + b"]", "1:8: error KV010"),
    "many brackets": (b"hosts: [" + b"[]," * 100_000 + b"]", "1:9: error KV010"),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small site and its output, in the current folder."""
    write(tmp_path / "inventory", SMALL)
    monkeypatch.chdir(tmp_path)
    assert run("build")[0] == 0
    return tmp_path


@pytest.mark.parametrize(("content", "told"), CONTENTS.values(), ids=CONTENTS)
def test_a_strange_file_is_told_where_it_is_strange(site: Path, content: bytes, told: str) -> None:
    (site / "inventory/guests/web2.yaml").write_bytes(content)
    before, start = tree(site / "output"), time.monotonic()
    code, out, err = run("build")
    assert (code, out) == (1, "")
    assert wrong_files(err, Path("inventory")) == {"guests/web2.yaml"}
    assert any(told in line for line in err.splitlines()), err[:2000]
    assert tree(site / "output") == before
    assert time.monotonic() - start < 10


# What looks like a number, a time or a mapping, and isn't quoted.

SPELT = (
    *("52:54:00:24:4c:ee", "00:25:90:13:10:20", "11:22:33:44:55:66", "01:02:03:04:05:06", "1e:10:00:00:00:01"),
    *("fd00::1", "fd00::1/64", "::1", "::", "::/0", "fe80::", "1::", "2001:db8:0:0:1:2:3:4", "10:20:30:40:50:60:70:80"),
    *("192.0.2.1", "192.0.2.0/24", "1.1", "1e3", "0x1f", "0o17", "1_000", "12:30", "no", "~", "1024-65535", "802.3ad"),
)
AS = (
    "k: {}",
    "k: {{a: {}}}",
    "k: {{a: {}, b: 1}}",
    "k: [{}]",
    "k: [{}, 1]",
    "k:\n  - {}",
    "k:\n  - {}\n  - 1",
    "k: {}  # x",
)
NUMBERS = {"1.1": 1.1, "1e3": 1000, "0x1f": 31, "0o17": 15, "~": None}
"""What is no string by YAML 1.2 either; no schema allows it where it allows the string."""


@pytest.mark.parametrize("form", AS)
def test_an_address_without_quotes_is_right_or_told(form: str) -> None:
    for text in SPELT:
        bare, problems = parse(Source("x.yaml", form.format(text)))
        quoted, _ = parse(Source("x.yaml", form.format(f'"{text}"')))
        if problems:
            assert [(problem.rule.code, bool(problem.position and problem.hint)) for problem in problems] == [
                ("KV002", True)
            ]
        elif text in NUMBERS:
            assert bare == parse(Source("x.yaml", form.format(json.dumps(NUMBERS[text]))))[0]
        elif bare != quoted:  # a mapping, which is told where a text belongs
            assert text.endswith(":"), (form, text)
            assert bare["k"][0] == {text[:-1]: None}


def test_an_unquoted_address_is_the_quoted_one(site: Path) -> None:
    guest = "hosts: [kvm1]\ninterfaces:\n  eth0: {{bridge: br0, mac: {}, addresses: [{}]}}\n"
    outputs = []
    for mac, address in (("52:54:00:10:20:30", "fd00::10/64"), ('"52:54:00:10:20:30"', '"fd00::10/64"')):
        write(site / "inventory", {"guests/web2.yaml": guest.format(mac, address)})
        assert run("build")[0] == 0
        outputs.append(tree(site / "output"))
    assert outputs[0] == outputs[1]


def test_a_hundred_findings_in_a_file_are_enough(site: Path) -> None:
    for content in ("hosts: [kvm1]\n" + "".join(f"k{number}: 1\n" for number in range(101)), "1: 2\n" * 101):
        write(site / "inventory", {"guests/web2.yaml": content})
        _, _, err = run("validate")
        assert err.endswith("There is more in this file: mend these 100 first.\n100 errors\n")
