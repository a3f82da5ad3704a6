"""What commands tell programs: every JSON document is by its schema, and every such schema is one of theirs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from kvmgen.inventory import schema
from kvmgen.rules import rules
from tests.sites import EXAMPLE, ROOT
from tests.test_cli import run
from tests.test_difference import commit, edit, site
from tests.test_schemas import NAMES, registry, uri

__all__ = ["site"]

DOCUMENTS = ("diagnostics", "difference", "explanation", "manifest", "reach", "shown")
"""The schemas of what kvmgen writes; the others are of what it reads."""


def told(name: str, *words: str, status: int = 0) -> object:
    """What a command prints, which has to be by a schema."""
    code, out, err = run(*words, "--format", "json")
    assert code == status, err
    document: object = json.loads(out)
    errors = Draft202012Validator({"$ref": uri(name)}, registry=registry()).iter_errors(document)
    assert [f"{one.json_path}: {one.message}" for one in errors] == [], words
    return document


def test_every_schema_is_of_what_is_read_or_of_what_is_written() -> None:
    assert sorted((*schema.KINDS, "common", *DOCUMENTS)) == NAMES
    for name in NAMES:
        code, out, _ = run("schema", name)
        assert (code, json.loads(out)) == (0, schema.load(name))


SHOWN = (
    ("guest", "shop-web01"),
    ("guest", "arch3"),
    ("host", "kvm-cn3"),
    ("network", "default"),
    ("filter", "clean-traffic"),
    ("filter", "kvmgen-anti-spoofing"),
    ("policy", "shop-db"),
)
FILES = (
    "kvm-cn3/libvirt/domains/shop-web01.xml",
    "kvm-cn3/libvirt/nwfilters/policy-shop-web.xml",
    "kvm-cn3/libvirt/nwfilters/kvmgen-anti-spoofing.xml",
    "kvm-cn3/etc/sysconfig/network-scripts/ifcfg-br0",
    "kvm-cn3/manifest.json",
)


@pytest.mark.parametrize("named", SHOWN, ids=" ".join)
def test_one_object(named: Sequence[str]) -> None:
    told("shown", "show", *named, "-i", str(EXAMPLE))


@pytest.mark.parametrize("file", FILES)
def test_what_made_a_file_and_its_lines(file: str) -> None:
    output = ROOT / "output"
    options = ("-i", str(EXAMPLE), "-o", str(output))
    told("explanation", "explain", str(output / file), *options)
    if not file.endswith("manifest.json"):
        last = len((output / file).read_text().splitlines())
        document = told("explanation", "explain", f"{output / file}:1-{last}", *options)
        assert isinstance(document, dict)
        assert last // 2 < len(document["lines"]) <= last


def test_rules() -> None:
    for code in sorted(rules())[::40]:
        told("explanation", "explain", code)


@pytest.mark.parametrize(
    "words",
    [
        ("outside", "shop-web01", "--tcp", "443"),
        ("outside", "shop-db01", "--tcp", "5432", "-4"),
        ("shop-web01", "shop-app01", "--icmp", "timestamp-request"),
        ("shop-web01", "shop-app01", "--arp", "--spoof-ip", "192.168.201.1"),
        ("192.0.2.1", "198.51.100.1"),
        ("--matrix", "outside,shop-web01", "kvm-cn3,shop-db01,outside", "--services", "tcp/22,ping"),
    ],
    ids=" ".join,
)
def test_packets(words: Sequence[str]) -> None:
    told("reach", "reach", *words, "-i", str(EXAMPLE))


def test_what_a_change_opens(site: Path) -> None:
    told("reach", "reach", "--diff", "HEAD")
    edit(site, "filters/few.yaml", "dstportstart: 22", "dstportstart: 2222")
    document = told("reach", "reach", "--diff", "HEAD")
    assert isinstance(document, dict)
    assert document["closes"] != [] != document["opens"]
    commit(site)
    told("difference", "diff", "HEAD~1")


def test_findings() -> None:
    told("diagnostics", "validate", "-i", str(EXAMPLE))
