"""Corrections: what they change, and that nothing else in a file does."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmgen import pipeline
from kvmgen.inventory.fix import fix, fixed_text
from kvmgen.inventory.read import inventory_files
from kvmgen.inventory.source import Source, parse
from tests.sites import EXAMPLE, SMALL, tree, write
from tests.test_cli import run

HOST = """\
# a host, with comments
platform: el8.6   # which

dns: { servers: [192.0.2.53,   192.0.2.53] }
ethernets:
  eno1: {mac: 00-25-90-13-BA-A0, mtu: 9000}
  eno2: {mac: 0025.9013.baa1, mtu: 9000}
  # the next one isn't used
  eno3: {mac: 00:25:90:13:ba:a2}
bridges:
  br0:
    # both
    ports:
    - eno2   # the second
    - eno1   # the first
    addresses: ["2001:db8::11/64"]   # kept
firewall: {zones: {lan: {services: [ssh, http, ssh], ports: [443/tcp, 80/tcp]}}}
"""
FIXED = """\
# a host, with comments
platform: el8.6   # which

dns: {servers: [192.0.2.53]}
ethernets:
  eno1: {mac: "00:25:90:13:ba:a0", mtu: 9000}
  eno2: {mac: "00:25:90:13:ba:a1", mtu: 9000}
  # the next one isn't used
  eno3: {mac: "00:25:90:13:ba:a2"}
bridges:
  br0:
    # both
    ports:
    - eno1   # the first
    - eno2   # the second
    mtu: 9000
    addresses: ["2001:db8::11/64"]   # kept
firewall: {zones: {lan: {services: [http, ssh], ports: [80/tcp, 443/tcp]}}}
"""

LEFT_ALONE = {
    "remarks between items": """\
        bridges:
          br0:
            ports:
              # of the first card
              - eno2
              # on board
              - eno1
        """,
    "ports of different size": """\
        ethernets: {eno1: {mtu: 9000}, eno2: {}}
        bridges: {br0: {ports: [eno1, eno2]}}
        """,
    "a bridge that has an MTU": """\
        ethernets: {eno1: {mtu: 9000}}
        bridges: {br0: {ports: [eno1], mtu: 1500}}
        """,
    "order that means something": """\
        dns: {servers: [192.0.2.54, 192.0.2.53], search: [b.example, a.example]}
        ethernets: {eno1: {addresses: [192.0.2.12/24, 192.0.2.11/24]}}
        bonds: {bond0: {ports: [eno2, eno1], mode: 802.3ad}}
        """,
    "what only looks like a MAC": """\
        ethernets: {eno1: {mac: "00:25:90:13:ba"}}
        description: 00-25-90-13-BA-A0
        """,
    "another shape than wanted": """\
        ethernets: [{mac: {}}]
        bridges: {br0: {ports: [{}, [a]]}, br1: [], br2: {ports: eno1}}
        firewall: {zones: {lan: {services: {a: b}}}}
        """,
}


def fixed(text: str, kind: str = "host") -> str:
    return fixed_text(kind, Source("hosts/kvm1.yaml", text))[0]


def test_every_correction_and_nothing_else() -> None:
    assert fixed(HOST) == FIXED
    assert fixed(FIXED) == FIXED


def test_line_ends_stay() -> None:
    assert fixed(HOST.replace("\n", "\r\n")) == FIXED.replace("\n", "\r\n")


@pytest.mark.parametrize("text", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_what_has_no_one_right_answer_stays(text: str) -> None:
    assert fixed(dedent(text)) == dedent(text)


def test_each_correction_is_told_where_it_was_needed() -> None:
    _, changes = fixed_text("host", Source("hosts/kvm1.yaml", HOST))
    assert {pointer: what for pointer, what in changes if pointer[-1] == "mac"} == {
        ("ethernets", "eno1", "mac"): "the MAC 00-25-90-13-BA-A0 is written 00:25:90:13:ba:a0",
        ("ethernets", "eno2", "mac"): "the MAC 0025.9013.baa1 is written 00:25:90:13:ba:a1",
    }


def test_the_example_needs_no_correction() -> None:
    for kind, file in inventory_files(EXAMPLE):
        text = (EXAMPLE / file).read_text()
        assert fixed(text, kind) == text, file


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "inventory", {**SMALL, "hosts/kvm3.yaml": HOST, "guests/broken.yaml": "a: [\n"})
    os.chmod(tmp_path / "inventory/hosts/kvm3.yaml", 0o640)
    before = tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, err = run("validate", "--fix")
    assert (code, err.count("KV002")) == (1, 1)
    assert [line.split(": ")[0] for line in out.splitlines()] == [
        f"fixed inventory/hosts/kvm3.yaml:{place}"
        for place in ("4:17", "6:15", "7:15", "13:5", "14:5", "17:36", "17:61")
    ]
    after = tree(tmp_path)
    assert {path for path in before if before[path] != after[path]} == {"inventory/hosts/kvm3.yaml"}
    assert before.keys() == after.keys()
    assert (tmp_path / "inventory/hosts/kvm3.yaml").stat().st_mode & 0o777 == 0o640
    assert run("validate", "--fix")[1] == ""


def test_a_file_that_cant_be_replaced_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "inventory", {**SMALL, "hosts/kvm3.yaml": HOST})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "kvm3.yaml")

    monkeypatch.setattr(os, "replace", full)
    before = tree(tmp_path)
    code, _, err = run("validate", "--fix", "-i", tmp_path / "inventory")
    assert (code, err) == (1, "kvm3.yaml can't be written: No space left on device.\n")
    assert tree(tmp_path) == before


def test_a_fixed_site_is_valid(tmp_path: Path) -> None:
    write(tmp_path, {**SMALL, "hosts/kvm3.yaml": HOST})
    assert not pipeline.validate(tmp_path).is_good
    assert fix(tmp_path)
    assert pipeline.validate(tmp_path).is_good


WORDS = st.sampled_from(
    ["eno2", "eno1", "eno10", "00-25-90-13-BA-A0", "0025.9013.baa1", "9000", "ssh", "# not a comment"]
)
VALUES = st.recursive(
    WORDS | st.integers(0, 9000) | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["mac", "ports", "mtu", "servers", "lan", "services"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from(["ethernets", "bridges", "dns", "firewall", "bonds"]), VALUES), st.booleans())
def test_whatever_it_corrects_it_can_be_read_and_needs_no_more(document: dict[str, object], flow: bool) -> None:
    import yaml

    text = yaml.safe_dump(document, default_flow_style=flow)
    once = fixed(text)
    assert parse(Source("x", once))[1] == parse(Source("x", text))[1]
    assert fixed(once) == once
