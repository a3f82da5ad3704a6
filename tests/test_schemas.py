"""What the schemas say beside what they allow: titles, descriptions, examples and defaults."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from kvmgen import pipeline
from kvmgen.diagnostics import Diagnostic
from kvmgen.inventory import schema
from kvmgen.inventory.read import FOLDERS
from kvmgen.inventory.source import Source, parse
from kvmgen.model.site import views
from kvmgen.render import render
from tests.hostile import places as values_of
from tests.sites import EXAMPLE, ROOT, write

NAMES = sorted(path.name.removesuffix(".schema.json") for path in (ROOT / "schemas").glob("*.schema.json"))
TELLING = ("default", "examples", "const", "enum", "properties")
"""One of these shows what a value looks like; a boolean needs none."""

Node = Mapping[str, Any]


def resolved(file: str, node: Node) -> tuple[str, Node]:
    """A subschema with what it refers to merged in, and the file that this leads to."""
    words = dict(node)
    while "$ref" in node:
        name, _, way = node["$ref"].partition("#")
        file = name.removesuffix(".schema.json") or file
        node = schema.load(file)
        for key in way.strip("/").split("/"):
            node = node[key]
        words = {**node, **words}
    return file, words


def places(way: str, node: Node, *, named: bool = False) -> Iterator[tuple[str, Node, bool]]:
    """Every subschema below one, with the way to it, and whether it is a property or a definition."""
    yield way, node, named
    for word in ("properties", "$defs"):
        for key, child in node.get(word, {}).items():
            yield from places(f"{way}/{word}/{key}", child, named=True)
    for word in ("items", "additionalProperties", "then", "else"):
        if isinstance(node.get(word), dict):
            yield from places(f"{way}/{word}", node[word])
    for number, branch in enumerate(node.get("oneOf", ())):
        yield from places(f"{way}/oneOf/{number}", branch)


@pytest.mark.parametrize("name", NAMES)
def test_every_place_tells_what_it_is(name: str) -> None:
    lacking = []
    for way, node, named in places("", schema.load(name)):
        _, words = resolved(name, node)
        tells = words.get("type") in ("boolean", "null") or any(word in words for word in TELLING)
        described = ("title" in words and "description" in words) or "required" in words or "if" in words
        if not described or (named and not tells):
            lacking.append(way)
    assert lacking == []


@pytest.mark.parametrize("name", [*schema.KINDS, "common"])
def test_an_editor_shows_what_helps(name: str) -> None:
    """Of the YAML language server: no pointer shows a default, and it writes an object that is offered wrongly."""
    hidden, offered = [], []
    for way, node, _ in places("", schema.load(name)):
        default = node.get("default")
        told = str(default).lower() if isinstance(default, bool) else str(default)
        if not isinstance(default, dict | None) and f"Default: {told}." not in node["description"]:
            hidden.append(way)
        forms = [resolved(name, branch)[1] for branch in node.get("oneOf", ())]
        examples = [example for one in (node, *forms) for example in one.get("examples", ())]
        if any(one.get("type") != "object" for one in forms) and any(isinstance(one, dict) for one in examples):
            offered.append(way)
    assert (hidden, offered) == ([], [])


def uri(name: str) -> str:
    return f"https://kvmgen.invalid/{name}.schema.json"


def registry() -> Any:
    without = {name: {**schema.load(name), "$schema": None} for name in NAMES}
    resources = [
        (uri(name), DRAFT202012.create_resource({key: word for key, word in node.items() if key != "$schema"}))
        for name, node in without.items()
    ]
    made: Any = Registry().with_resources(resources)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_examples_and_defaults_are_allowed_where_they_stand(name: str) -> None:
    known, wrong = registry(), []
    for way, node, _ in places("", schema.load(name)):
        values = [*node.get("examples", ()), *([node["default"]] if "default" in node else [])]
        validator = Draft202012Validator({"$ref": f"{uri(name)}#{way.replace('$', '%24')}"}, registry=known)
        wrong += [(way, value) for value in values if not validator.is_valid(value)]
    assert wrong == []


# Defaults are what lowering uses.

GOLDEN = ROOT / "tests/cases/golden"
SITES = [EXAMPLE, *sorted(path / "inventory" for path in GOLDEN.iterdir())]
FIREWALL = """
  zones: {office: {sources: [198.51.100.0/24], rules: [{service: ssh, action: accept}]}}
  policies: {asked: {ingress-zones: [office], egress-zones: [HOST], rules: [{service: http, action: accept}]}}
"""
SPARSE = {
    "site.yaml": "name: test\n",
    "hosts/kvm1.yaml": f"""\
platform: el9
ethernets: {{eno1: {{}}, eno3: {{}}}}
bridges: {{ovsbr0: {{ports: [eno1], openvswitch: true}}}}
firewall:{FIREWALL}""",
    "networks/lab.yaml": "hosts: {kvm1: {}}\nforward: nat\nbridge: {name: virbr1}\naddresses: [192.0.2.1/24]\n"
    "nat: {}\ndns: {}\n",
    "networks/card.yaml": "hosts: {kvm1: {}}\nforward: hostdev\npf: eno3\n",
    "networks/trunk.yaml": "hosts: {kvm1: {}}\nforward: bridge\nbridge: {name: ovsbr0}\nvlan: {tags: [11]}\n"
    "portgroups: {both: {vlan: {tags: [11, 12]}}}\n",
    "guests/web1.yaml": f"""\
hosts: [kvm1]
platform: el9
watchdog: {{}}
interfaces:
  eth0: {{network: lab, addresses: [192.0.2.10/24]}}
  eth1: {{bridge: ovsbr0, vlan: {{tags: [11, 12]}}, anti-spoofing: none}}
firewall:{FIREWALL}""",
    "guests/old1.yaml": """\
hosts: [kvm1]
platform: el7
interfaces: {eth0: {network: lab, addresses: [192.0.2.11/24]}}
firewall:
  chains: [{family: ipv4, chain: asked}]
  direct: [{family: ipv4, chain: INPUT, rule: -j asked}]
""",
}
"""What stands in none of these sites."""

ELSEWHERE = ("site/profiles/", "site/defaults/", "network/hosts/*/")
"""What stands instead of another word, and has the definitions of guests, hosts and networks."""

WRITTEN = {"network/dns/enable", "network/dns/forward-plain-names"}
"""libvirt's own defaults, which stand in its XML only where the inventory says them."""

Pointer = tuple[str | int, ...]


def unsaid(file: str, node: Node, said: Any, way: str, pointer: Pointer = ()) -> Iterator[tuple[str, Pointer, Any]]:
    """Every key with a default that a document leaves out: its place in the schema, its place here, the default."""
    file, words = resolved(file, node)
    if isinstance(said, list) and "items" in words:
        for number, item in enumerate(said):
            yield from unsaid(file, words["items"], item, f"{way}/0", (*pointer, number))
    if not isinstance(said, dict):
        return
    for name, branch in branches(file, words, said):
        yield from unsaid(file, branch, said, f"{way}/{name}", pointer)
    properties = words.get("properties", {})
    for key, child in properties.items():
        if key in said:
            yield from unsaid(file, child, said[key], f"{way}/{key}", (*pointer, key))
        elif "default" in resolved(file, child)[1]:
            yield f"{way}/{key}", (*pointer, key), resolved(file, child)[1]["default"]
    for key in said.keys() - properties.keys() if isinstance(words.get("additionalProperties"), dict) else ():
        yield from unsaid(file, words["additionalProperties"], said[key], f"{way}/*", (*pointer, key))


def branches(file: str, words: Node, said: Node) -> Iterator[tuple[str, Node]]:
    """Of a place's alternatives, those that a mapping can be of."""
    for number, branch in enumerate(words.get("oneOf", ())):
        known = resolved(file, branch)[1]
        if known.get("type") == "object" and said.keys() <= known["properties"].keys():
            yield str(number), branch
    if "if" in words:
        name = "then" if set(words["if"]["required"]) <= said.keys() else "else"
        yield name, words[name]


Said = Mapping[str, tuple[str, Any]]
"""What the files of an inventory say, each with its kind."""


def documents(inventory: Path) -> Said:
    found = {}
    for path in sorted(inventory.rglob("*.yaml")):
        data, problems = parse(Source(path.name, path.read_text()))
        assert problems == []
        found[str(path.relative_to(inventory))] = (FOLDERS.get(path.parent.name, "site"), data)
    return found


def compiled(folder: Path, said: Said) -> tuple[dict[str, bytes], list[Diagnostic]]:
    """What an inventory becomes, by host and path, and the errors in it."""
    for file, (_, data) in said.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps(data))
    result = pipeline.load(folder)
    assert result.site is not None
    made: dict[str, bytes] = {}
    for view in views(result.site) if result.is_good else ():
        files = pipeline.host_files(view, render(view))
        made |= {f"{view.host.name}/{path}": content for path, content in files.items()}
    return made, [found for found in result.diagnostics if found.is_error]


def is_overridden(file: str, pointer: Pointer, said: Said) -> bool:
    """Whether another word holds there: the site's or a profile's for a guest, the network's own on a host."""
    kind, data = said[file]
    site = said["site.yaml"][1]
    around = {**site.get("defaults", {}).get("guests", {}), **site.get("profiles", {}).get(data.get("profile"), {})}
    if kind == "guest":
        return pointer[0] in around
    return (kind, pointer[0]) in (("site", "profiles"), ("network", "hosts"))


def write_out(said: Said, without: set[tuple[str, Pointer]]) -> set[str]:
    """Say every default that holds, but for some; which places of the schemas these are."""
    written = set()
    for file, (kind, data) in said.items():
        for way, pointer, default in list(unsaid(kind, schema.load(kind), data, kind)):
            if way not in WRITTEN and (file, pointer) not in without and not is_overridden(file, pointer, said):
                around = data
                for key in pointer[:-1]:
                    around = around[key]
                around[pointer[-1]] = default
                written.add(way)
    return written


def test_a_default_that_is_written_out_changes_nothing(tmp_path: Path) -> None:
    """On the example and the golden sites, but where a word is wrong whatever it says, as in that mode of a network."""
    covered = set()
    for number, inventory in enumerate((*SITES, write(tmp_path / "sparse", SPARSE))):
        before, errors = compiled(tmp_path / f"{number}-before", documents(inventory))
        assert errors == []
        said = documents(inventory)
        write_out(said, set())
        _, errors = compiled(tmp_path / f"{number}-all", said)
        assert {error.rule.code for error in errors} <= {"KV022"}, errors
        wrong = {(error.origin.file, error.origin.pointer) for error in errors if error.origin}
        said = documents(inventory)
        covered |= write_out(said, wrong)
        after, errors = compiled(tmp_path / f"{number}-after", said)
        assert errors == []
        assert {path: after.get(path) for path in before if after.get(path) != before[path]} == {}
    every = {place.way for kind in schema.KINDS for place in values_of(kind) if "default" in place.words}
    assert {way for way in every - covered if not way.startswith(ELSEWHERE)} == WRITTEN
