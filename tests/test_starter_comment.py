"""What a new site's pipelines tell of a change: the comment, written once and then brought up to date, and the page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.forge import BOT, ME, TOKEN, Forge, forge
from tests.test_starter import commit, git, site
from tests.test_starter_pipelines import WORKFLOW, ran, read

__all__ = ["site"]

Pipeline = Callable[[Path, Forge], CompletedProcess[str]]


@pytest.fixture
def known() -> Iterator[Forge]:
    with forge() as started:
        yield started


def change(site: Path, memory: str) -> None:
    guest = site / "inventory" / "guests" / "web01.yaml"
    lines = [line for line in guest.read_text().splitlines() if not line.startswith("memory")]
    guest.write_text("\n".join([*lines, f"memory: {memory}", ""]))
    git(site, "commit", "--quiet", "--all", "--message", memory)


@pytest.fixture
def pull_request(site: Path) -> Path:
    """A site with a branch, and what a forge checks out: the branch merged."""
    commit(site)
    git(site, "checkout", "--quiet", "-b", "branch")
    change(site, "3 GiB")
    git(site, "checkout", "--quiet", "--detach", "HEAD^")
    git(site, "merge", "--quiet", "--no-ff", "--message", "Merged", "branch")
    return site


def github(site: Path, known: Forge) -> CompletedProcess[str]:
    """The diff's step and the comment's."""
    jobs = read(site / WORKFLOW)["jobs"]
    (told,) = (step["run"] for step in jobs["kvmgen"]["steps"] if step.get("id") == "diff")
    where = {"GITHUB_SERVER_URL": "https://github.example", "GITHUB_REPOSITORY": "o/r"}
    done = ran(site, told, **where, GITHUB_STEP_SUMMARY=str(site / "summary.md"))
    assert done.returncode == 0, done.stderr
    (commented,) = (step["run"] for step in jobs["comment"]["steps"] if "run" in step)
    return ran(site, commented, **where, GITHUB_API_URL=f"{known.address}/github", NUMBER="5", TOKEN=TOKEN)


def gitlab(site: Path, known: Forge, token: str = TOKEN, event: str = "detached") -> CompletedProcess[str]:
    """The same of the other forge."""
    jobs = read(site / ".gitlab-ci.yml")
    base = git(site, "rev-list", "--max-parents=0", "HEAD").strip()
    where = {"CI_MERGE_REQUEST_DIFF_BASE_SHA": base, "CI_MERGE_REQUEST_EVENT_TYPE": event}
    done = ran(site, jobs["kvmgen"]["script"][-1], **where, CI_PROJECT_URL="https://gitlab.example/o/r")
    assert done.returncode == 0, done.stderr
    where = {
        "CI_API_V4_URL": f"{known.address}/gitlab",
        "CI_MERGE_REQUEST_PROJECT_ID": "9",
        "CI_MERGE_REQUEST_IID": "5",
    }
    return ran(site, "\n".join(jobs["comment"]["script"]), **where, KVMGEN_COMMENT_TOKEN=token)


PIPELINES = pytest.mark.parametrize("pipeline", [github, gitlab])


@PIPELINES
def test_a_comment_is_written_and_then_brought_up_to_date(pull_request: Path, known: Forge, pipeline: Pipeline) -> None:
    done = pipeline(pull_request, known)
    assert (done.returncode, done.stderr) == (0, "")
    (comment,) = known.comments
    assert comment["body"].startswith("<!-- kvmgen diff: our-kvm-hosts -->\n**Changes 1 object on `kvm01`")
    assert "\u2192 `3 GiB`" in comment["body"]
    assert "/inventory/guests/web01.yaml#L" in comment["body"], "it leads to the line"
    git(pull_request, "checkout", "--quiet", "branch")
    change(pull_request, "4 GiB")
    git(pull_request, "checkout", "--quiet", "--detach", "HEAD~2")
    git(pull_request, "merge", "--quiet", "--no-ff", "--message", "Merged", "branch")
    assert pipeline(pull_request, known).returncode == 0
    assert len(known.comments) == 1
    assert "\u2192 `4 GiB`" in comment["body"]
    assert (pull_request / "kvmgen-diff.html").read_text().startswith("<!DOCTYPE html>")


@PIPELINES
def test_comments_of_others_stay(pull_request: Path, known: Forge, pipeline: Pipeline) -> None:
    """Whoever writes our marker into a comment of theirs keeps it; ours is found behind many others."""
    marker = "<!-- kvmgen diff: our-kvm-hosts -->"
    known.add(f"{marker}\nmine", "somebody", 1)
    for number in range(120):
        known.add(f"{number}", "somebody", 1)
    known.add("<!-- kvmgen diff: another-site -->\nours", BOT, ME)
    ours = known.add(f"{marker}\nold", BOT, ME)
    before = [comment["body"] for comment in known.comments[:-1]]
    assert pipeline(pull_request, known).returncode == 0
    assert [comment["body"] for comment in known.comments[:-1]] == before
    assert ours["body"].startswith(f"{marker}\n**Changes")


@PIPELINES
def test_a_forge_that_refuses_is_a_failure(pull_request: Path, known: Forge, pipeline: Pipeline) -> None:
    known.address += "/nothing"
    done = pipeline(pull_request, known)
    assert done.returncode != 0
    assert "404" in done.stderr


def test_a_merged_result_is_compared_with_what_it_is_merged_into(pull_request: Path, known: Forge) -> None:
    git(pull_request, "checkout", "--quiet", "HEAD^1")
    change(pull_request, "5 GiB")  # by somebody else, meanwhile
    git(pull_request, "merge", "--quiet", "--no-ff", "--strategy", "ours", "--message", "Merged", "branch")
    assert gitlab(pull_request, known, event="merged_result").returncode == 0
    assert "**Nothing changes.**" in known.comments[0]["body"]


def test_without_a_token_it_says_so(pull_request: Path, known: Forge) -> None:
    done = gitlab(pull_request, known, token="")
    assert (done.returncode, done.stdout) == (0, "No comment: there is no variable KVMGEN_COMMENT_TOKEN.\n")
    assert known.asked == []


def test_an_older_inventory_that_is_refused_stops_nothing(pull_request: Path, known: Forge) -> None:
    site = pull_request / "inventory" / "site.yaml"
    right = site.read_text()
    site.write_text(f"{right}nonsense: 1\n")
    git(pull_request, "commit", "--quiet", "--all", "--message", "Wrong")
    site.write_text(right)
    git(pull_request, "commit", "--quiet", "--all", "--message", "Mended")
    done = gitlab(pull_request, known, event="merged_result")
    assert (done.returncode, done.stdout) == (0, "No comment: there is no difference to tell.\n")
    (step,) = (step for step in read(pull_request / WORKFLOW)["jobs"]["kvmgen"]["steps"] if step.get("id") == "diff")
    assert step["continue-on-error"] is True


def test_the_summary_has_it_too(pull_request: Path, known: Forge) -> None:
    github(pull_request, known)
    assert (pull_request / "summary.md").read_text() == known.comments[0]["body"]
    assert os.path.getsize(pull_request / "kvmgen-diff.html") > 10_000
