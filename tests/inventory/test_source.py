"""Reading YAML: 1.2's meaning of every scalar, a position for everything, and a refusal of what is no use here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from kvmgen.diagnostics import Diagnostic, Pointer, Position
from kvmgen.inventory.source import MAX_BYTES, MAX_DEPTH, Source, decode, parse

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("inventory/**/*.yaml"), *ROOT.glob("generator/kvmgen/inventory/own_filters/*.yaml")])


def read(text: str) -> Any:
    """The data of a text in which nothing is wrong."""
    data, problems = parse(Source("x.yaml", text))
    assert problems == [], problems
    return data


def refused(text: str) -> list[tuple[str, str, tuple[int, int]]]:
    """Code, message and position of all that is wrong with a text."""
    data, problems = parse(Source("x.yaml", text))
    assert data is None
    assert all(problem.hint for problem in problems)
    return [(problem.rule.code, problem.message, _at(problem.position)) for problem in problems]


def _at(position: Position | None) -> tuple[int, int]:
    assert position is not None
    return position.line, position.column


STRINGS = (
    *("no", "on", "off", "yes", "y", "n", "No", "ON", "tRUE", "nULL"),
    *("12:30:45", "2001-01-01", "2001-12-14t21:59:43.10-05:00", "52:54:00:24:4c:ee", "192.0.2.1", "802.3ad"),
    *("1_000", "0b1", "0o8", "-0o7", "-0x1F", "0x", "1e", "1.2.3", "+", "-x", ".", "..", "e5", "=", "inf"),
)
CONSTANTS = {"true": True, "True": True, "TRUE": True, "false": False, "null": None, "~": None, "Null": None, "": None}
NUMBERS = {
    "0": 0,
    "010": 10,
    "-7": -7,
    "+7": 7,
    "0o7": 7,
    "0o17": 15,
    "0x1F": 31,
    "9223372036854775807": 2**63 - 1,
    "1.5": 1.5,
    ".5": 0.5,
    "-.5e1": -5,
    "2.0": 2,
    "1e3": 1000,
    "1.e3": 1000,
    "5.": 5,
}


@pytest.mark.parametrize("text", STRINGS)
def test_words_that_yaml_1_1_misreads_are_strings(text: str) -> None:
    assert read(f"key: {text}") == {"key": text}
    assert read(f"[{text}]") == [text]


@pytest.mark.parametrize(("text", "value"), [*CONSTANTS.items(), *NUMBERS.items()])
def test_constants_and_numbers(text: str, value: object) -> None:
    """As YAML 1.2's core schema reads them; a whole number is one however it is written."""
    data = read(f"key: {text}")["key"]
    assert (type(data), data) == (type(value), value)
    for quoted in (f'"{text}"', f"'{text}'"):
        assert read(f"key: {quoted}") == {"key": text}
    assert read(f"key: |-\n  {text}") == {"key": text}


@pytest.mark.parametrize("text", ["", " \n", "# nothing\n", "---\n", "---\n...\n", "null"])
def test_an_empty_document_is_nothing(text: str) -> None:
    """The schema then says what must be there."""
    assert read(text) is None


def test_line_ends_and_comments() -> None:
    assert read("---\na: 1\r\nb: x#y # z\r\n...\n# end") == {"a": 1, "b": "x#y"}


DOCUMENT = """\
# first
hosts: [kvm1, "kvm2"]
interfaces:
  eth0: {bridge: br0, é: x}
  "eth1":
    - one
    - - two
"""


@pytest.mark.parametrize(
    ("pointer", "value", "key"),
    [
        ((), (2, 1), (2, 1)),
        (("hosts",), (2, 8), (2, 1)),
        (("hosts", 1), (2, 15), (2, 15)),
        (("interfaces", "eth0"), (4, 9), (4, 3)),
        (("interfaces", "eth0", "é"), (4, 26), (4, 23)),
        (("interfaces", "eth1", 1, 0), (7, 9), (7, 9)),
        (("interfaces", "eth1"), (6, 5), (5, 3)),
        (("interfaces", "eth0", "bridge", "not", "there"), (4, 18), (4, 10)),
        (("hosts", 7), (2, 8), (2, 1)),
        (("nothing",), (2, 1), (2, 1)),
    ],
)
def test_positions(pointer: Pointer, value: tuple[int, int], key: tuple[int, int]) -> None:
    """Lines and columns count characters from 1; what isn't there has the place of what encloses it."""
    source = Source("x.yaml", DOCUMENT)
    assert _at(source.position(pointer)) == value
    assert _at(source.position(pointer, of_key=True)) == key


def test_no_position_where_there_is_no_yaml() -> None:
    assert Source("x.yaml", "[").position(("a",)) is None
    assert Source("x.yaml", "").position(("a",)) is None


@pytest.mark.parametrize(
    ("text", "code", "message", "position"),
    [
        ("a: 1\nb: {c: 1, d: 2, c: 3}", "KV003", "the key 'c' stands here again; it stands first in line 2", (2, 17)),
        ('a: 1\n"a": 2', "KV003", "first in line 1", (2, 1)),
        ("a: !ref b", "KV004", "the tag '!ref'", (1, 4)),
        ("a: !!str 5", "KV004", "the tag 'tag:yaml.org,2002:str'", (1, 4)),
        ("a: ! 5", "KV004", "the tag '!'", (1, 4)),
        ("!<tag:yaml.org,2002:map>\na: 5", "KV004", "the tag", (1, 1)),
        ("a: [!x b]", "KV004", "the tag '!x'", (1, 5)),
        ("%YAML 1.1\n---\na: no", "KV004", "directives", (1, 1)),
        ("# c\n%TAG ! !x\n---\na: no", "KV004", "directives", (2, 1)),
        ("c:\n  <<: {d: 1}", "KV004", "merge keys", (2, 3)),
        ("a: &x [b]\nc: *x", "KV004", "anchors", (1, 4)),
        ("a: *x", "KV004", "aliases", (1, 4)),
        ("a: 1\n--- \nb: 2", "KV002", "single document", (2, 1)),
        ("? [a]\n: b", "KV004", "a key must be a single word", (1, 3)),
        ("a: 1\n2: b", "KV004", "the key '2' is not a string", (2, 1)),
        ("true: b", "KV004", "the key 'true' is not a string", (1, 1)),
        ("~: b", "KV004", "the key '~' is not a string", (1, 1)),
        ("? \n: b", "KV004", "the key '' is not a string", (1, 2)),
        ("a: .inf", "KV004", "beyond", (1, 4)),
        ("a: -.INF", "KV004", "beyond", (1, 4)),
        ("a: .nan", "KV004", "beyond", (1, 4)),
        ("a: 1e999", "KV004", "beyond", (1, 4)),
        ("a: 9223372036854775808", "KV004", "beyond", (1, 4)),
        ("a: " + "9" * 9999, "KV004", "beyond", (1, 4)),
        ("a: 0x" + "f" * 9999, "KV004", "beyond", (1, 4)),
        ("a: b\x00c", "KV004", "U+0000", (1, 5)),
        ("a: 1\nb: \x1b[31m", "KV004", "U+001B", (2, 4)),
        ("a: b\u2028c", "KV004", "U+2028", (1, 5)),
        ("a: 1\r\nb\x85c", "KV004", "U+0085", (2, 2)),
        ("a: \ufeffb", "KV004", "U+FEFF", (1, 4)),
        ("a:\n\tb: 1", "KV002", "cannot start any token", (2, 1)),
        ("a: [b", "KV002", "flow sequence", (2, 1)),
        ("a: 'b", "KV002", "quoted scalar", (1, 6)),
        ("a: b: c", "KV002", "mapping values", (1, 5)),
        ("a: @b", "KV002", "cannot start any token", (1, 4)),
        ("[" * 9999, "KV004", f"deeper than {MAX_DEPTH}", (1, MAX_DEPTH + 1)),
        ("- " * 9999, "KV004", f"deeper than {MAX_DEPTH}", (1, 2 * MAX_DEPTH + 1)),
        ("? " * 9999, "KV004", f"deeper than {MAX_DEPTH}", (1, 2 * MAX_DEPTH + 1)),
        ("\n".join(" " * depth + "a:" for depth in range(99)), "KV004", "deeper", (MAX_DEPTH + 1, MAX_DEPTH + 1)),
    ],
)
def test_refused(text: str, code: str, message: str, position: tuple[int, int]) -> None:
    """Each told once, where it stands."""
    ((its_code, its_message, its_position),) = refused(text)
    assert (its_code, its_position) == (code, position)
    assert message in its_message


def test_all_that_is_refused_is_told_at_once() -> None:
    found = refused("a: 1\nb: {1: 2}\na: 3\nc: [.inf, {d: 1, d: 2}]")
    assert [(code, position) for code, _, position in found] == [
        ("KV004", (2, 5)),
        ("KV003", (3, 1)),
        ("KV004", (4, 5)),
        ("KV003", (4, 18)),
    ]


def test_quoted_merge_keys_are_keys() -> None:
    assert read('"<<": {a: 1}') == {"<<": {"a": 1}}


def test_a_tab_is_told_as_one() -> None:
    _, (problem,) = parse(Source("x.yaml", "a:\n\tb: 1"))
    assert problem.hint == "Indent with spaces."


def test_exclamation_marks_in_rules_are_no_tags() -> None:
    assert read("rule: -i a ! -o b\nother: '! -o b'") == {"rule": "-i a ! -o b", "other": "! -o b"}


def test_depth_that_is_allowed() -> None:
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@pytest.mark.parametrize(
    ("content", "message", "position"),
    [
        ("a: é".encode("utf-16"), "byte order mark", (1, 1)),
        ("a: é".encode("utf-8-sig"), "byte order mark", (1, 1)),
        ("a: é".encode("utf-32"), "byte order mark", (1, 1)),
        ("a: 1\nbc: é".encode("latin-1"), "isn't UTF-8", (2, 5)),
        (b"\xc3", "isn't UTF-8", (1, 1)),
        (b"#" * (MAX_BYTES + 1), "larger than 4 MiB", (1, 1)),
    ],
)
def test_bytes_that_are_no_text(content: bytes, message: str, position: tuple[int, int]) -> None:
    problem = decode("x.yaml", content)
    assert isinstance(problem, Diagnostic)
    assert (problem.rule.code, _at(problem.position)) == ("KV001", position)
    assert message in problem.message


def test_utf_16_without_a_mark() -> None:
    source = decode("x.yaml", "a: 1".encode("utf-16-le"))
    assert isinstance(source, Source)
    assert [code for code, _, _ in refused(source.text)] == ["KV004"]


# The oracle: ruamel.yaml, another reader of YAML 1.2, in Python.

BEYOND_CORE = re.compile(
    r"[-+]?[0-9.]*_[0-9a-fA-Fxob_.eE+-]*|[-+]?0b[01_]+|[-+]?0[ox]?[0-9a-fA-F_]+|\d\d\d\d-\d\d?-\d\d?.*|=", re.DOTALL
)
"""What ruamel.yaml reads as a number or a date although the core schema of YAML 1.2 doesn't."""


def meaning(text: str) -> Any:
    """What ruamel.yaml understands."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    return yaml.load(text)


def same(ours: Any, theirs: Any) -> bool:
    """Whether two readers found the same, but for what only ruamel.yaml takes for a number or date."""
    if isinstance(ours, str):
        return bool(ours == theirs or (not isinstance(theirs, str) and BEYOND_CORE.fullmatch(ours)))
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, dict):
        return isinstance(theirs, dict) and all(
            same(list(pair), list(other)) for pair, other in zip(ours.items(), theirs.items(), strict=True)
        )
    if isinstance(ours, bool) or ours is None:
        return ours is theirs
    if isinstance(theirs, str):  # it doesn't know a sign before a point: -.5
        return theirs[:2] in ("+.", "-.") and float(theirs) == ours
    return not isinstance(theirs, bool) and isinstance(theirs, int | float) and ours == theirs


def assert_same(text: str) -> None:
    """Understood alike, or refused by one of the two: then nobody misreads it."""
    ours, problems = parse(Source("x.yaml", text))
    if problems:
        return
    try:
        theirs = meaning(text)
    except (YAMLError, ValueError):  # the latter for "-_", which it takes for a number
        return
    assert same(ours, theirs), (text, ours, theirs)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_our_own_files_mean_the_same_to_another_reader(path: Path) -> None:
    text = path.read_text()
    data = read(text)
    assert data
    assert data == meaning(text)


LOOKS = (
    *STRINGS,
    *CONSTANTS,
    *NUMBERS,
    ".inf",
    "-.inf",
    ".NaN",
    "99999999999999999999",
    "0xffffffffffffffffffff",
    "1e999",
)
PLAIN = st.sampled_from(LOOKS) | st.text("019.eE+-_xo:abfn~ ", min_size=1, max_size=8) | st.text(max_size=6)
QUOTED = st.text(max_size=12).map(lambda text: "'" + text.replace("'", "''") + "'") | st.text(
    '\\nx41u"a \n\t', max_size=8
).map(lambda text: f'"{text}"')
SCALAR = PLAIN | QUOTED
FLOW = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(SCALAR, inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=6,
)


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


BLOCK = st.recursive(
    FLOW | st.text("ab #\n-:", max_size=10).map(lambda text: "|\n  " + _indented(text)),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(
            lambda items: "\n" + "\n".join(f"- {_indented(item)}" for item in items)
        )
        | st.lists(st.tuples(SCALAR, inner), min_size=1, max_size=3).map(
            lambda pairs: "\n" + "\n".join(f"{key}: {_indented(value)}" for key, value in pairs)
        )
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(PLAIN)
def test_plain_scalars_mean_the_same_to_another_reader(text: str) -> None:
    assert_same(f"key: {text}")


@settings(max_examples=300, deadline=None)
@given(BLOCK)
def test_documents_mean_the_same_to_another_reader(text: str) -> None:
    assert_same(f"key: {text}")


@settings(max_examples=300, deadline=None)
@given(st.text("ab1:-?[]{},#&*!|>'\"%@ \t\n", max_size=20))
def test_noise_means_the_same_to_another_reader(text: str) -> None:
    assert_same(f"key: {text}")
