"""A new site: what `kvmgen init` makes works at once, with its own hooks and with the ones for other repositories."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvmgen import pipeline, starter
from tests.sites import ROOT, tree
from tests.test_cli import run, started

BIN = Path(sys.executable).parent


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "our kvm-hosts"
    code, out, err = run("init", folder)
    assert (code, err) == (0, ""), out
    return folder


def git(folder: Path, *arguments: str) -> str:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org"}
    who |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}
    done = subprocess.run(
        ["git", "-C", folder, *arguments], check=True, env=os.environ | who, capture_output=True, text=True
    )
    return done.stdout


def commit(folder: Path) -> None:
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "A new site")


def pre_commit(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """pre-commit in a site's repository, with a cache of its own."""
    environment = os.environ | {"PRE_COMMIT_HOME": str(folder.parent / "cache"), "PATH": f"{BIN}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    command = [BIN / "pre-commit", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=280
    )


def test_a_new_site_has_no_fault(site: Path) -> None:
    result = pipeline.build(site / "inventory", site / "output", write=False)
    assert result.diagnostics == []
    assert result.plan.write == result.plan.remove == []
    assert result.plan.unchanged > 10
    assert (site / "inventory" / "site.yaml").read_text().splitlines()[2] == "name: our-kvm-hosts"


def test_every_file_names_its_schema(site: Path) -> None:
    for path in sorted((site / "inventory").rglob("*.yaml")):
        _, _, schema = path.read_text().splitlines()[0].partition("$schema=")
        assert (path.parent / schema).resolve().is_relative_to(site / "schemas")
        assert (path.parent / schema).is_file()


def test_the_schemas_are_the_installed_ones(site: Path) -> None:
    assert tree(site / "schemas") == tree(ROOT / "schemas")
    assert run("schema", "guest") == (0, (ROOT / "schemas" / "guest.schema.json").read_text(), "")


def test_the_catalogue_finds_every_file_of_an_inventory(site: Path) -> None:
    import json
    from fnmatch import fnmatch

    entries = json.loads(starter.catalogue())["schemas"]
    for path in sorted((site / "inventory").rglob("*.yaml")):
        (entry,) = (entry for entry in entries if any(fnmatch(str(path), pattern) for pattern in entry["fileMatch"]))
        schema = path.read_text().splitlines()[0].rpartition("/")[2]
        assert entry["url"].endswith(f"/{schema}")


def test_nothing_is_overwritten(site: Path) -> None:
    before = tree(site)
    code, _, err = run("init", site)
    assert code == 1
    assert "is there already" in err
    assert tree(site) == before


def test_a_readme_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("ours\n")
    assert run("init", tmp_path, "--name", "ours")[0] == 0
    assert (tmp_path / "README.md").read_text() == "ours\n"


@pytest.mark.parametrize("name", ["../x", "a b", "a\nb", "-a"])
def test_a_name_that_no_site_can_have(tmp_path: Path, name: str) -> None:
    code, _, err = run("init", tmp_path / "site", f"--name={name}")
    assert code == 2, err
    assert not (tmp_path / "site").exists()


def test_a_folder_that_cant_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run("init", tmp_path / "file" / "site")
    assert code == 1
    assert "can't be written" in err


def test_its_hooks_pass_and_fail_when_they_must(site: Path) -> None:
    commit(site)
    done = pre_commit(site, "run", "--all-files")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Passed") == 2
    guest = site / "inventory" / "guests" / "web01.yaml"
    guest.write_text(guest.read_text().replace("192.0.2.20/24", "192.0.2.21/24"))
    git(site, "add", ".")
    done = pre_commit(site, "run")
    assert (done.returncode, done.stdout.count("Passed")) == (1, 1)
    assert "Run `kvmgen build`" in done.stdout


@pytest.mark.parametrize("hook", ["kvmgen-validate", "kvmgen-build"])
def test_the_hooks_for_other_repositories_pass(site: Path, hook: str) -> None:
    """As another repository takes them: pre-commit installs kvmgen by itself, from this one."""
    commit(site)
    done = pre_commit(site, "try-repo", ROOT, hook, "--all-files", "--verbose")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed" in done.stdout


def test_the_command_says_what_a_schema_is_for() -> None:
    assert started("schema").returncode == 2
    assert started("schema", "nonsense").returncode == 2
