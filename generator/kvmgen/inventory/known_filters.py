"""kvmgen's own filters, which nobody has to write."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from kvmgen.diagnostics import OWN, Origin
from kvmgen.inventory.context import Document
from kvmgen.inventory.source import Source, decode, parse

_OWN_FOLDER = "own_filters"


@cache
def own_filter_documents() -> Mapping[str, Document]:
    """kvmgen's own filters, written in the inventory's language and shipped with the package."""
    folder = Path(__file__).parent / _OWN_FOLDER
    return {path.stem: _own_document(path) for path in sorted(folder.glob("*.yaml"))}


def own_filter_source(origin: Origin) -> Source | None:
    """The text of one of kvmgen's own filters, for whoever wants to show it; nothing for anything else."""
    path = Path(__file__).parent / _OWN_FOLDER / origin.file.removeprefix(OWN)
    if not path.is_file():
        return None
    source = decode(origin.file, path.read_bytes())
    return source if isinstance(source, Source) else None


def _own_document(path: Path) -> Document:
    file = f"{OWN}{path.name}"
    source = decode(file, path.read_bytes())
    assert isinstance(source, Source), f"{path} is part of kvmgen and must be readable"
    data, problems = parse(source)
    assert not problems, f"{path} is part of kvmgen and must be valid"
    return Document(Origin(file), data)
