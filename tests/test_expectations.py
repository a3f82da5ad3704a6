"""`expect:` in a policy and in the site file: what is proved, and what is told where it doesn't hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmgen import pipeline
from tests.expectations import copy
from tests.test_rules import BASE

SITE = "name: example\ndomain: example.org\n"
GUEST = "hosts: [kvm01]\nmemory: 1 GiB\ninterfaces:\n  eth0: {{bridge: br0, addresses: [192.0.2.{}/24], {}}}\n"
POLICY = "allow-in:\n  - {tcp: 22, from: {guest: bastion}}\n"


def told(folder: Path, expect: str, policy: str = POLICY) -> list[str]:
    """What validating tells of a database that only the bastion may log in to, and another guest."""
    copy(BASE, folder)
    (folder / "policies").mkdir()
    (folder / "policies" / "db.yaml").write_text(policy)
    (folder / "site.yaml").write_text(SITE + expect)
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
    ],
)
def test_what_holds_is_silent(tmp_path: Path, expect: str) -> None:
    assert told(tmp_path, f"expect: [{expect}]\n") == []


@pytest.mark.parametrize(
    ("expect", "code", "words"),
    [
        ("{to: db, tcp: 22, only-from: [web01]}", "KV701", "bastion -> db tcp/22 IPv4: delivered"),
        ("{from: outside, to: db, tcp: 22}", "KV701", "blocked by kvm01/libvirt/nwfilters/"),
        ("{from: open, spoof: [mac]}", "KV701", "under 52:54:00:00:00:ee: delivered"),
        ("{from: {policy: nothing}, to: db}", "KV703", "no packet"),
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
