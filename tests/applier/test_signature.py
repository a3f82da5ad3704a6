"""With --signers, only a manifest that an allowed signer signed is used; what can't be verified is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applier.folder import FILES, Image, archive_of, put

pytestmark = pytest.mark.real


def run(*argv: str | Path) -> str:
    """Run a program that must succeed; what it printed."""
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


class Keys:
    """Alice is allowed, Mallory isn't; `signers` is the file that says so."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.signers = place / "signers"

    def sign(self, name: str, manifest: Path) -> None:
        """Write manifest.json.sig."""
        raise NotImplementedError


class SshKeys(Keys):
    """OpenSSH's."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        for name in ("alice", "mallory"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", place / name)
        self.signers.write_text('kvmgen namespaces="kvmgen" ' + (place / "alice.pub").read_text())

    def sign(self, name: str, manifest: Path) -> None:
        manifest.with_name("manifest.json.sig").unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-Y", "sign", "-f", self.place / name, "-n", "kvmgen", manifest)


class GpgKeys(Keys):
    """GnuPG's."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        for name in ("alice", "mallory"):
            (place / name).mkdir(mode=0o700)
            self._gpg(name, "--passphrase", "", "--quick-generate-key", f"{name}@example.org", "ed25519", "sign")
        self._gpg("alice", "--output", self.signers, "--export")

    def sign(self, name: str, manifest: Path) -> None:
        signature = manifest.with_name("manifest.json.sig")
        self._gpg(name, "--yes", "--output", signature, "--detach-sign", manifest)

    def _gpg(self, name: str, *words: str | Path) -> None:
        run("gpg", "--homedir", self.place / name, "--batch", "--quiet", "--pinentry-mode", "loopback", *words)

    def stop(self) -> None:
        """End the agents that gpg started."""
        for name in ("alice", "mallory"):
            run("gpgconf", "--homedir", self.place / name, "--kill", "all")


@pytest.fixture(scope="module", params=["ssh", "gpg"])
def keys(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    place = tmp_path_factory.mktemp("k")
    if request.param == "ssh":
        yield SshKeys(place)
        return
    found = GpgKeys(place)
    yield found
    found.stop()


@pytest.fixture
def image(tmp_path: Path) -> Image:
    found = Image(tmp_path)
    found.offer()
    return found


def assert_refused(image: Image, keys: Keys, says: str) -> None:
    told = image.apply("--signers", str(keys.signers), code=1)
    assert says in told
    assert image.state().keys() == {"etc"}


def test_what_an_allowed_signer_signed_is_applied(image: Image, keys: Keys) -> None:
    keys.sign("alice", image.folder / "manifest.json")
    assert image.as_json(3, "plan", str(image.folder), "--signers", str(keys.signers))
    files = {path: (image.folder / path).read_bytes() for path in (*FILES, "manifest.json", "manifest.json.sig")}
    image.expect(0, "apply", "-", "--signers", str(keys.signers), stdin=archive_of(files))
    assert {path: image.read(path) for path in FILES} == dict(FILES)
    image.apply()


def test_what_is_not_signed_is_refused(image: Image, keys: Keys) -> None:
    assert_refused(image, keys, "isn't signed (there is no manifest.json.sig)")


def test_what_somebody_else_signed_is_refused(image: Image, keys: Keys) -> None:
    keys.sign("mallory", image.folder / "manifest.json")
    assert_refused(image, keys, "isn't one that --signers allows")


def test_what_changed_after_it_was_signed_is_refused(image: Image, keys: Keys) -> None:
    manifest = image.folder / "manifest.json"
    keys.sign("alice", manifest)
    signature = manifest.with_name("manifest.json.sig").read_bytes()
    image.offer({**FILES, "etc/sysctl.d/99.conf": b"kernel.sysrq = 1\n"})
    put(image.folder / "manifest.json.sig", signature)
    assert_refused(image, keys, "isn't one that --signers allows")


def test_a_file_that_changed_after_its_manifest_was_signed_is_refused(image: Image, keys: Keys) -> None:
    keys.sign("alice", image.folder / "manifest.json")
    put(image.folder / "etc/sysctl.d/90-kvmgen.conf", b"kernel.sysrq = 1\n")
    assert_refused(image, keys, "isn't what the manifest says")


def test_a_signature_that_is_none_is_refused(image: Image, keys: Keys) -> None:
    keys.sign("alice", image.folder / "manifest.json")
    signature = image.folder / "manifest.json.sig"
    for rubbish in (b"", b"\xff" * 40, signature.read_bytes()[:-60]):
        put(signature, rubbish)
        assert_refused(image, keys, "isn't one that --signers allows")


def test_a_signature_of_another_kind_than_the_signers_is_refused(image: Image, keys: Keys, tmp_path: Path) -> None:
    keys.sign("alice", image.folder / "manifest.json")
    other = Keys(tmp_path)
    other.signers.write_text("nothing\n")
    assert_refused(image, other, "isn't one that --signers allows")


def test_signers_that_are_not_there_are_a_wrong_call(image: Image, keys: Keys) -> None:
    keys.sign("alice", image.folder / "manifest.json")
    assert "there is no such file" in image.apply("--signers", "/nowhere", code=2)


def test_what_nothing_can_verify_is_refused_with_the_reason(image: Image, keys: Keys, tmp_path: Path) -> None:
    keys.sign("alice", image.folder / "manifest.json")
    (tmp_path / "bin").mkdir()
    image.environment["PATH"] = str(tmp_path / "bin")
    assert_refused(image, keys, "which isn't installed: install it, or sign otherwise")


def test_an_openssh_that_knows_no_signatures_is_refused_with_the_reason(image: Image, tmp_path: Path) -> None:
    keys = SshKeys(tmp_path)
    keys.sign("alice", image.folder / "manifest.json")
    old = put(tmp_path / "bin/ssh-keygen", b"#!/bin/sh\necho 'unknown option -- Y' >&2; exit 1\n", 0o755)
    image.environment["PATH"] = f"{old.parent}:/usr/bin:/bin"
    assert_refused(image, keys, "unknown option -- Y")


def test_a_signature_for_another_purpose_is_refused(image: Image, tmp_path: Path) -> None:
    keys = SshKeys(tmp_path)
    manifest = image.folder / "manifest.json"
    run("ssh-keygen", "-q", "-Y", "sign", "-f", tmp_path / "alice", "-n", "git", manifest)
    assert_refused(image, keys, "isn't one that --signers allows")
    assert json.loads(manifest.read_text())
