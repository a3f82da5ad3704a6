"""Correcting inventory files where there is one right answer, with their comments and layout kept.

ruamel.yaml writes back what it read, but for rare layouts; of its text, only the lines that a correction changes are
taken. A corrected file is read once more, and written only where it says exactly what was meant.
"""

from __future__ import annotations

import difflib
import io
import os
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvmgen.diagnostics import Position
from kvmgen.inventory.corrections import Change, correct
from kvmgen.inventory.read import inventory_files
from kvmgen.inventory.source import Source, decode, parse
from kvmgen.value import record

if TYPE_CHECKING:
    from ruamel.yaml import YAML


@record
class Fixed:
    """One correction in a file; ``position`` is where it was needed."""

    file: str
    position: Position
    what: str


def fix(root: Path) -> list[Fixed]:
    """Correct every file of the inventory below ``root``; what can't be read as an inventory is left to validation.

    Raises:
        OSError: a file can't be written.
    """
    done: list[Fixed] = []
    for kind, file in inventory_files(root):
        source = _read(root, file)
        if source is None:
            continue
        text, changes = fixed_text(kind, source)
        if text != source.text:
            _replace(root / file, text)
            found = (Fixed(file, source.position(where) or Position(1, 1), what) for where, what in changes)
            done += sorted(found, key=lambda one: (one.position.line, one.position.column))
    return done


def _read(root: Path, file: str) -> Source | None:
    try:
        source = decode(file, (root / file).read_bytes())
    except OSError:
        return None
    return source if isinstance(source, Source) else None


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, with the permissions it had."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        os.chmod(temporary, path.stat().st_mode & 0o7777)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def fixed_text(kind: str, source: Source) -> tuple[str, list[Change]]:
    """A file's text after all corrections, and what they are; the text as it was where nothing can be corrected."""
    data, problems = parse(source)
    if problems or not isinstance(data, dict):
        return source.text, []
    meant = deepcopy(data)
    changes = list(correct(kind, meant))
    text = _written(kind, source.text.replace("\r\n", "\n"))
    if text is not None and "\r\n" in source.text:
        text = text.replace("\n", "\r\n")
    if text is None or parse(Source(source.file, text)) != (meant, []):
        return source.text, []
    return text, changes or [((), "MACs are quoted")]


def _written(kind: str, text: str) -> str | None:
    """The text with the corrections made in it; ``None`` where they can't be without touching the layout."""
    yaml, plain = _like(text)
    document = yaml.load(text)
    list(correct(kind, document))
    corrected = _dumped(yaml, document)
    return corrected if plain == text else _merged(text, plain, corrected)


def _like(text: str) -> tuple[YAML, str]:
    """ruamel with the indentation of lists that the text has, and what it makes of the text by itself."""
    from ruamel.yaml import YAML

    for offset in (2, 0):
        yaml = YAML()
        yaml.preserve_quotes = True
        yaml.width = 10**6
        yaml.indent(mapping=2, sequence=2 + offset, offset=offset)
        plain = _dumped(yaml, yaml.load(text))
        if plain == text:
            break
    return yaml, plain


def _dumped(yaml: YAML, document: Any) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _merged(text: str, plain: str, corrected: str) -> str | None:
    """What leads from ``plain`` to ``corrected``, done to the same lines of ``text``, which has another layout."""
    ours, before, after = (whole.splitlines(keepends=True) for whole in (text, plain, corrected))
    place = _same_lines(before, ours)
    merged = list(ours)
    for _, start, end, new_start, new_end in reversed(_differences(before, after)):
        lines = [place.get(line) for line in range(start, end)] or [place.get(start)]
        first = lines[0]
        if first is None or lines != list(range(first, first + len(lines))):
            return None
        merged[first : first + end - start] = after[new_start:new_end]
    return "".join(merged)


def _same_lines(before: list[str], ours: list[str]) -> dict[int, int]:
    """Which line of ours is which line of before, by number: those that are equal, and those written differently."""
    matcher = difflib.SequenceMatcher(None, before, ours, autojunk=False)
    return {
        start + line: our_start + line
        for _, start, end, our_start, our_end in matcher.get_opcodes()
        if end - start == our_end - our_start
        for line in range(end - start)
    }


def _differences(before: list[str], after: list[str]) -> list[tuple[str, int, int, int, int]]:
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    return [block for block in matcher.get_opcodes() if block[0] != "equal"]
