"""What tests of the output do to the small site, and how they look at a build."""

from __future__ import annotations

from pathlib import Path

from kvmgen import pipeline
from tests.sites import SMALL, tree


def codes(result: pipeline.Result) -> list[str]:
    return sorted(diagnostic.rule.code for diagnostic in result.diagnostics)


def without_guest(inventory: Path) -> None:
    (inventory / "guests/web1.yaml").unlink()


def without_host(inventory: Path) -> None:
    """One host less, and what names it with it."""
    (inventory / "hosts/kvm1.yaml").unlink()
    (inventory / "networks/lab.yaml").write_text(SMALL["networks/lab.yaml"].replace("kvm1: {}, ", ""))
    (inventory / "guests/web1.yaml").write_text(SMALL["guests/web1.yaml"].replace("kvm1, ", ""))


def everything_changes(inventory: Path) -> None:
    """Files are written, rewritten and removed; a host goes and another one comes."""
    without_host(inventory)
    (inventory / "hosts/kvm3.yaml").write_text(SMALL["hosts/kvm1.yaml"])
    (inventory / "hosts/kvm2.yaml").write_text("platform: el8\nethernets: {em2: {}}\nbridges: {br0: {ports: [em2]}}\n")


def refuses(inventory: Path, output: Path, expected: list[str]) -> pipeline.Result:
    """A build that must tell this and leave the output, and what is around it, as it is."""
    before = tree(output.parent)
    result = pipeline.build(inventory, output)
    assert codes(result) == expected
    after = tree(output.parent)
    assert after == before
    return result
