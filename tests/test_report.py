"""Diagnostics for programs, judged by their own schemas; what a terminal gets is in test_cli.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from kvmgen import pipeline
from kvmgen.inventory import schema
from kvmgen.report import for_machines
from kvmgen.rules import rules
from tests.expectations import CASES
from tests.sites import ROOT, SMALL, write

BROKEN = {
    **SMALL,
    "guests/web1.yaml": "hosts: [kvm1]\nuuid: 9b1f4c0e-0000-4000-8000-000000000001\nmemroy: 1 GiB\n",
    "guests/a 100%, b.yaml": "{}\n",
    "hosts/kvm1.yaml": SMALL["hosts/kvm1.yaml"] + "  virbr0: {}\n",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(format_: str, inventory: Path) -> str:
    result = pipeline.validate(inventory)
    return for_machines(format_, result.diagnostics, result.sources)


def sarif(inventory: Path) -> Any:
    document = json.loads(told("sarif", inventory))
    fetched = subprocess.run([ROOT / "tests" / "fetch-sarif-schema"], check=True, capture_output=True, text=True)
    standard = json.loads(Path(fetched.stdout.strip()).read_text())
    assert [error.message for error in Draft7Validator(standard).iter_errors(document)] == []
    return document


@pytest.mark.parametrize("name", ["macs", "bridge-names", "no-inventory", "read-yaml"])
def test_sarif_holds_its_schema(name: str) -> None:
    run = sarif(CASES / "errors" / name)["runs"][0]
    result = pipeline.validate(CASES / "errors" / name)
    assert len(run["results"]) == len(result.diagnostics)
    codes = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert codes == sorted({diagnostic.rule.code for diagnostic in result.diagnostics})
    assert all(codes[one["ruleIndex"]] == one["ruleId"] for one in run["results"])


def test_sarif_of_every_rule_holds_its_schema(tmp_path: Path) -> None:
    """All rules' documentation at once, as if each had been broken."""
    from kvmgen.report.located import Located
    from kvmgen.report.sarif import report

    found = [
        Located(rule=one.rule, message="m", hint="h", place=None, pointer="", related=()) for one in rules().values()
    ]
    standard = json.loads(Path(subprocess.getoutput(str(ROOT / "tests" / "fetch-sarif-schema"))).read_text())
    document = json.loads(report(found))
    assert [error.message for error in Draft7Validator(standard).iter_errors(document)] == []
    assert all(rule["helpUri"].startswith("https://") for rule in document["runs"][0]["tool"]["driver"]["rules"])


def test_sarif_names_files_below_the_current_folder_relative(here: Path) -> None:
    write(here / "inventory", BROKEN)
    results = sarif(Path("inventory"))["runs"][0]["results"]
    uris = {one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in results}
    assert "inventory/guests/web1.yaml" in uris
    assert "inventory/guests/a%20100%25%2C%20b.yaml" in uris


def test_a_fingerprint_stays_where_lines_move(here: Path) -> None:
    def prints() -> dict[str, str]:
        results = sarif(Path("inventory"))["runs"][0]["results"]
        return {one["message"]["text"]: one["partialFingerprints"]["kvmgen/v1"] for one in results}

    write(here / "inventory", BROKEN)
    before = prints()
    write(here / "inventory", {"guests/web1.yaml": "# one more line\n" + BROKEN["guests/web1.yaml"]})
    assert prints() == before
    assert len(set(before.values())) == len(before)


@pytest.mark.parametrize("name", ["macs", "bridge-names", "no-inventory"])
def test_json_holds_its_schema(name: str) -> None:
    document = json.loads(told("json", CASES / "errors" / name))
    Draft202012Validator(schema.load("diagnostics")).validate(document)
    severities = [one["severity"] for one in document["diagnostics"]]
    assert (document["errors"], document["warnings"]) == (severities.count("error"), severities.count("warning"))


def test_json_where_nothing_is_wrong(here: Path) -> None:
    write(here / "inventory", SMALL)
    assert json.loads(told("json", Path("inventory"))) == {"diagnostics": [], "errors": 0, "warnings": 0}
    assert sarif(Path("inventory"))["runs"][0]["results"] == []
    assert told("github", Path("inventory")) == ""


def test_github_escapes_what_its_commands_are_made_of(here: Path) -> None:
    write(here / "inventory", BROKEN)
    lines = told("github", Path("inventory")).splitlines()
    assert all(line.startswith(("::error ", "::warning ")) for line in lines)
    (bad_name,) = (line for line in lines if "KV006" in line)
    assert bad_name.startswith("::error file=inventory/guests/a 100%25%2C b.yaml,line=1,col=1,title=KV006 ")
    (unknown,) = (line for line in lines if "KV011" in line)
    assert unknown == (
        "::error file=inventory/guests/web1.yaml,line=3,col=1,title=KV011 A key that nothing reads::"
        "\"memroy\" is not a key of the document%0ADid you mean 'memory'?"
    )
