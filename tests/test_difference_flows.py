"""Which lines a report names for what a change opens and closes: the sides come from a real git."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvmgen.difference.model import Flow
from kvmgen.difference.summary import then_and_now
from kvmgen.page.changes import packets
from kvmgen.report.difference_markdown import NOWHERE, as_markdown
from kvmgen.report.difference_text import as_text
from tests.sites import write
from tests.test_difference import SITE, commit, edit, site, told

__all__ = ["site"]

FEW = (
    "rules:\n"
    "  - {priority: 400, action: drop, direction: in, tcp: {dstportstart: 25}}\n"
    "  - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 22}}\n"
    "  - {priority: 1000, action: drop, direction: inout, all: {}}\n"
    "  - {priority: 999, action: drop, direction: inout, all-ipv6: {}}\n"
)
OPEN = "rules:\n  - {priority: 400, action: drop, direction: in, tcp: {dstportstart: 22}}\n"


def _with_a_rule(site: Path) -> None:
    edit(site, "filters/few.yaml", "dstportstart: 22}}\n", "dstportstart: 22}}\n" + _RULE)


_RULE = "  - {priority: 501, action: accept, direction: in, tcp: {dstportstart: 80}}\n"


def _without_a_drop(site: Path) -> None:
    (site / "inventory/filters/few.yaml").write_text(OPEN)
    commit(site)
    (site / "inventory/filters/few.yaml").write_text(OPEN.replace("22", "2222"))


def _without_the_rule(site: Path) -> None:
    edit(site, "filters/few.yaml", "dstportstart: 22", "dstportstart: 2222")


def _without_a_guest(site: Path) -> None:
    (site / "inventory/guests/db1.yaml").unlink()


def _with_a_guest(site: Path) -> None:
    guest = SITE["guests/db1.yaml"].replace("db1", "db2").replace("100.10/", "100.11/")
    write(site / "inventory", {"guests/db2.yaml": guest})


CASES: dict[str, tuple[Callable[[Path], None], str, str, str | None, str | None]] = {
    # what is done, the service, the other end's fate, the line that lets it through, the line that stops it
    "a rule that lets it through": (_with_a_rule, "tcp/80", "opens", "filters/few.yaml:4", "filters/few.yaml:4 before"),
    "a rule that is gone": (_without_a_drop, "tcp/22", "opens", None, "filters/few.yaml:2 before"),
    "a rule that stops it": (_without_the_rule, "tcp/22", "closes", None, "filters/few.yaml:4"),
    "a guest that is gone": (_without_a_guest, "tcp/22", "closes", None, "guests/db1.yaml:1 before"),
    "a guest that comes": (_with_a_guest, "tcp/22", "opens", "filters/few.yaml:3", None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_line_that_decides_is_named(site: Path, name: str) -> None:
    change, service, becomes, opened_by, cause = CASES[name]
    (site / "inventory/filters/few.yaml").write_text(FEW)
    commit(site)
    change(site)
    found = told(site)
    flows: tuple[Flow, ...] = getattr(found, becomes)
    (flow,) = [one for one in flows if service in one.services and "outside" in one.sources]
    places = [None if one is None else f"{one}{' before' * one.before}" for one in (flow.opened_by, flow.cause)]
    assert places == [None if line is None else f"inventory/{line}" for line in (opened_by, cause)]
    assert bool(flow.opening_rule) == bool(opened_by)
    named = [line.removesuffix(" before") for line in (opened_by, cause) if line]
    for report in (as_text(found), as_markdown(found, "test"), str(packets(found, NOWHERE))):
        assert all(line in report for line in named)


def test_a_place_stands_where_it_decided(site: Path) -> None:
    """What was stopped is told with what stopped it, what gets through with what lets it."""
    _with_a_rule(site)
    (flow,) = [flow for flow in told(site).opens if "outside" in flow.sources]
    then, now = then_and_now(flow)
    assert (then.place, now.place) == (flow.cause, flow.opened_by)
    assert (then.words, now.words, flow.versions) == ("blocked before", "delivered now", (4,))
