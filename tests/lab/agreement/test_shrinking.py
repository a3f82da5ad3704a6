"""The shrinker, against a prediction that is wrong on purpose: no kernel is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvmgen.pipeline import load
from kvmgen.proof import rendered
from kvmgen.reachability.answer import Question, Service, reach
from kvmgen.reachability.nwfilter import TapFilter
from kvmgen.reachability.packet import Packet
from kvmgen.reachability.step import Step, Verdict
from tests.lab.agreement.inventories import Files, read, repaired, write
from tests.lab.agreement.random_sites import HOST
from tests.lab.agreement.shrinking import shrunk

RIGHT = TapFilter.forwarded_to


def wrong(self: TapFilter, packet: Packet) -> Step:
    """What is bridged to a guest passes its drops."""
    said = RIGHT(self, packet)
    return replace(said, verdict=Verdict.PASS) if said.verdict is Verdict.DROP else said


def big() -> Files:
    """A site with much beside the one rule that the wrong prediction doesn't see."""
    guests = {
        "asks": {"bridge": "br0", "addresses": ["192.0.2.20/24"]},
        "closed": {"bridge": "br0", "addresses": ["192.0.2.21/24", "2001:db8::21/64"], "filter": "closed"},
        "beside": {"bridge": "br0", "addresses": ["192.0.2.22/24"], "policies": ["ssh"]},
        "away": {"network": "nat", "addresses": ["10.0.0.20/24"], "policies": ["ssh", "web"]},
    }
    ports = (22, 80, 443, 5432)
    rules = [
        {"priority": 500 + number, "action": "drop", "direction": "in", "tcp": {"dstportstart": port}}
        for number, port in enumerate(ports)
    ]
    bridge = {"ports": ["eno1"], "addresses": ["192.0.2.5/24", "2001:db8::5/64"]}
    return {
        "site.yaml": {"name": "random", "domain": "example.org"},
        f"hosts/{HOST}.yaml": {"platform": "el8.6", "ethernets": {"eno1": {}}, "bridges": {"br0": bridge}},
        "networks/nat.yaml": {
            "hosts": {HOST: {}},
            "forward": "nat",
            "bridge": {"name": "virbr0"},
            "addresses": ["10.0.0.1/24"],
        },
        "filters/closed.yaml": {"rules": [{"filter": "clean-traffic"}, *rules]},
        "policies/ssh.yaml": {"allow-in": ["ssh", "ping"]},
        "policies/web.yaml": {"allow-in": [{"tcp": [80, 443], "from": {"guest": "beside"}}], "allow-out": ["dns"]},
        **{
            f"guests/{name}.yaml": {"hosts": [HOST], "memory": "1 GiB", "vcpus": 1, "interfaces": {"eth0": nic}}
            for name, nic in guests.items()
        },
    }


def outcome(folder: Path) -> str:
    site = load(folder).site
    assert site is not None
    question = Question(source="asks", target="closed", service=Service(protocol="tcp", port=80), version=4)
    return reach(rendered(site).consumers, question).outcome


def test_a_site_shrinks_to_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def disagrees(files: Files) -> bool:
        nonlocal asked
        asked += 1
        if not {"guests/asks.yaml", "guests/closed.yaml"} <= files.keys():
            return False
        write(files, tmp_path / "asked")
        right = outcome(tmp_path / "asked")
        with monkeypatch.context() as patch:
            patch.setattr(TapFilter, "forwarded_to", wrong)
            return outcome(tmp_path / "asked") != right

    files = big()
    assert disagrees(files)
    small = shrunk(files, disagrees, tmp_path / "small")
    assert disagrees(small)
    assert set(small) == {
        *("site.yaml", f"hosts/{HOST}.yaml", "filters/closed.yaml"),
        *("guests/asks.yaml", "guests/closed.yaml"),
    }
    assert [rule["tcp"]["dstportstart"] for rule in small["filters/closed.yaml"]["rules"]] == [80]
    assert asked < 40
    assert repaired(small, tmp_path / "kept") == small == read(tmp_path / "kept")


def test_tries_are_bounded(tmp_path: Path) -> None:
    asked = []

    def never(files: Files) -> bool:
        asked.append(files)
        return False

    assert shrunk(big(), never, tmp_path, tries=3) == big()
    assert len(asked) == 3


def test_a_repair_leaves_nothing_that_names_what_is_gone(tmp_path: Path) -> None:
    files = big()
    for path in ("networks/nat.yaml", "policies/ssh.yaml", "filters/closed.yaml", "guests/beside.yaml"):
        del files[path]
    left = repaired(files, tmp_path)
    assert left is not None
    assert load(tmp_path).is_good
    assert "guests/away.yaml" not in left
    assert "filter" not in left["guests/closed.yaml"]["interfaces"]["eth0"]
