"""What nobody can tell of a packet counts only where it decides: the rules of el7's networks have no certain order."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmgen.pipeline import load
from kvmgen.proof import rendered
from kvmgen.reachability.answer import Outcome, Question, Service, reach
from tests.sites import SITE, write

FILES = {
    "site.yaml": SITE,
    "hosts/kvm1.yaml": "platform: el7\nethernets: {em1: {}}\nbridges: {br0: {ports: [em1]}}\n",
    "networks/inner.yaml": (
        "hosts: {kvm1: {}}\nforward: isolated\nbridge: {name: virbr1}\naddresses: [198.51.100.1/24]\n"
    ),
    "networks/outer.yaml": "hosts: {kvm1: {}}\nforward: route\nbridge: {name: virbr2}\naddresses: [203.0.113.1/24]\n",
    "filters/no-web.yaml": (
        "rules: [{priority: 10, action: drop, direction: in, ip: {protocol: tcp, dstportstart: 80}}]\n"
    ),
    "guests/asks.yaml": "hosts: [kvm1]\ninterfaces: {eth0: {network: outer, addresses: [203.0.113.10/24]}}\n",
    "guests/asked.yaml": (
        "hosts: [kvm1]\ninterfaces: {eth0: {network: inner, addresses: [198.51.100.10/24], filter: no-web}}\n"
    ),
}


@pytest.mark.parametrize(
    ("port", "outcome", "last"),
    [(22, Outcome.UNKNOWN, "libvirt's networks, FORWARD"), (80, Outcome.BLOCKED, "ebtables nat POSTROUTING")],
)
def test_a_doubt_counts_only_where_the_packet_arrives(tmp_path: Path, port: int, outcome: str, last: str) -> None:
    result = load(write(tmp_path, FILES))
    assert result.site is not None, result.diagnostics
    assert result.is_good, result.diagnostics
    question = Question(source="asks", target="asked", service=Service(protocol="tcp", port=port), version=4)
    answer = reach(rendered(result.site).consumers, question)
    assert answer.outcome is outcome
    assert answer.forward[-1].step.where.startswith(last)
