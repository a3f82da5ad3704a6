"""The schemas themselves, both validators' agreement about them, and errors in the inventory's words."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from kvmgen.inventory import schema
from kvmgen.inventory.read import FOLDERS
from kvmgen.inventory.source import Source, parse

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.name.removesuffix(".schema.json") for path in schema.schema_folder().glob("*.json"))
INVENTORY = sorted(ROOT.glob("inventory/**/*.yaml"))
KIND_OF = {"inventory": "site", **FOLDERS}
REPORTS = ("diagnostics", "difference", "explanation", "reach", "shown")
"""What commands print as JSON."""


def test_every_schema_is_known() -> None:
    assert sorted([*schema.KINDS, "common", "manifest", *REPORTS]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_valid(name: str) -> None:
    Draft202012Validator.check_schema(schema.load(name))
    assert schema.load(name)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


Place = tuple[str, str, dict[str, Any]]
"""The name of a schema file, the way inside it, and the subschema there."""


def _subschemas(name: str, way: str, node: Any) -> Iterator[Place]:
    """Every subschema that a value can meet, where it stands in a file."""
    if not isinstance(node, dict):
        return
    yield name, way, node
    for word in ("properties", "$defs"):
        for key, child in node.get(word, {}).items():
            yield from _subschemas(name, f"{way}/{word}/{key}", child)
    for word in ("additionalProperties", "items", "then", "else"):
        yield from _subschemas(name, f"{way}/{word}", node.get(word))
    for index, child in enumerate(node.get("oneOf", ())):
        if "title" in child or "$ref" in child:  # others only say which keys exclude each other
            yield from _subschemas(name, f"{way}/oneOf/{index}", child)


PLACES = [place for name in NAMES for place in _subschemas(name, "", schema.load(name))]
IDS = [f"{name}{way}" for name, way, _ in PLACES]


def _resolved(name: str, node: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A subschema with what it refers to merged in, its own words first, and the file that the reference leads to."""
    words = dict(node)
    while "$ref" in node:
        file, _, way = node["$ref"].partition("#")
        name = file.removesuffix(".schema.json") or name
        node = schema.load(name)
        for key in way.strip("/").split("/"):
            node = node[key]
        words = {**node, **words}
    return name, words


REGISTRY: Any = Registry().with_resources(
    [(f"https://test/{name}.schema.json", DRAFT202012.create_resource(schema.load(name))) for name in NAMES]
)


def _is_valid(place: Place, value: Any) -> bool:
    name, way, _ = place
    return Draft202012Validator({"$ref": f"https://test/{name}.schema.json#{way}"}, registry=REGISTRY).is_valid(value)


def test_everything_is_explained() -> None:
    """Editors show title and description of whatever the cursor is on."""
    mute = [
        place
        for place, (name, _, node) in zip(IDS, PLACES, strict=True)
        if "if" not in node and not {"title", "description"} <= _resolved(name, node)[1].keys()
    ]
    assert mute == []


def test_nothing_is_let_through() -> None:
    """A mapping names its keys or says what its values are, or of a report that anything goes; a list has its items."""
    open_places = []
    for place, (name, _, node) in zip(IDS, PLACES, strict=True):
        words = _resolved(name, node)[1]
        others = words.get("additionalProperties", "oneOf" in words or None)
        is_open = words.get("type") == "object" and (others is None or (others is True and name not in REPORTS))
        if is_open or (words.get("type") == "array" and "items" not in words):
            open_places.append(place)
        known = {"type", "enum", "const", "oneOf", "$ref", "$defs", "propertyNames", "not", "required", "allOf", "if"}
        if not known & words.keys():
            open_places.append(place)
    assert open_places == []


def test_defaults_and_examples_are_valid() -> None:
    wrong = []
    for place in PLACES:
        words = _resolved(place[0], place[2])[1]
        values = [*words.get("examples", ())] + ([words["default"]] if "default" in words else [])
        wrong += [(place[:2], value) for value in values if not _is_valid(place, value)]
    assert wrong == []


def test_profiles_know_every_key_of_a_guest_that_guests_can_share() -> None:
    own = {"uuid", "hosts", "profile", "hostname", "disks", "interfaces", "firewall"}
    profile = schema.load("site")["$defs"]["profile"]["properties"]
    assert profile.keys() == schema.load("guest")["properties"].keys() - own


def test_hosts_of_a_network_differ_in_all_but_what_makes_it_one_network() -> None:
    differences = schema.load("network")["$defs"]["differences"]["properties"]
    assert differences.keys() == schema.load("network")["properties"].keys() - {"hosts", "forward"}


@pytest.mark.parametrize("path", INVENTORY, ids=lambda path: path.stem)
def test_files_of_the_example_name_their_schema(path: Path) -> None:
    """The line that editors read, leading to the schema of the file's kind."""
    line = path.read_text().partition("\n")[0]
    mark, _, way = line.partition("=")
    assert mark == "# yaml-language-server: $schema"
    assert os.path.normpath(path.parent / way) == str(
        schema.schema_folder() / f"{KIND_OF[path.parent.name]}.schema.json"
    )


# Both validators.


def _document(path: Path) -> Any:
    return parse(Source(path.name, path.read_text()))[0]


DOCUMENTS = [(KIND_OF[path.parent.name], _document(path)) for path in INVENTORY]


def _ways(node: Any, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield way
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield from _ways(child, (*way, key))


WAYS = [(number, way) for number, (_, document) in enumerate(DOCUMENTS) for way in _ways(document)]
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 70000, 2**62, -(2**62), 0.5, [], {}, [[]], [None], {"a": 1}, ["a", "a"], [1, 1]),
    *("", " ", "a", "a\n", "br0\n", "el7\n", "1 GiB\n", "1 GIB", "192.0.2.1\n", "192.0.2.1/24\n", "a b", "all", "\n"),
    *(
        "52:54:00:24:4c:ee\n",
        "52:54:00:24:4C:EE",
        "\u0661",
        "192.0.2.\u0661",
        "\u212a",
        "é",
        "x" * 300,
        "\x00",
        "\u2028",
    ),
    *("default", "default\n", "none", "vnc", "22/tcp\n", "1-2\n", "$X\n", "$X", "-i br0 -j DROP\n", {"name": "x\n"}),
)
KEYS = (
    "a\n",
    "eth0\n",
    "eth0",
    "vda\n",
    "net.a.b\n",
    "",
    "x" * 70,
    "IP\n",
    "INPUT",
    "name",
    "\u0661",
    "priority",
    "tcp",
    "udp",
)


def _agree(kind: str, document: Any) -> bool:
    """Whether the document is valid; both validators must say the same, and an error must be told in our words."""
    fast = schema._fast_validator(kind).is_valid(document)
    told = list(schema._telling_validator(kind).iter_errors(document))
    assert fast == (not told), (kind, document, told)
    for diagnostic in schema.validate(kind, document, "x.yaml"):
        assert diagnostic.message != "the document isn't valid"
        assert diagnostic.hint
    return bool(fast)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(WAYS), st.sampled_from(VALUES), st.none() | st.sampled_from(KEYS))
def test_the_quick_and_the_telling_validator_agree(
    place: tuple[int, tuple[str | int, ...]], value: Any, key: str | None
) -> None:
    """A value put anywhere into a document of the example, or under a key of its own."""
    number, way = place
    kind, document = DOCUMENTS[number]
    holder: Any = {"top": copy.deepcopy(document)}
    node: Any = holder
    *before, last = ("top", *way)
    for step in before:
        node = node[step]
    if key is not None and isinstance(node[last], dict):
        node[last][key] = value
    else:
        node[last] = value
    _agree(kind, holder["top"])


GUEST = {"hosts": ["kvm1"]}


@pytest.mark.parametrize(
    ("kind", "document", "pointer", "value"),
    [
        ("host", {"platform": "el7"}, ("platform",), "el7\n"),
        ("host", {"platform": "el7", "management": "br0"}, ("management",), "br0\n"),
        ("host", {"platform": "el7", "memory": "1 GiB"}, ("memory",), "1 GiB\n"),
        ("guest", {**GUEST, "interfaces": {"eth0": {"mac": "52:54:00:00:00:01"}}}, ("interfaces", "eth0", "mac"), "\n"),
        ("guest", {**GUEST, "title": "x"}, ("title",), "x\n"),
        ("guest", {"hosts": ["kvm1"]}, ("hosts", 0), "kvm1\n"),
        ("guest", {**GUEST, "disks": {"vda": {"file": "/x"}}}, ("disks", "vda", "file"), "/x\n"),
    ],
)
def test_a_line_end_at_the_end_is_refused(kind: str, document: Any, pointer: tuple[str | int, ...], value: str) -> None:
    """``$`` means the very end: a value with a line end would put a line of its own into a file of the host."""
    assert _agree(kind, document)
    broken: Any = copy.deepcopy(document)
    node = broken
    for step in pointer[:-1]:
        node = node[step]
    node[pointer[-1]] = value if value != "\n" else node[pointer[-1]] + "\n"
    assert not _agree(kind, broken)
    (problem,) = schema.validate(kind, broken, "x.yaml")
    assert problem.origin is not None
    assert problem.origin.pointer == pointer


# What is told.


def told(kind: str, text: str) -> list[str]:
    """What is wrong with a document, as ``CODE LINE:COLUMN message | hint``."""
    source = Source("x.yaml", text)
    data, problems = parse(source)
    assert problems == []
    lines = []
    for problem in schema.validate(kind, data, "x.yaml"):
        assert problem.origin is not None
        position = source.position(problem.origin.pointer, of_key=problem.on_key)
        place = f"{position.line}:{position.column}" if position else "-"
        lines.append(f"{problem.rule.code} {place} {problem.message} | {problem.hint}")
    return sorted(lines)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (
            "guest",
            "hosts: [a]\nmemroy: 1 GiB",
            ["KV011 2:1 \"memroy\" is not a key of the document | Did you mean 'memory'?"],
        ),
        (
            "guest",
            "hosts: [a]\ndisks:\n  vda: {fyle: /x, xyzzy: 1}",
            [
                'KV011 3:19 "xyzzy" is not a key of disks.vda | Known here: boot-order, ',
                "KV011 3:9 \"fyle\" is not a key of disks.vda | Did you mean 'file'?",
            ],
        ),
        ("guest", "vcpus: 1", ["KV012 1:1 the document lacks 'hosts' | Add 'hosts': "]),
        ("guest", "", ["KV010 - the document is nothing, but must be a mapping | "]),
        ("guest", "hosts: a", ['KV010 1:8 hosts is "a", but must be a list | ']),
        ("guest", "hosts: [1]", ["KV010 1:9 hosts[0] is 1, but must be a string | "]),
        ("guest", "hosts: []", ["KV010 1:8 hosts is empty | "]),
        ("guest", "hosts: [a, a]", ["KV010 1:8 hosts has an item twice | "]),
        ("guest", "hosts: [a]\nvcpus: 0", ["KV010 2:8 vcpus is 0, but must be at least 1 | "]),
        ("guest", "hosts: [a]\nvcpus: 1.5", ["KV010 2:8 vcpus is 1.5, but must be a whole number | "]),
        ("guest", "hosts: [a]\nrng: yes", ['KV010 2:6 rng is "yes", but must be true or false | ']),
        (
            "guest",
            "hosts: [a]\nmemory: 2",
            ["KV010 2:9 memory is 2, but must be a string | An amount with its unit: KiB, MiB, GiB or TiB."],
        ),
        (
            "guest",
            "hosts: [a]\nchipset: q53",
            ["KV010 2:10 chipset is \"q53\", but must be one of pc, q35 | Did you mean 'q35'?"],
        ),
        (
            "guest",
            "hosts: [a]\ngraphics: vcn",
            ['KV010 2:11 graphics is "vcn", but must be one of none, vnc, spice | Did'],
        ),
        (
            "guest",
            "hosts: [a]\ngraphics: {lisen: 1}",
            [
                "KV011 2:12 \"lisen\" is not a key of graphics | Did you mean 'listen'?",
                "KV012 2:11 graphics lacks 'type' | Add 'type': ",
            ],
        ),
        ("guest", "hosts: [a]\ngraphics: 5", ["KV010 2:11 graphics is 5, which is none of the forms allowed here | "]),
        (
            "guest",
            "hosts: [a]\ninterfaces: {eth0: {filter: {name: x, parameters: {PORTS: [22]}}}}",
            ["KV010 2:60 interfaces.eth0.filter.parameters.PORTS[0] is 22, but must be a string | "],
        ),
        (
            "guest",
            "hosts: [a]\ninterfaces:\n  way-too-long-name: {}",
            ['KV010 3:3 "way-too-long-name" can\'t be a key here | The name of a network interface: 1 to 15'],
        ),
        ("guest", "hosts: [a]\ndisks: {xvda: {}}", ['KV010 2:9 "xvda" can\'t be a key here | ']),
        ("host", "platform: el5", ['KV010 1:11 platform is "el5", which isn\'t of the form wanted here | The release']),
        (
            "host",
            "platform: el7\nbonds:\n  bond0: {ports: [a]}\nvlans: {a.1: {parent: a, id: 5000}}",
            [
                "KV010 4:30 vlans.a.1.id is 5000, but must be at most 4094 | ",
                "KV012 3:10 bonds.bond0 lacks 'mode' | Add 'mode': ",
            ],
        ),
        (
            "site",
            "name: x\ndescription: " + "y" * 99,
            ['KV011 2:1 "description" is not a key of the document | Known here: '],
        ),
        ("network", "hosts: {}\nforward: nat", ["KV010 1:8 hosts is empty | "]),
    ],
)
def test_errors_are_told_in_the_inventorys_words(kind: str, text: str, expected: list[str]) -> None:
    """All at once, each at its line and column, with a hint that helps."""
    found = told(kind, text)
    assert len(found) == len(expected), found
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)
        assert not line.endswith("| ")


def test_long_and_strange_values_are_shown_short_and_plain() -> None:
    (line,) = told("guest", 'hosts: [a]\nrng: "\\x1b[31m' + "x" * 500 + '"')
    assert "\x1b" not in line
    assert "..." in line.partition(",")[0]
