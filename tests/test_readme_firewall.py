"""The table of what the firewall's words become, held to what is rendered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmgen.model.site import views
from kvmgen.pipeline import load
from kvmgen.render import render
from tests.readme import PLATFORMS
from tests.sites import SITE, write

RULE = {"source": "192.0.2.0/24", "service": "ssh", "action": "accept"}
POLICY = {"ingress-zones": ["public"], "egress-zones": ["HOST"], "rules": [RULE]}
BRIDGE: dict[str, object] = {"ethernets": {"eno1": {}}, "bridges": {"br0": {"ports": ["eno1"]}}}
DIRECT = {"family": "both", "chain": "INPUT", "rule": "-p tcp --dport 9 -j DROP"}
SAID: dict[str, dict[str, object]] = {
    "`zones`, `rules` in them": {"firewall": {"zones": {"public": {"services": ["ssh"], "rules": [RULE]}}}},
    "`policies`, `rules` in them": {"firewall": {"policies": {"out": POLICY}}},
    "`direct`, `chains`": {"firewall": {"direct": [DIRECT]}},
    "`chain-policies`": {"firewall": {"chain-policies": {"FORWARD": "ACCEPT"}}},
    "`ipv6-rpfilter`": {"firewall": {"ipv6-rpfilter": False}},
    "`isolation` at a bridge": {"bridges": {"br0": {"ports": ["eno1"], "isolation": "guests"}}},
}


def cells() -> Iterator[tuple[str, str, str]]:
    """A word, a platform with the minor that the table names, and what the table says of the two."""
    table = PLATFORMS.read_text().partition("| word | el6 |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in table.splitlines()[2:]]
    assert {row[0] for row in rows} == set(SAID)
    for word, *said in rows:
        for platform, cell in zip(("el6", "el7", "el8", "el9", "el10"), [*said, said[-1]], strict=True):
            minor = re.search(r"\((el8\.\d)\)", cell)
            yield word, minor[1] if minor else platform, cell


@pytest.mark.parametrize(("word", "platform", "cell"), list(cells()), ids=lambda text: text.replace(" ", "-"))
def test_the_table_tells_the_truth(word: str, platform: str, cell: str, tmp_path: Path) -> None:
    host = {"platform": platform, **BRIDGE, **SAID[word]}
    result = load(write(tmp_path, {"site.yaml": SITE, "hosts/kvm01.yaml": json.dumps(host)}))
    expected = {"KV023"} if cell == "error" else set()
    assert {found.rule.code for found in result.diagnostics if found.is_error} == expected
    if cell != "error":
        assert result.site is not None
        (view,) = views(result.site)
        place = re.findall(r"`/([^`]+)`", cell)[0]
        assert [file.path for file in render(view) if file.path.startswith(place)] != []
