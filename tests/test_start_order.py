"""Where the order in which networks start decides: it is told, nothing is predicted, and the hint mends both."""

from __future__ import annotations

import re
from itertools import permutations, product
from pathlib import Path

import pytest

from kvmgen import pipeline
from kvmgen.diagnostics import Diagnostic
from kvmgen.proof import rendered
from kvmgen.reachability.answer import Question, Service, reach
from tests.sites import SITE, write

MODES = ("nat", "route", "isolated", "open")
GUESTS = ("one", "two")


def site(platform: str, modes: tuple[str, str], rules: list[str]) -> dict[str, str]:
    """Two networks with a guest each; the host has rules of its own."""
    firewall = "firewall:\n  direct:\n" + "".join(f"    - {rule}\n" for rule in rules) if rules else ""
    files = {"site.yaml": SITE, "hosts/kvm1.yaml": f"platform: {platform}\nethernets: {{em1: {{}}}}\n{firewall}"}
    for number, (guest, mode) in enumerate(zip(GUESTS, modes, strict=True), 1):
        four, six = f"192.168.{number}", f"fd00:{number}::"
        files[f"networks/net{number}.yaml"] = (
            f"hosts: {{kvm1: {{}}}}\nforward: {mode}\nbridge: {{name: virbr{number}}}\n"
            f'addresses: [{four}.1/24, "{six}1/64"]\n'
        )
        nic = f'{{network: net{number}, addresses: [{four}.10/24, "{six}10/64"], anti-spoofing: none}}'
        files[f"guests/{guest}.yaml"] = f"hosts: [kvm1]\ninterfaces: {{eth0: {nic}}}\n"
    return files


def outcome(inventory: Path) -> tuple[list[Diagnostic], set[str]]:
    """What is told of starts, and what comes of all questions between the guests."""
    result = pipeline.validate(inventory)
    assert result.site is not None
    assert not [diagnostic for diagnostic in result.diagnostics if diagnostic.is_error]
    made = rendered(result.site)
    questions = (
        Question(source=source, target=target, service=Service(protocol="tcp", port=80), version=version)
        for source, target in permutations(GUESTS)
        for version in (4, 6)
    )
    told = [diagnostic for diagnostic in result.diagnostics if diagnostic.rule.code == "KV347"]
    return told, {str(reach(made.consumers, question).outcome) for question in questions}


@pytest.mark.parametrize("modes", list(product(MODES, MODES)), ids="-".join)
def test_it_is_told_where_nothing_is_predicted_and_the_hint_mends_it(modes: tuple[str, str], tmp_path: Path) -> None:
    told, outcomes = outcome(write(tmp_path / "bad", site("el7", modes, [])))
    assert bool(told) == ("unknown" in outcomes)
    hints = "".join(diagnostic.hint or "" for diagnostic in told)
    rules = re.findall(r"\{family: .*?\}", hints)
    assert bool(rules) == bool(told)
    mended, outcomes = outcome(write(tmp_path / "good", site("el7", modes, rules)))
    assert not mended
    assert "unknown" not in outcomes


def test_a_newer_libvirt_decides_by_itself(tmp_path: Path) -> None:
    for modes in product(MODES, MODES):
        told, outcomes = outcome(write(tmp_path / "-".join(modes), site("el8.6", modes, [])))
        assert not told
        assert "unknown" not in outcomes
