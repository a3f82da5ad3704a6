"""Reports in pipelines: held to the schemas of those who read them, and harmless whatever an inventory says."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from lxml import etree

from kvmgen import pipeline
from kvmgen.diagnostics import Rule, Severity
from kvmgen.report import MACHINE_FORMATS, text
from kvmgen.report.located import Located, Place, located
from kvmgen.rules import rules
from tests.expectations import CASES
from tests.hostile import STRINGS
from tests.sites import ROOT, SMALL, write
from tests.test_cli import run

CODE_QUALITY = {
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": "^[^/]"},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}
"""What GitLab's documentation asks of an entry; GitLab itself looks at less of it."""

WORKFLOW = {
    "command": "::add-mask::x",
    "command on a line of its own": "x\n::error file=x::y",
    "indented command": "x\n \t::stop-commands::pause",
    "old command": "x ##[add-mask]x",
    "twice": "x ##[##[add-mask]x",
    "escaped": "x%0A::add-mask::x",
    "property": "x,line=1::y",
    "section": "\x1b[0Ksection_start:1:x\r\x1b[0K",
    "undecodable": "x\udcff\ud800",
}
HOSTILE = {**WORKFLOW, **STRINGS}


@cache
def junit_schema() -> etree.XMLSchema:
    fetched = subprocess.run([ROOT / "tests" / "fetch-pipeline-schemas"], check=True, capture_output=True, text=True)
    return etree.XMLSchema(etree.parse(Path(fetched.stdout.strip()) / "junit-10.xsd"))


def judged(format_: str, document: str) -> Any:
    """A document as whoever it is for reads it, once it holds its schema."""
    if format_ == "gitlab":
        entries = json.loads(document)
        Draft202012Validator(CODE_QUALITY).validate(entries)
        assert len({entry["fingerprint"] for entry in entries}) == len(entries)
        return entries
    if format_ == "junit":
        root = etree.fromstring(document.encode())
        junit_schema().assertValid(root)
        return root
    return json.loads(document) if format_ in {"json", "sarif"} else document.splitlines()


@pytest.mark.parametrize("format_", ["gitlab", "junit"])
@pytest.mark.parametrize("name", ["macs", "bridge-names", "no-inventory", "read-yaml"])
def test_what_is_found_holds_its_schema(format_: str, name: str) -> None:
    result = pipeline.validate(CASES / "errors" / name)
    found = located(result.diagnostics, result.sources)
    document = judged(format_, MACHINE_FORMATS[format_](found))
    told = [one["check_name"] for one in document] if format_ == "gitlab" else document.xpath("//failure/@type")
    assert told == [one.rule.code for one in found if format_ == "gitlab" or one.rule.severity is Severity.ERROR]


def test_a_report_of_nothing() -> None:
    assert judged("gitlab", MACHINE_FORMATS["gitlab"]([])) == []
    (suite,) = judged("junit", MACHINE_FORMATS["junit"]([]))
    assert dict(suite.attrib) == {"name": "kvmgen", "tests": "1", "failures": "0", "errors": "0", "skipped": "0"}
    assert [len(test) for test in suite] == [0], "one test, and it passed"


def finding(said: str) -> Located:
    """A finding that says this wherever it can; not every text can name a file."""
    place = Place(f"inventory/{said if _can_name_a_file(said) else 'site.yaml'}", 3, 4)
    rule = next(rule for rule in map(_rule, rules().values()) if rule.severity is Severity.WARNING)
    return Located(rule=rule, message=said, hint=said, place=place, pointer=said, related=((place, said),))


def _can_name_a_file(said: str) -> bool:
    return said not in {".", ".."} and not set(said) & {"/", "\0", "\ud800"} and len(said) < 255


def _rule(documented: Any) -> Rule:
    rule: Rule = documented.rule
    return rule


@pytest.mark.parametrize("format_", [*MACHINE_FORMATS, "text"])
@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_commands_nobody(format_: str, said: str) -> None:
    """GitHub's runner obeys `::` where a line starts and `##[` anywhere; terminals and GitLab's log, control codes."""
    found = [finding(said), finding(said)]
    document = MACHINE_FORMATS[format_](found) if format_ in MACHINE_FORMATS else text.report(found)
    read = judged(format_, document)
    lines = document.split("\n")
    assert all(line.isprintable() for line in lines)
    assert "##[" not in document
    commands = [line for line in lines if line.lstrip().startswith("::")]
    assert len(commands) == (2 if format_ == "github" else 0)
    assert all(line.startswith("::warning file=inventory/") and line.count("::") >= 2 for line in commands)
    if format_ == "json":
        assert [one["message"] for one in read["diagnostics"]] == [said, said], "nothing is lost"
    if format_ == "gitlab":
        assert [one["description"] for one in read] == [f"{said}\n{said}"] * 2


def test_one_line_a_finding_for_github() -> None:
    found = [finding(said) for said in HOSTILE.values()]
    lines = MACHINE_FORMATS["github"](found).splitlines()
    assert len(lines) == len(found)
    for line in lines:
        properties = line.removeprefix("::warning ").partition("::")[0].split(",")
        assert [one.partition("=")[0] for one in properties] == ["file", "line", "col", "title"]
        assert properties[1:3] == ["line=3", "col=4"]


@pytest.mark.parametrize("git", ["folder", "file"])
def test_files_are_named_from_the_top_of_their_repository(
    git: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site below the top of its repository, with kvmgen started there: forges know nothing of current folders."""
    mark = tmp_path / ".git"
    mark.mkdir() if git == "folder" else mark.write_text("gitdir: elsewhere\n")
    write(tmp_path / "sites/one/inventory", {**SMALL, "guests/web1.yaml": "hosts: [kvm1]\nmemroy: 1\n"})
    monkeypatch.chdir(tmp_path / "sites/one")
    where = "sites/one/inventory/guests/web1.yaml"
    told = {format_: judged(format_, run("validate", "--format", format_)[1]) for format_ in MACHINE_FORMATS}
    assert told["gitlab"][0]["location"]["path"] == where
    assert told["junit"].xpath("//testcase/@classname") == [where]
    assert told["github"][0].startswith(f"::error file={where},line=2,")
    (result,) = told["sarif"]["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == where
    assert told["json"]["diagnostics"][0]["place"]["file"] == "inventory/guests/web1.yaml"


@pytest.mark.parametrize("format_", [*MACHINE_FORMATS, "text"])
def test_a_stale_output_says_what_mends_it(format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every format; and the command does mend it, told for the folders that were looked at."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "our site", SMALL)
    check = ("build", "-i", "our site", "-o", "out", "--check", "--format", format_)
    code, out, err = run(*check)
    mend = "kvmgen build --inventory 'our site' --output out"
    assert code == 1
    document = err if format_ == "text" else out
    judged(format_, document.strip())
    assert document.count(f"Run `{mend}` and commit what it changes.") == 1
    assert "KV035" in document
    assert run("build", "--inventory", "our site", "--output", "out")[0] == 0
    code, out, err = run(*check)
    assert (code, "KV035" in out + err) == (0, False)


def test_a_file_that_a_pull_request_brought_commands_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a build removes is named by a manifest that anybody can have written."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "inventory", SMALL)
    run("build")
    manifest = tmp_path / "output/kvm1/manifest.json"
    content = json.loads(manifest.read_text())
    name = "x\n::add-mask::x\x1b[31m ##[add-mask]x"
    manifest.write_text(json.dumps(content | {"files": [*content["files"], {"path": name}]}))
    (manifest.parent / name).write_text("x")
    _, out, err = run("build", "--check")
    assert "would remove output/kvm1/x\\x0a::add-mask::x\\x1b[31m #\\x23[add-mask]x\n" in out
    assert "\n::" not in out + err
    assert "\x1b" not in out + err
