"""`expect:` in a policy and in the site file: what is proved, and what is told where it doesn't hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from kvmgen import pipeline
from kvmgen.diagnostics import Diagnostic
from kvmgen.inventory.context import SITE, Context
from kvmgen.inventory.expectations import expectations
from kvmgen.inventory.identity import Identity
from kvmgen.proof import pairs, rendered
from kvmgen.proof.expected import prove
from tests.expectations import copy
from tests.real.driven_site import site
from tests.real.driven_values import KNOWN
from tests.schema_strategy import definition
from tests.test_cli import run
from tests.test_rules import BASE

SITE_FILE = "name: example\ndomain: example.org\n"
GUEST = "hosts: [kvm01]\nmemory: 1 GiB\ninterfaces:\n  eth0: {{bridge: br0, addresses: [192.0.2.{}/24], {}}}\n"
POLICY = "allow-in:\n  - {tcp: 22, from: {guest: bastion}}\n"


def told(folder: Path, expect: str, policy: str = POLICY) -> list[str]:
    """What validating tells of a database that only the bastion may log in to, and another guest."""
    copy(BASE, folder)
    (folder / "policies").mkdir()
    (folder / "policies" / "db.yaml").write_text(policy)
    (folder / "site.yaml").write_text(SITE_FILE + expect)
    guests = {"db": "policies: [db]", "bastion": "mtu: 1500", "open": "anti-spoofing: none"}
    for number, (name, words) in enumerate(guests.items(), 30):
        (folder / "guests" / f"{name}.yaml").write_text(GUEST.format(number, words))
    found = pipeline.validate(folder).diagnostics
    return [f"{one.rule.code} {one.message}" for one in found if one.rule.code.startswith("KV7") or one.is_error]


@pytest.mark.parametrize(
    "expect",
    [
        "{to: db, tcp: 22, only-from: [bastion]}",
        "{from: bastion, to: db, tcp: 22}",
        "{from: [outside, open, web01], to: db, tcp: 22, verdict: blocked}",
        "{from: [db, bastion, web01], spoof: [mac, ip, arp]}",
        "{from: db, to: {network: default}, tcp: 80, verdict: blocked}",
        "{from: guests, to: {policy: db}, udp: 53, verdict: blocked}",
        "{from: host, to: [open, web01], tcp: 22}",
        "{from: db, to: host, tcp: 22}",
        "{from: guests, except: [open], spoof: [mac, ip, arp]}",
        "{from: [outside, guests], except: ['bastion:eth0'], to: db, tcp: 22, verdict: blocked}",
    ],
)
def test_what_holds_is_silent(tmp_path: Path, expect: str) -> None:
    assert told(tmp_path, f"expect: [{expect}]\n") == []


@pytest.mark.parametrize(
    ("expect", "code", "words"),
    [
        ("{to: db, tcp: 22, only-from: [web01]}", "KV701", "bastion:eth0 -> db tcp/22 IPv4: delivered"),
        ("{from: outside, to: db, tcp: 22}", "KV701", "blocked by kvm01/libvirt/nwfilters/"),
        ("{from: open, spoof: [mac]}", "KV701", "under 52:54:00:00:00:ee: delivered"),
        ("{from: {policy: nothing}, to: db}", "KV703", "no packet"),
        ("{to: open, tcp: 22, only-from: [host]}", "KV701", "bastion:eth0 -> open tcp/22 IPv4: delivered"),
        ("{from: host, to: [db, kvm01], tcp: 22}", "KV701", "kvm01 -> db tcp/22 IPv4: blocked"),
        ("{from: host, to: outside}", "KV703", "no packet"),
    ],
)
def test_what_doesnt_hold_is_told(tmp_path: Path, expect: str, code: str, words: str) -> None:
    messages = told(tmp_path, f"expect: [{expect}]\n")
    assert any(message.startswith(code) and words in message for message in messages), messages


def test_a_policy_speaks_of_its_members(tmp_path: Path) -> None:
    expect = "expect:\n  - {tcp: 22, only-from: [bastion]}\n  - {tcp: 80, from: outside, verdict: blocked}\n"
    assert told(tmp_path, "", POLICY + expect) == []


@pytest.mark.parametrize(
    "expect",
    ["{to: db, only-from: [bastion], verdict: blocked}", "{to: db, spoof: [mac]}", "{to: db, tcp: 22, udp: 53}"],
)
def test_words_that_exclude_each_other_are_told(tmp_path: Path, expect: str) -> None:
    (message,) = told(tmp_path, f"expect: [{expect}]\n")
    assert "never both" in message


@pytest.mark.parametrize("form", ["text", "json", "github", "gitlab", "junit", "sarif"])
def test_the_way_is_told_in_every_format(tmp_path: Path, form: str) -> None:
    told(tmp_path, "expect: [{from: outside, to: db, tcp: 22}]\n")
    printed = "".join(run("validate", "-i", tmp_path, "--format", form)[1:])
    assert "nat POSTROUTING -o" in printed or "iptables FO-" in printed
    assert f"(from {tmp_path}/policies/db.yaml:" in printed


@pytest.mark.parametrize(
    "expect",
    [
        "{from: outside, to: db, tcp: 22}",
        "{from: outside, to: db, icmp: echo-request}",
        "{from: open, spoof: [mac, ip, arp]}",
    ],
)
def test_the_hint_asks_again(tmp_path: Path, expect: str) -> None:
    """Its command is answered as the message says."""
    told(tmp_path, f"expect: [{expect}]\n")
    for one in pipeline.validate(tmp_path).diagnostics:
        words = one.hint.split("`")[1].split()
        _, answer, _ = run(*words[1:], "-i", tmp_path)
        assert answer.splitlines()[0].split(" (")[0] in one.message


def test_of_the_three_verdicts_one_holds(tmp_path: Path) -> None:
    """Of each packet that an expectation of the schema's means: two verdicts are refused, with what came out."""
    loaded = pipeline.load(site(tmp_path))
    assert loaded.site is not None
    whole, made, context = loaded.site, rendered(loaded.site), Context(Identity("example"), None)

    def found(said: dict[str, Any]) -> list[Diagnostic]:
        asked = expectations(context, {"expect": [said]}, SITE)
        return prove(replace(whole, expects=asked), loaded.sources, made)

    @settings(max_examples=40, derandomize=True, deadline=None, database=None)
    @given(definition("common", "expectation", KNOWN, "site/expect/0"))
    def one(said: dict[str, Any]) -> None:
        verdicts = [said] if "only-from" in said else [{**said, "verdict": word} for word in VERDICTS]
        several = [found(each) for each in verdicts]
        assert all(diagnostic.hint and diagnostic.origin for each in several for diagnostic in each)
        assert len({tuple(_told_of(each, "KV702")) for each in several}) == 1
        assert len({tuple(_told_of(each, "KV703")) for each in several}) == 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pairs, "_FEW", 0)
            by_classes = [found(each) for each in verdicts]
        if max(map(len, several)) < MOST_TOLD:
            assert [_codes(each) for each in by_classes] == [_codes(each) for each in several]
        came_out = Counter(message for each in several for message in _told_of(each, "KV701"))
        if len(verdicts) == 3 and max(map(len, several)) < MOST_TOLD:
            assert set(came_out.values()) <= {2}

    one()


def _codes(found: list[Diagnostic]) -> set[str]:
    return {one.rule.code for one in found}


VERDICTS = ("delivered", "blocked", "one-way")
MOST_TOLD = 5


def _told_of(found: list[Diagnostic], code: str) -> list[str]:
    return [one.message.partition("but ")[2] or one.message for one in found if one.rule.code == code]
