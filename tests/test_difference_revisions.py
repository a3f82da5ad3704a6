"""What `kvmgen diff` is compared with: every revision that isn't there or isn't right is told plainly."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sites import SMALL, tree, write
from tests.test_cli import run, started
from tests.test_starter import git

BROKEN = "platform: el99\n"
MEMORY = SMALL["guests/web1.yaml"] + "memory: 2 GiB\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the small inventory, committed; the current folder. Temporary files have a folder beside it."""
    (tmp_path / "site").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path / "site")
    write(tmp_path / "site/inventory", SMALL)
    git(tmp_path / "site", "init", "--quiet", "--initial-branch=main")
    commit(tmp_path / "site")
    return tmp_path / "site"


def commit(site: Path) -> None:
    git(site, "add", "--all", ".")
    git(site, "commit", "--quiet", "--allow-empty", "--message", "A change")


def change(site: Path) -> None:
    (site / "inventory/guests/web1.yaml").write_text(MEMORY)


def first(out: str) -> str:
    return out.splitlines()[0]


def test_the_work_tree_against_head(site: Path) -> None:
    code, out, err = run("diff")
    assert (code, first(out), err) == (0, "Nothing changes.", "")
    assert out.splitlines()[1].endswith(" to the work tree.")
    change(site)
    before = tree(site)
    code, out, err = run("diff")
    assert (code, err) == (0, "")
    assert first(out) == "Changes 1 object on kvm1."
    assert out.splitlines()[1].endswith(" to the work tree, with changes not committed.")
    assert "memory: 1 GiB -> 2 GiB  (inventory/guests/web1.yaml:4)" in out
    assert tree(site) == before, "neither work tree nor index is touched"
    assert os.listdir(os.environ["TMPDIR"]) == []
    assert run("diff", "--exit-code")[0] == 1


@pytest.mark.parametrize("how", ["staged", "added", "ignored", "removed"])
def test_all_that_a_build_would_read_counts(site: Path, how: str) -> None:
    guest = site / "inventory/guests/web1.yaml"
    if how == "staged":
        change(site)
        git(site, "add", ".")
    elif how == "removed":
        git(site, "rm", "--quiet", "inventory/guests/web1.yaml")
    else:
        (site / ".gitignore").write_text("web2.yaml\n" if how == "ignored" else "")
        write(site, {"inventory/guests/web2.yaml": guest.read_text().replace("web1", "web2").replace("2.10/", "2.11/")})
    assert "kvm1" in first(run("diff")[1])


def test_two_revisions_and_where_they_parted(site: Path) -> None:
    git(site, "switch", "--quiet", "--create", "topic")
    change(site)
    commit(site)
    git(site, "switch", "--quiet", "main")
    (site / "inventory/hosts/kvm2.yaml").write_text("platform: el8.6\n" + SMALL["hosts/kvm2.yaml"].split("\n", 1)[1])
    commit(site)
    parted = git(site, "merge-base", "main", "topic").strip()
    assert "kvm1" in run("diff", "HEAD~1", "--to", "topic")[1]
    both = run("diff", "main", "--to", "topic")[1]
    own = run("diff", "main", "--to", "topic", "--merge-base")[1]
    assert ("kvm2" in both, "kvm2" in own, "kvm1" in own) == (True, False, True)
    assert f"where it left main ({parted[:10]})" in own
    git(site, "switch", "--quiet", "topic")
    assert run("diff", "main", "--merge-base")[1].splitlines()[0] == own.splitlines()[0]
    code, _, err = run(
        "diff", "main", "--to", git(site, "commit-tree", "-m", "x", "HEAD^{tree}").strip(), "--merge-base"
    )
    assert (code, "have no commit in common" in err) == (2, True)


@pytest.mark.parametrize(
    "revision", ["nonsense", "--all", "HEAD~99", "HEAD:inventory", "a\nb", "$(touch pwned)", "\x1b[31m"]
)
@pytest.mark.parametrize("side", ["older", "newer"])
def test_a_revision_that_isnt_there(site: Path, revision: str, side: str) -> None:
    arguments = ("--", revision) if side == "older" else (f"--to={revision}",)
    code, out, err = run("diff", *arguments)
    assert (code, out) == (2, "")
    assert "git knows no revision" in err
    assert "\x1b" not in err
    assert not (site / "pwned").exists()


def test_a_branch_that_only_the_remote_has(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(site, "switch", "--quiet", "--create", "topic")
    subprocess.run(["git", "clone", "--quiet", "--branch=topic", site.as_uri(), tmp_path / "clone"], check=True)
    monkeypatch.chdir(tmp_path / "clone")
    code, _, err = run("diff", "main")
    assert (code, "There is origin/main" in err) == (2, True)
    assert run("diff", "origin/main")[0] == 0


def test_a_shallow_clone_names_what_deepens_it(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(site)
    commit(site)
    subprocess.run(["git", "clone", "--quiet", "--depth=1", site.as_uri(), tmp_path / "clone"], check=True)
    monkeypatch.chdir(tmp_path / "clone")
    code, _, err = run("diff", "HEAD~1")
    assert (code, "git fetch --unshallow" in err, "fetch-depth: 0" in err) == (2, True, True)
    git(tmp_path / "clone", "fetch", "--quiet", "--unshallow")
    assert first(run("diff", "HEAD~1")[1]) == "Changes 1 object on kvm1."


def test_nothing_to_ask(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "plain/inventory", SMALL)
    monkeypatch.chdir(tmp_path / "plain")
    assert "git can't be asked about inventory" in run("diff")[2]
    git(tmp_path / "plain", "init", "--quiet")
    code, _, err = run("diff")
    assert (code, "nothing is committed yet" in err) == (2, True)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run("diff")
    assert (code, "git can't be started" in err) == (2, True)


def _moved(site: Path) -> None:
    git(site, "mv", "inventory", "fleet")


def _moved_among_others(site: Path) -> None:
    write(site / "other", {"site.yaml": "name: another\n"})
    write(site / "broken", {"site.yaml": "[\n"})
    commit(site)
    _moved(site)


@pytest.mark.parametrize("how", [_moved, _moved_among_others])
def test_an_inventory_that_was_moved_is_found(site: Path, how: Callable[[Path], None]) -> None:
    how(site)
    code, out, _ = run("diff", "-i", "fleet")
    assert (code, first(out)) == (0, "Nothing changes.")
    assert "the inventory is in inventory." in out
    commit(site)
    assert first(run("diff", "HEAD~1", "--to", "HEAD", "-i", "fleet")[1]) == "Nothing changes."


def test_an_inventory_that_is_new(site: Path) -> None:
    write(site / "fleet", {**SMALL, "site.yaml": "name: new\ndomain: example.org\n"})
    code, out, _ = run("diff", "-i", "fleet")
    assert (code, first(out)) == (0, "Adds kvm1 and kvm2.")
    assert "has no inventory in fleet: everything counts as new." in out
    code, drawn, _ = run("graph", "--diff", "HEAD", "-i", "fleet", "--format", "dot")
    assert (code, set(re.findall(r'label="(. )?(?:kvm|web)[12]', drawn))) == (0, {"+ "})


def test_an_inventory_at_the_top(site: Path) -> None:
    for path in (site / "inventory").iterdir():
        path.rename(site / path.name)
    (site / "inventory").rmdir()
    commit(site)
    (site / "guests/web1.yaml").write_text(MEMORY)
    assert "(guests/web1.yaml:4)" in run("diff", "-i", ".")[1]


@pytest.mark.parametrize("side", ["older", "newer", "both"])
def test_a_side_that_doesnt_build_is_told_where_it_stands(site: Path, side: str) -> None:
    host = site / "inventory/hosts/kvm2.yaml"
    right = host.read_text()
    host.write_text(BROKEN if side != "newer" else right)
    commit(site)
    host.write_text(BROKEN if side != "older" else right)
    code, out, err = run("diff")
    assert (code, out) == (1, "")
    assert ("HEAD:inventory/hosts/kvm2.yaml:1:11: error KV010" in err) == (side != "newer")
    assert ("\ninventory/hosts/kvm2.yaml:1:11: error KV010" in f"\n{err}") == (side != "older")
    assert ("doesn't build with this kvmgen" in err) == (side != "newer")
    assert os.listdir(os.environ["TMPDIR"]) == []


def test_links_and_submodules(site: Path, tmp_path: Path) -> None:
    """A link within the inventory is one of its files; another repository's content isn't looked into."""
    (site / "inventory/guests/web1.yaml").rename(site / "inventory/guests/.kept")
    (site / "inventory/guests/web1.yaml").symlink_to(".kept")
    git(site, "init", "--quiet", str(tmp_path / "module"))
    git(tmp_path / "module", "commit", "--quiet", "--allow-empty", "--message", "x")
    git(
        site,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(tmp_path / "module"),
        "inventory/.m",
    )
    commit(site)
    code, out, err = run("diff")
    assert (code, first(out), err) == (0, "Nothing changes.", "")
    assert "inventory/.m is a submodule, which isn't looked into." in out
    (site / "inventory/guests/web1.yaml").unlink()
    (site / "inventory/guests/web1.yaml").symlink_to("/etc/hostname")
    commit(site)
    code, _, err = run("diff", "HEAD~1", "--to", "HEAD")
    assert (code, "HEAD:inventory/guests/web1.yaml:1:1: error KV005" in err) == (1, True)


def test_from_anywhere_and_within_hooks(site: Path, tmp_path: Path) -> None:
    change(site)
    git(site, "worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"))
    away = started("diff", "-i", str(site / "inventory"), cwd=tmp_path)
    assert first(away.stdout) == "Changes 1 object on kvm1."
    hook = started("diff", cwd=site, GIT_DIR=".git", GIT_INDEX_FILE=".git/index", GIT_PREFIX="")
    assert hook.stdout == away.stdout
    beside = started("diff", cwd=tmp_path / "tree")
    assert first(beside.stdout) == "Nothing changes."
