"""Branches that meet in the output: a real `git merge`, `rebase` and `cherry-pick`, solved by `kvmgen build`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sites import ROOT, tree
from tests.test_cli import run
from tests.test_starter import BIN, git, site

__all__ = ["site"]

SEED = "cloud-init:\n  user-data:\n    packages: [nginx]\n"


@pytest.fixture(params=["driver", "clone without the driver"])
def repository(request: pytest.FixtureRequest, site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new site on the branch main, with a second guest; git knows kvmgen's merge driver, or doesn't."""
    monkeypatch.chdir(site)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "generator"))
    add_guest(site, "web02", 22)
    git(site, "init", "--quiet", "--initial-branch", "main")
    if request.param == "driver":
        command = documented_driver((site / "README.md").read_text())
        kvmgen = shlex.join([sys.executable, "-m", "kvmgen"])
        git(site, "config", "merge.kvmgen.driver", command.replace("kvmgen", kvmgen, 1))
    build_and_commit(site)
    return site


def documented_driver(readme: str) -> str:
    """What the site's README says git has to be told."""
    (line,) = (line for line in readme.splitlines() if "git config" in line)
    words = shlex.split(line)
    assert words[:3] == ["git", "config", "merge.kvmgen.driver"]
    return words[3]


def add_guest(site: Path, name: str, number: int, extra: str = "") -> None:
    guests = site / "inventory/guests"
    text = (guests / "web01.yaml").read_text().replace("web01", name)
    text = text.replace("192.0.2.20/", f"192.0.2.{number}/").replace("::20/", f"::{number}/")
    (guests / f"{name}.yaml").write_text(text.replace("192.168.122.10/", f"192.168.122.{number}/") + extra)


def edit(site: Path, file: str, old: str, new: str) -> None:
    path = site / "inventory" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def build_and_commit(site: Path) -> None:
    code, _, err = run("build")
    assert code == 0, err
    git(site, "add", "--all", ".")
    git(site, "commit", "--quiet", "--message", "A change")


def branches(site: Path, ours: Callable[[], None], theirs: Callable[[], None]) -> None:
    """Two branches from main's tip, with a build each; ours, which is main, is checked out."""
    git(site, "checkout", "--quiet", "-b", "theirs")
    theirs()
    build_and_commit(site)
    git(site, "checkout", "--quiet", "main")
    ours()
    build_and_commit(site)


def stopped(site: Path, *command: str) -> list[str]:
    """The files that git leaves unmerged."""
    with pytest.raises(subprocess.CalledProcessError):
        git(site, *command)
    return git(site, "diff", "--name-only", "--diff-filter=U").splitlines()


def built_from_nothing(site: Path) -> dict[str, str | bytes]:
    folder = site.parent / "fresh"
    assert run("build", "--output", folder)[0] == 0
    return tree(folder)


def solved_by_a_build(site: Path, unmerged: list[str], finish: tuple[str, ...]) -> None:
    """Only the output is in conflict, the README's commands end that, and the output is what a new build makes."""
    assert unmerged
    assert [file for file in unmerged if not file.startswith("output/")] == []
    code, _, err = run("build")
    assert code == 0, err
    git(site, "add", "output")
    git(site, "-c", "core.editor=true", *finish)
    assert git(site, "status", "--porcelain") == ""
    assert run("build", "--check")[0] == 0
    assert tree(site / "output") == built_from_nothing(site)


@pytest.mark.parametrize("way", ["merge", "rebase", "cherry-pick"])
def test_both_change_one_host(repository: Path, way: str) -> None:
    """A guest each, one of them with a seed, and a default that changes every guest."""

    def theirs() -> None:
        add_guest(repository, "theirs", 32, SEED)

    def ours() -> None:
        add_guest(repository, "ours", 31, SEED)
        edit(repository, "site.yaml", "guest-agent: true", "guest-agent: false")

    branches(repository, ours, theirs)
    if way == "rebase":
        git(repository, "checkout", "--quiet", "theirs")
    unmerged = stopped(repository, way, "main" if way == "rebase" else "theirs")
    assert "output/kvm01/manifest.json" in unmerged
    finish = ("commit", "--no-edit") if way == "merge" else (way, "--continue")
    solved_by_a_build(repository, unmerged, finish)


@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_one_side_removes_what_the_other_changes(repository: Path, who: str) -> None:
    """No driver is asked about such files: git leaves the changed one lying there, and the build removes it."""

    def remove() -> None:
        (repository / "inventory/guests/web02.yaml").unlink()

    def change() -> None:
        edit(repository, "site.yaml", "memory: 1 GiB", "memory: 2 GiB")

    branches(repository, *((remove, change) if who == "ours" else (change, remove)))
    unmerged = stopped(repository, "merge", "theirs")
    assert "output/kvm01/libvirt/domains/web02.xml" in unmerged
    assert (repository / "output/kvm01/libvirt/domains/web02.xml").exists()
    solved_by_a_build(repository, unmerged, ("commit", "--no-edit"))
    assert not (repository / "output/kvm01/libvirt/domains/web02.xml").exists()


def test_with_the_driver_no_file_has_marks_in_it(repository: Path) -> None:
    """Which is also what tells whether git knows the driver."""
    branches(
        repository,
        lambda: edit(repository, "guests/web01.yaml", "size: 20 GiB", "size: 30 GiB"),
        lambda: edit(repository, "guests/web01.yaml", "profile: small", "profile: small\nvcpus: 4"),
    )
    unmerged = stopped(repository, "merge", "theirs")
    marked = [file for file in unmerged if "<<<<<<<" in (repository / file).read_text()]
    known = "kvmgen" in git(repository, "config", "--list", "--local")
    assert (marked == []) is known
    solved_by_a_build(repository, unmerged, ("commit", "--no-edit"))


def test_a_merge_without_conflict_that_is_stale_is_stopped(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Branches that meet in no file of the output and still make another one: the hooks see to merges too."""

    def theirs() -> None:
        hosts = repository / "inventory/hosts"
        host = (hosts / "kvm01.yaml").read_text().replace("192.0.2.11/", "192.0.2.12/").replace("::11/", "::12/")
        (hosts / "kvm02.yaml").write_text(host)
        add_guest(repository, "theirs", 32)
        edit(repository, "guests/theirs.yaml", "hosts: [kvm01]", "hosts: [kvm02]")
        edit(repository, "networks/default.yaml", "{kvm01: {}}", "{kvm01: {}, kvm02: {}}")

    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    branches(repository, lambda: edit(repository, "site.yaml", "memory: 1 GiB", "memory: 2 GiB"), theirs)
    subprocess.run([BIN / "pre-commit", "install"], cwd=repository, check=True, capture_output=True)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        git(repository, "merge", "theirs")
    assert "Run `kvmgen build` and commit what it changes." in failed.value.stdout + failed.value.stderr
    assert git(repository, "diff", "--name-only", "--diff-filter=U") == ""
    assert run("build")[0] == 0
    git(repository, "add", "output")
    git(repository, "commit", "--no-edit")
    assert run("build", "--check")[0] == 0


def test_a_manifest_that_owns_what_either_side_did() -> None:
    """Whatever git left of a manifest says what may be removed; no other text does."""
    from kvmgen.output.manifest import owned_paths, with_files_of

    head = '{\n "generator": "kvmgen",\n'
    ours = head + ' "files": [\n  {"path": "a"},\n  {"path": "b"}\n ]\n}\n'
    theirs = head + ' "files": [\n  {"path": "a"},\n  {"path": "c"}\n ]\n}\n'
    marked = (
        head + ' "files": [\n  {"path": "a"},\n<<<<<<< HEAD\n  {"path": "b"}\n=======\n  {"path": "c"}\n>>>>>>> x\n'
    )
    assert owned_paths(marked) == owned_paths(with_files_of(ours, theirs)) == frozenset("abc")
    assert with_files_of(ours, ours) == ours
    assert with_files_of("{", theirs) == "{"
    assert owned_paths(marked.replace("kvmgen", "other")) is None
    assert owned_paths("<<<<<<< a\n") is None
