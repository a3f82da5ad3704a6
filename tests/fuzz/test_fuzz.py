"""A seeded sample of the mutations, and proof that the judge judges. `python -m tests.fuzz` does many more."""

from __future__ import annotations

import os
import signal

import pytest

from kvmgen import pipeline
from kvmgen.artifact import Artifact, Kind
from kvmgen.diagnostics import Origin
from tests.fuzz import run
from tests.fuzz.judge import injections

HARMFUL = {
    "etc/sysconfig/network-scripts/ifcfg-a": (
        "IPADDR=1;reboot",
        'A="$(reboot)"',
        "A=`reboot`",
        "A=b c",
        'A="a"b"',
        "reboot",
    ),
    "etc/sysconfig/network-scripts/route-a": ("default; reboot", "a $(reboot)"),
    "etc/NetworkManager/system-connections/a.nmconnection": ("id=a b", "[a]b", "a", "id=a\\nb"),
    "etc/sysctl.d/99-kvmgen.conf": ("a", "a = b\u2028c", "a = $(b)"),
    "etc/modules-load.d/kvmgen.conf": ("a b", "a/../b"),
    "etc/sysconfig/iptables": ("-F", ":INPUT ACCEPT"),
    "libvirt/domains/a.xml": (
        "<domain><evil/></domain>",
        "<domain>",
        "<domain evil='1'/>",
        "<!DOCTYPE a><domain>&b;</domain>",
    ),
    "etc/firewalld/direct.xml": ("<direct><evil/></direct>", "<direct><?evil?></direct>"),
    "etc/../../x": ("",),
    "/etc/x": ("",),
    "etc/x": ("a\x1bb", "a\0b"),
}


@pytest.mark.parametrize(("path", "text"), [(path, text) for path, texts in HARMFUL.items() for text in texts])
def test_the_judge_sees_harm(path: str, text: str) -> None:
    assert list(injections(Artifact(path=path, text=text, kind=Kind.LINK, sources=(Origin("site.yaml"),))))


def test_a_sample_of_the_mutations() -> None:
    tally = run.fuzz(2026, range(250))
    assert tally.failures == []
    assert tally.refused > 100
    assert tally.compiled > 20


def test_a_hang_and_a_defect_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        os.kill(os.getpid(), signal.SIGALRM)

    monkeypatch.setattr(pipeline, "load", broken)
    (failure,) = run.fuzz(1, range(1)).failures
    assert "HangError" in failure
