"""`kvmgen reach` about many packets: the matrix and what a change opens, as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from kvmgen.asking import Unanswerable, many
from kvmgen.asking.services import services_of
from kvmgen.proof import rendered
from kvmgen.proof.services import named_services, unnamed_services
from kvmgen.reachability import tell
from kvmgen.reachability.answer import Question, Service, reach
from tests.sites import write
from tests.test_cli import run
from tests.test_difference_revisions import site as in_git
from tests.test_matrix import HTTP, PING, example
from tests.test_reachability import INVENTORY

TABLE = """\
from outside
  to exercise01                           tcp/80
  to shop-db01                            ping (IPv6)
  to shop-web01                           tcp/80 ping (IPv6)

Asked: ping tcp/80; in IPv4 and IPv6 where both ends have them.
"""
QUIET = """\
rules:
  - {filter: kvmgen-anti-spoofing-ipv4}
  - {priority: 100, action: drop, direction: in, ip: {protocol: tcp, dstportstart: 80}}
"""
site = in_git


def test_the_table() -> None:
    words = ("reach", "--matrix", "outside", "exercise01,shop-db01,shop-web01", "--services", "ping,tcp/80")
    assert run(*words, "-i", INVENTORY) == (0, TABLE, "")


def test_the_whole_table_names_everybody_and_what_was_asked() -> None:
    code, out, _ = run("reach", "--matrix", "-i", INVENTORY, "--services", "ping")
    assert code == 0
    assert max(map(len, out.splitlines())) < 160
    for name in (*example().hosts, *example().guests, "outside"):
        assert name in out


def test_more_answers_than_anybody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_MOST", 1000)
    monkeypatch.setenv("COLUMNS", "300")
    code, out, err = run("reach", "--matrix", "--services", "ping", "-i", INVENTORY)
    assert (code, out) == (2, "")
    assert re.search(r"this asks for \d,\d{3} answers, as so many ends differ from each other", err)


def test_what_stands_for_the_ports_that_nobody_names_is_told() -> None:
    code, out, _ = run("reach", "--matrix", "outside", "exercise01", "-i", INVENTORY)
    assert code == 0
    assert "tcp/47808 and udp/47808 stand for the ports that the inventory doesn't name." in out


def test_json_has_classes_and_the_line_that_decides() -> None:
    words = ("--services", "tcp/80,ping", "--format", "json", "-i", INVENTORY)
    code, out, _ = run("reach", "--matrix", "outside", "el9-apart01,el9-apart02,shop-db01", *words)
    assert code == 0
    told = json.loads(out)
    assert told["classes"] == [["outside"], ["el9-apart01", "el9-apart02"], ["shop-db01"]]
    stopped = next(one for one in told["answers"] if one["to"] == 2 and one["verdict"] == "blocked")
    assert stopped["file"].endswith("policies.administered.shop-db.anti-spoofing.xml")
    assert stopped["line"] > 0
    assert stopped["rule"] == "drop inout all (priority 1000)"
    assert stopped["services"] == ["tcp/80", "ping"]


def test_csv_of_every_pair_is_what_each_pair_is_told_alone() -> None:
    made = rendered(example())
    code, out, _ = run(
        *("reach", "--matrix", "--services", "tcp/80", "-4", "--format", "csv", "--each"),
        *("outside,el9-apart01,el9-apart02,el10-apart02", "el9-apart01,el9-apart02,el10-apart03,exercise01,shop-db01"),
        *("-i", INVENTORY),
    )
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 18
    for row in rows:
        answer = reach(
            made.consumers, Question(source=row["from"], target=row["to"], service=HTTP, version=int(row["version"]))
        )
        assert row["verdict"] == answer.outcome
        if answer.cause is not None:
            line = f":{row['line']}" if row["line"] else ""
            assert f"{row['file']}{line}" == tell.in_folder(answer.host, answer.cause)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("web01", "Who is to be reached is missing"),
        ("", "Who sends and who is to be reached are missing"),
        ("a b --services ping", "--services goes with --matrix or --diff"),
        ("a b --format csv", "--format csv goes with --matrix"),
        ("a b --each", "--each goes with --matrix"),
        ("--matrix --each", "--each is for --format csv"),
        ("--matrix --tcp 22", "--tcp is about one packet"),
        ("--matrix --diff HEAD", "ask for one of them"),
        ("web01 --diff HEAD", "--diff is about everybody"),
        ("--diff HEAD --format csv", "--diff is told as text or json"),
        ("--matrix web99", "there is no guest or host web99"),
        ("--matrix --services tcp/0", "'tcp/0' is no service"),
        ("--matrix --services icmp/pong", "there is no icmp type 'pong'"),
    ],
)
def test_a_question_put_wrongly(words: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    code, out, err = run("reach", *words.split(), "-i", INVENTORY)
    assert (code, out) == (2, "")
    assert told in " ".join(err.split())


def test_services_by_their_names() -> None:
    assert services_of("tcp/22, ping,icmpv6/neighbour-solicitation,tcp/22") == (
        Service(protocol="tcp", port=22),
        PING,
        Service(protocol="icmpv6", type=135),
    )
    assert services_of(None) == ()
    with pytest.raises(Unanswerable):
        services_of("ssh")


def test_the_services_that_an_inventory_names() -> None:
    named = [str(service) for service in named_services(example())]
    assert named[0] == "ping"
    assert {"tcp/22", "tcp/80", "tcp/443", "tcp/5432", "udp/53"} < set(named)
    assert {str(service) for service in unnamed_services(example())} < set(named)


def test_what_a_change_opens(site: Path) -> None:
    code, out, _ = run("reach", "--diff", "HEAD")
    assert code == 0
    assert out.startswith("Every packet fares as it did in HEAD (")
    guest = site / "inventory/guests/web1.yaml"
    guest.write_text(guest.read_text().replace("dhcp4: true", "dhcp4: true, filter: quiet"))
    write(site / "inventory", {"filters/quiet.yaml": QUIET})
    code, out, _ = run("reach", "--diff", "HEAD", "--services", "tcp/80,tcp/22")
    assert code == 0
    assert out.startswith("Closes\n  outside -> web1:eth1  tcp/80 (IPv4 alone)  delivered -> blocked\n")
    assert "inventory/filters/quiet.yaml:3  drop in ip protocol='tcp' dstportstart='80' (priority 100)\n" in out
    told = json.loads(run("reach", "--diff", "HEAD", "--services", "tcp/80", "--format", "json")[1])
    assert [flow["services"] for flow in told["closes"]] == [["tcp/80"]]
    assert told["opens"] == []
