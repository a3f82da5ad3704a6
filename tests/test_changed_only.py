"""`kvmgen validate --changed-only`, with a real git: it may be quiet, and it may never be wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sites import SMALL, write
from tests.test_cli import run
from tests.test_starter import git

WARNED = {"hosts/kvm3.yaml": "platform: el7\nbridges: {virbr3: {}}\n"}
UNCHANGED = "Nothing in inventory has changed since HEAD.\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the small inventory and a host that is warned of, all committed."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "inventory", {**SMALL, **WARNED})
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def commit(site: Path) -> None:
    git(site, "add", ".")
    git(site, "commit", "--quiet", "--message", "A change")


def changed_only(*arguments: str) -> tuple[int, str, str]:
    return run("validate", "--changed-only", *arguments)


def test_nothing_has_changed(site: Path) -> None:
    (site / "README.md").write_text("beside the inventory\n")
    assert changed_only() == (0, UNCHANGED, "")
    assert changed_only("--strict") == (0, UNCHANGED, "")
    code, out, err = changed_only("--format", "json")
    assert (code, json.loads(out)["diagnostics"], err) == (0, [], UNCHANGED)


@pytest.mark.parametrize("how", ["edited", "staged", "added", "ignored", "removed", "moved", "staged and put back"])
def test_every_way_of_changing_counts(site: Path, how: str) -> None:
    guest = site / "inventory/guests/web1.yaml"
    wrong = guest.read_text() + "vcpus: many\n"
    match how:
        case "edited":
            guest.write_text(wrong)
        case "staged":
            guest.write_text(wrong)
            git(site, "add", ".")
        case "added" | "ignored":
            (site / ".gitignore").write_text("web2.yaml\n" if how == "ignored" else "")
            guest.with_name("web2.yaml").write_text("hosts: [kvm1]\nvcpus: many\n")
        case "removed":
            (site / "inventory/networks/lab.yaml").unlink()
        case "moved":
            git(site, "mv", "inventory/hosts/kvm1.yaml", "inventory/hosts/kvm9.yaml")
        case _:
            guest.write_text(guest.read_text() + "vcpus: 2\n")
            git(site, "add", ".")
            guest.write_text(wrong)
    code, _, err = changed_only()
    assert (code, "error KV" in err) == (1, True)


def test_an_error_is_told_wherever_it_stands(site: Path) -> None:
    """A new guest takes an address that an old one has; which of the two is told of it says nothing."""
    write(site / "inventory", {"guests/aaa.yaml": SMALL["guests/web1.yaml"].replace("web1", "aaa")})
    told = [
        {line for line in err.splitlines() if ": error " in line} for _, _, err in (run("validate"), changed_only())
    ]
    assert told[0] == told[1]
    assert any(line.startswith("inventory/guests/web1.yaml:") for line in told[1])


def test_warnings_are_told_of_what_changed(site: Path) -> None:
    assert "warning KV201" in run("validate")[2]
    guest = site / "inventory/guests/web1.yaml"
    guest.write_text(guest.read_text() + "vcpus: 2\n")
    assert changed_only("--strict") == (0, "Valid: 3 hosts, 1 guest.\n", "")
    host = site / "inventory/hosts/kvm3.yaml"
    host.write_text("# edited\n" + host.read_text())
    code, _, err = changed_only("--strict")
    assert (code, "warning KV201" in err) == (1, True)


def test_since_a_revision(site: Path) -> None:
    guest = site / "inventory/guests/web1.yaml"
    guest.write_text(guest.read_text() + "vcpus: many\n")
    commit(site)
    assert changed_only()[0] == 0, "what is committed is somebody else's to find"
    assert changed_only("--since", "HEAD~1")[0] == 1
    assert changed_only("--since", "HEAD~1", "--inventory", str(site / "inventory"))[0] == 1


@pytest.mark.parametrize("revision", ["nonsense", "--all", "HEAD~99", "HEAD:inventory", "a\nb", "$(touch pwned)"])
def test_a_revision_that_isnt_there(site: Path, revision: str) -> None:
    code, out, err = changed_only(f"--since={revision}")
    assert (code, out) == (2, "")
    assert "git knows no revision" in err
    assert not (site / "pwned").exists()


def test_a_shallow_clone_says_so(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "README.md").write_text("\n")
    commit(site)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", site.as_uri(), clone], check=True)
    monkeypatch.chdir(clone)
    code, _, err = changed_only("--since", "HEAD~1")
    assert (code, "git fetch --unshallow" in " ".join(err.replace("│", " ").split())) == (2, True)


@pytest.mark.parametrize("why", ["no repository", "no commit", "no git", "no inventory", "a repository of its own"])
def test_where_git_cant_say_everything_is_told(
    why: str, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not knowing is no reason to be quiet."""
    match why:
        case "no repository":
            (site / ".git").rename(tmp_path / "aside")
            monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        case "no commit":
            git(site, "update-ref", "-d", "HEAD")
        case "no git":
            monkeypatch.setenv("PATH", str(tmp_path / "empty"))
        case "no inventory":
            (site / "inventory/site.yaml").unlink()
            commit(site)
        case _:
            git(site / "inventory", "init", "--quiet")
    code, out, err = changed_only("--strict")
    assert code == 1
    assert out.startswith("What has changed isn't known (")
    assert "everything is told.\n" in out
    assert ("error KV007" if why == "no inventory" else "warning KV201") in err


def test_it_works_in_a_hook_of_git(site: Path) -> None:
    """git tells its hooks of a repository and an index of its own by the environment."""
    hook = site / ".git/hooks/pre-commit"
    hook.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m kvmgen validate --changed-only\n")
    hook.chmod(0o755)
    guest = site / "inventory/guests/web1.yaml"
    good = guest.read_text()
    guest.write_text(good + "vcpus: many\n")
    with pytest.raises(subprocess.CalledProcessError):
        git(site, "commit", "--quiet", "--all", "--message", "Wrong")
    guest.write_text(good + "vcpus: 2\n")
    git(site, "commit", "--quiet", "--message", "Right", "--", "inventory/guests/web1.yaml")


def test_since_alone_means_nothing(site: Path) -> None:
    assert run("validate", "--since", "HEAD")[0] == 2
