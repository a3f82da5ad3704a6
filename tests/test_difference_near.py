"""Of a large site only what a change is near to is read: what is told of the hosts is the same."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmgen.difference import near
from kvmgen.difference.causes import Causes
from kvmgen.difference.compare import host_changes
from kvmgen.difference.model import HostChange
from kvmgen.difference.reading import compared
from kvmgen.difference.revision import Problem
from tests.bench.site import write_site
from tests.sites import EXAMPLE
from tests.test_cli import run
from tests.test_starter import git


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example site in a repository of its own."""
    site = tmp_path_factory.mktemp("near")
    shutil.copytree(EXAMPLE, site / "inventory")
    commit(site)
    return site


def commit(site: Path) -> None:
    git(site, "init", "--quiet", "--initial-branch=main")
    git(site, "add", ".")
    git(site, "commit", "--quiet", "--message", "A site")


def told(site: Path, *, whole: bool) -> tuple[HostChange, ...] | None:
    """What changes on the hosts; ``None`` where the site is wrong."""
    with compared(site / "inventory", whole=whole) as sides:
        assert not isinstance(sides, Problem)
        assert (sides.hosts is None) or not whole
        before, after = sides.before.side, sides.after.side
        return host_changes(before, after, Causes(before, after, sides.changed), sides.hosts) if sides.is_good else None


EDITS = (
    ("guests/*.yaml", r"$", "sysctl: {vm.swappiness: 7}\n"),
    ("guests/*.yaml", r"(\d+\.\d+\.\d+)\.\d+/24", r"\1.77/24"),
    ("guests/shop-*.yaml", r"policies: \[[\w-]+,", "policies: ["),
    ("hosts/*.yaml", r"$", "sysctl: {vm.swappiness: 7}\n"),
    ("hosts/kvm-cn3.yaml", r"(\d+\.\d+\.\d+)\.\d+/24", r"\1.78/24"),
    ("networks/*.yaml", r"(?m)^domain:.*\n|$", "domain: near.example.org\n"),
    ("filters/*.yaml", r"priority: 1000", "priority: 998"),
    ("policies/*.yaml", r"tcp: (\[?)(\d+)", r"tcp: \g<1>1\2"),
)
"""Files, what is looked for in them, and what takes its place: whatever makes a valid site is compared."""


def edits(site: Path) -> Iterator[tuple[Path, str]]:
    for pattern, old, new in EDITS:
        for number, path in enumerate(sorted((site / "inventory").glob(pattern))):
            text = path.read_text()
            edited = re.sub(old, new, text, count=1)
            if edited != text and (number % 18 == 0 or "policies" in pattern or "shop" in path.name):
                yield path, edited
    for path in sorted((site / "inventory/guests").glob("shop-*.yaml")):
        yield path, ""


def test_a_part_tells_what_the_whole_does(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "FEW", 0)
    monkeypatch.setattr(near, "_MOST", 1)
    right = 0
    for path, edited in list(edits(example)):
        text = path.read_text()
        if edited:
            path.write_text(edited)
        else:
            path.unlink()
        whole, part = (told(example, whole=whole) for whole in (True, False))
        path.write_text(text)
        assert (whole is None) == (part is None), path.name
        if whole is not None and part is not None:
            assert part == whole, path.name
            right += bool(whole)
    assert right > 10


MAC = 'bridge: br2\n    mac: "52:54:00:12:34:56"'


def test_a_large_site_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest of one host: the guests of others aren't read, unless something is wrong, and then all is told."""
    monkeypatch.chdir(tmp_path)
    write_site(tmp_path / "inventory", 500)
    other = tmp_path / "inventory/guests/g00030.yaml"
    other.write_text(other.read_text().replace("bridge: br1", MAC))
    commit(tmp_path)
    assert run("diff")[1].startswith("Nothing changes.\n")
    guest = tmp_path / "inventory/guests/g00005.yaml"
    text = guest.read_text()
    guest.write_text(text.replace("vcpus: 2", "vcpus: 3"))
    with compared(tmp_path / "inventory", whole=False) as sides:
        assert not isinstance(sides, Problem)
        assert sorted(sides.hosts or ()) == ["kvm0000"]
        assert sides.after.result is not None
        assert sides.after.result.site is not None
        assert len(sides.after.result.site.guests) < 60, "those of the host, and who has an address of theirs"
    guest.write_text(text.replace("bridge: br2", MAC))
    code, _, err = run("diff")
    assert (code, "error KV401" in err, "g00030" in err) == (1, True, True), "a clash with another host's guest"
