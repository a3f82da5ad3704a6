"""Seeds for cloud-init: binary files of root's, which libvirt lends to QEMU while their guests run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.applier.folder import FILES, SYSCTL, Image

SEED = "var/lib/libvirt/images/kvmgen-web01-seed.iso"
OLD, NEW = b"# Made by kvmgen\n\0old\xff", b"# Made by kvmgen\n\0new\xff"


@pytest.fixture
def image(tmp_path: Path) -> Image:
    found = Image(tmp_path)
    found.offer({**FILES, SEED: OLD})
    found.apply()
    return found


def test_a_seed_is_put_and_changed_without_showing_its_bytes(image: Image) -> None:
    assert image.read(SEED) == OLD
    image.offer({**FILES, SEED: NEW})
    (change,) = image.as_json(3, "plan", str(image.folder))
    assert (change["name"], change["kind"], change["impact"]) == (SEED, "seed", "live")
    assert "it is binary, and differs" in image.expect(3, "plan", str(image.folder))
    image.apply()
    assert image.read(SEED) == NEW
    image.expect(0, "rollback")
    assert image.read(SEED) == OLD


@pytest.mark.real
def test_that_qemu_has_it_is_no_drift(image: Image) -> None:
    os.chown(image.root / SEED, 107, 107)
    os.setxattr(image.root / SEED, "trusted.libvirt.security.dac", b"+0:+0\0")
    assert image.as_json(0, "plan", str(image.folder)) == []
    assert "changed" not in image.expect(0, "status")
    image.offer({**FILES, SEED: NEW})
    image.apply()
    status = (image.root / SEED).stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o644)


def test_a_seed_goes_with_its_guest(image: Image) -> None:
    image.offer({SYSCTL: FILES[SYSCTL]})
    image.apply()
    assert not (image.root / SEED).exists()


@pytest.mark.parametrize("path", ["var/lib/libvirt/images/web01.qcow2", "var/lib/kvmgen/state.json"])
def test_no_other_file_below_var_is_touched(path: str, image: Image) -> None:
    manifest = image.folder / "manifest.json"
    image.offer({**FILES, SEED: NEW})
    manifest.write_text(manifest.read_text().replace(SEED, path))
    target = image.folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    (image.folder / SEED).rename(target)
    assert "is no place for the kind seed" in image.apply(code=1)
    assert image.read(SEED) == OLD
