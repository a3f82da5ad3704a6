"""The committed output and the build that the real consumers get are the same bytes."""

from __future__ import annotations

from pathlib import Path

from tests.real.site import COMMITTED, CompiledSite


def tree(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_the_committed_output_is_a_fresh_build(compiled_site: CompiledSite) -> None:
    fresh = {path: text for path, text in tree(compiled_site.folder).items() if not path.startswith(".")}
    committed = {path: text for path, text in tree(COMMITTED).items() if not path.startswith(".")}
    assert sorted(path for path in fresh | committed if fresh.get(path) != committed.get(path)) == []


def test_the_manifests_name_every_file(compiled_site: CompiledSite) -> None:
    for host in compiled_site.hosts.values():
        assert set(tree(host.folder)) == {"manifest.json", *(file.path for file in host.files)}
