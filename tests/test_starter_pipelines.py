"""The pipelines of a new site: held to their schemas, and run step by step."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from kvmgen import __version__
from tests.sites import ROOT
from tests.test_report_pipelines import judged
from tests.test_starter import git, site

__all__ = ["site"]

WORKFLOW = ".github/workflows/kvmgen.yaml"


class Loader(yaml.SafeLoader):
    """As YAML 1.2 reads it: `on` is a word."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader)  # a safe one, and the site is ours


@pytest.mark.parametrize(("file", "schema"), [(WORKFLOW, "github-workflows"), (".gitlab-ci.yml", "gitlab-ci")])
def test_they_hold_their_schemas(site: Path, file: str, schema: str) -> None:
    fetched = subprocess.run([ROOT / "tests" / "fetch-pipeline-schemas"], check=True, capture_output=True, text=True)
    standard = json.loads((Path(fetched.stdout.strip()) / f"{schema}.json").read_text())
    document = read(site / file)
    assert [error.message for error in Draft7Validator(standard).iter_errors(document)] == []
    document["jobs" if "jobs" in document else "kvmgen"] = {"nonsense": 1}
    assert not Draft7Validator(standard).is_valid(document), "the schema looks at it at all"


def test_actions_are_pinned_and_may_only_read(site: Path) -> None:
    text = (site / WORKFLOW).read_text()
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert [bool(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action)) for action, _ in used] == [True] * 4
    assert all(re.fullmatch(r" # v\d+\.\d+\.\d+", tag) for _, tag in used)
    assert read(site / WORKFLOW)["permissions"] == {"contents": "read"}
    jobs = read(site / WORKFLOW)["jobs"]
    assert {name: job.get("permissions") for name, job in jobs.items()} == {
        "kvmgen": None,
        "comment": {"pull-requests": "write"},
    }
    assert "checkout" not in str(jobs["comment"]), "what may write runs nothing of the repository"


def ran(site: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script with kvmgen in its path; the installation itself is left to the pipelines."""
    script = script.replace("pip install --requirement requirements.txt", "true")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=site,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "generator")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def github(site: Path) -> subprocess.CompletedProcess[str]:
    """The steps of the job, up to the first that fails."""
    steps = read(site / WORKFLOW)["jobs"]["kvmgen"]["steps"]
    always = [step["run"] for step in steps if "run" in step and "if" not in step]
    assert len(always) == 3
    return ran(site, "\n".join(always))


def gitlab(site: Path) -> subprocess.CompletedProcess[str]:
    """The job's script; what comes after it runs in any case, in a shell of its own."""
    job = read(site / ".gitlab-ci.yml")["kvmgen"]
    done = ran(site, "\n".join(job["before_script"] + job["script"]))
    assert ran(site, "\n".join(job["after_script"])).returncode == 0
    reports = job["artifacts"]["reports"]
    done.quality = judged("gitlab", (site / reports["codequality"]).read_text())  # type: ignore[attr-defined]
    done.tests = judged("junit", (site / reports["junit"]).read_text())  # type: ignore[attr-defined]
    return done


def test_a_new_site_passes(site: Path) -> None:
    assert github(site).returncode == 0
    done: Any = gitlab(site)
    assert (done.returncode, done.quality, done.tests.xpath("//failure")) == (0, [], [])


def test_an_error_is_shown_beside_its_line(site: Path) -> None:
    git(site, "init", "--quiet")
    guest = site / "inventory/guests/web01.yaml"
    guest.write_text(guest.read_text() + "memroy: 1 GiB\n")
    line = guest.read_text().count("\n")
    done: Any = github(site)
    assert done.returncode == 1
    assert f"::error file=inventory/guests/web01.yaml,line={line},col=1,title=KV011 " in done.stdout
    done = gitlab(site)
    assert (done.returncode, "error KV011" in done.stderr) == (1, True)
    assert [entry["location"]["lines"]["begin"] for entry in done.quality] == [line]
    assert done.tests.xpath("//testcase[failure]/@classname") == ["inventory/guests/web01.yaml"]


def test_a_stale_output_fails_with_the_command_that_mends_it(site: Path) -> None:
    guest = site / "inventory/guests/web01.yaml"
    guest.write_text(guest.read_text() + "vcpus: 3\n")
    done: Any = github(site)
    assert done.returncode == 1
    assert "::error title=KV035 " in done.stdout
    assert "Run `kvmgen build`" in done.stdout
    done = gitlab(site)
    assert done.returncode == 1
    assert [entry["check_name"] for entry in done.quality] == done.tests.xpath("//failure/@type") == ["KV035"]


def test_the_version_stands_once(site: Path) -> None:
    assert (site / "requirements.txt").read_text() == f"kvmgen=={__version__}\n"
    for file in (WORKFLOW, ".gitlab-ci.yml"):
        text = (site / file).read_text()
        assert "pip install --requirement requirements.txt" in text
        assert __version__ not in text


def test_git_knows_what_is_generated(site: Path) -> None:
    """Forges fold it, `git diff` still shows it, and lines of it are never mixed."""
    git(site, "init", "--quiet")
    attributes = ("linguist-generated", "gitlab-generated", "merge", "diff", "eol")
    told = git(site, "check-attr", *attributes, "--", "output/kvm01/manifest.json").splitlines()
    assert [line.rpartition(": ")[2] for line in told] == ["true", "true", "kvmgen", "unspecified", "lf"]
    told = git(site, "check-attr", "linguist-generated", "merge", "--", "inventory/site.yaml").splitlines()
    assert [line.rpartition(": ")[2] for line in told] == ["unspecified", "unspecified"]
