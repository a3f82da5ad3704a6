"""All of the output or nothing: whatever fails, the old one is there byte for byte."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from kvmgen import pipeline
from kvmgen.output import tree as writing
from tests.output.changes import codes, everything_changes, refuses, without_guest
from tests.sites import tree

CALLS = ("rename", "write", "open", "makedirs", "mkdir")


def _failing(monkeypatch: pytest.MonkeyPatch, name: str, count: int, number: int) -> list[int]:
    """Let the ``count``-th call of ``os.NAME`` fail below the output; the list then holds how many calls there were."""
    real, calls = getattr(os, name), [0]

    def call(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == count:
            raise OSError(number, os.strerror(number), "a file")
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, call)
    return calls


@pytest.mark.parametrize("name", CALLS)
def test_a_failure_anywhere_leaves_the_old_output_whole(
    inventory: Path, output: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call that writing makes fails once; the old tree is there byte for byte, and a second build succeeds."""
    everything_changes(inventory)
    before, saved = tree(output), output.parent / "saved"
    shutil.copytree(output, saved)
    count = failures = 0
    while True:
        count += 1
        with monkeypatch.context() as patch:
            calls = _failing(patch, name, count, errno.ENOSPC)
            result = pipeline.build(inventory, output)
        if calls[0] < count:
            break
        if codes(result):
            failures += 1
            assert set(codes(result)) == {"KV032"}
            assert "the output is as it was" in result.diagnostics[0].message
            assert tree(output) == before
        else:  # a call whose failure doesn't matter, such as making a folder that is there
            assert name in ("open", "mkdir")
            shutil.rmtree(output)
            shutil.copytree(saved, output)
    assert failures
    assert codes(pipeline.build(inventory, output)) == []
    fresh = output.parent / "fresh"
    pipeline.build(inventory, fresh)
    assert tree(output) == tree(fresh)


def test_an_interrupt_leaves_the_old_output_whole(
    inventory: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything_changes(inventory)
    before, real, calls = tree(output), os.rename, [0]

    def rename(source: Path, target: Path) -> None:
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            pipeline.build(inventory, output)
    assert tree(output) == before


def test_a_failing_way_back_is_told(inventory: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "a file")

    everything_changes(inventory)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        _failing(patch, "rename", 5, errno.EIO)
        result = pipeline.build(inventory, output)
    assert codes(result) == ["KV032"]
    assert "neither the old one nor the new one" in result.diagnostics[0].message


def test_what_a_killed_build_left_is_cleared_away(inventory: Path, output: Path) -> None:
    (output / writing._STAGE / "new/kvm1").mkdir(parents=True)
    (output / writing._STAGE / "new/kvm1/half").write_text("half")
    assert pipeline.build(inventory, output).plan.is_empty
    assert not (output / writing._STAGE).exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOTDIR])
def test_an_output_that_cannot_be_opened(
    inventory: Path, output: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_guest(inventory)
    with monkeypatch.context() as patch:
        _failing(patch, "open", 1, number)
        result = refuses(inventory, output, ["KV032"])
    assert os.strerror(number) in result.diagnostics[0].message
