"""Change one word of an inventory at a time, and look whether the lines of the output that change name it.

``python -m tests.explained`` changes every address, number, amount, MAC, truth value and name of the example and the
goldens. Counted are the lines that differ: whether one of their places is the word's, a part of it or what it is in,
short of a file as a whole.
"""

from __future__ import annotations

import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from difflib import SequenceMatcher
from ipaddress import ip_address
from pathlib import Path

import yaml

from kvmgen import pipeline
from kvmgen.artifact import Artifact
from kvmgen.diagnostics import Origin, Pointer
from kvmgen.model.site import views
from kvmgen.render import render
from kvmgen.value import value
from tests.sites import EXAMPLE, ROOT

GOLDEN = ROOT / "tests" / "cases" / "golden"
SITES = {"example": EXAMPLE, **{case.name: case / "inventory" for case in sorted(GOLDEN.iterdir())}}

Artifacts = Mapping[tuple[str, str], Artifact]


@value
class Word:
    """A word of an inventory's file, where it stands in its text, and what it is changed to."""

    file: str
    pointer: Pointer
    start: int
    end: int
    text: str
    other: str


def words(inventory: Path) -> Iterator[Word]:
    """All words that have another value of their kind."""
    for path in sorted(inventory.rglob("*.yaml")):
        root = yaml.compose(path.read_text(), Loader=yaml.CBaseLoader)
        for pointer, node in _scalars(root, ()) if root is not None else ():
            other = next(filter(None, (change(node.value) for change in _CHANGES)), "")
            file = str(path.relative_to(inventory))
            if other and (file, pointer) != _NAME:
                yield Word(
                    file=file,
                    pointer=pointer,
                    start=_index(node.start_mark),
                    end=_index(node.end_mark),
                    text=node.value,
                    other=other,
                )


_NAME = ("site.yaml", ("name",))
"""Every UUID and every MAC is made of it."""


def _index(mark: yaml.Mark | None) -> int:
    assert mark is not None
    return mark.index


def _scalars(node: yaml.Node, pointer: Pointer) -> Iterator[tuple[Pointer, yaml.ScalarNode]]:
    if isinstance(node, yaml.MappingNode):
        for key, inner in node.value:
            yield from _scalars(inner, (*pointer, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, inner in enumerate(node.value):
            yield from _scalars(inner, (*pointer, index))
    elif isinstance(node, yaml.ScalarNode):
        yield pointer, node


def _other_number(text: str) -> str:
    found = re.fullmatch(r"([0-9]+)( [KMG]iB)?", text)
    return f"{int(found[1]) + 1}{found[2] or ''}" if found else ""


def _other_truth(text: str) -> str:
    return {"true": "false", "false": "true"}.get(text, "")


def _other_mac(text: str) -> str:
    found = re.fullmatch(r"((?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F])([0-9a-fA-F])", text)
    return f"{found[1]}{'0' if found[2] != '0' else '1'}" if found else ""


def _other_address(text: str) -> str:
    start, dash, end = text.rpartition("-")
    address, slash, length = end.partition("/")
    try:
        return f"{start}{dash}{ip_address(address) + (-1 if dash else 1)}{slash}{length}"
    except ValueError:
        return ""


def _other_name(text: str) -> str:
    return f"{text}x" if re.fullmatch(r"[a-z][\w. -]*", text) else ""


_CHANGES: tuple[Callable[[str], str], ...] = (_other_number, _other_truth, _other_mac, _other_address, _other_name)


def changed_lines(name: str, most: int | None = None, seed: int = 1) -> Iterator[tuple[bool, str]]:
    """Of a site, whether each changed line names the word that was changed, and all of that as text."""
    before = _artifacts(SITES[name])
    chosen = list(words(SITES[name]))
    random.Random(seed).shuffle(chosen)
    with tempfile.TemporaryDirectory() as folder:
        inventory = Path(folder, "inventory")
        shutil.copytree(SITES[name], inventory)
        for word in chosen[:most]:
            yield from _after(word, inventory, before or {})


def _after(word: Word, inventory: Path, before: Artifacts) -> Iterator[tuple[bool, str]]:
    path = inventory / word.file
    text = path.read_text()
    path.write_text(text[: word.start] + text[word.start : word.end].replace(word.text, word.other) + text[word.end :])
    after = _artifacts(inventory)
    path.write_text(text)
    for place, made in (after or {}).items():
        if place not in before:  # a file under a new name
            continue
        for artifact, number, line in _differing(before[place], made):
            origins = artifact.origins_at(number)
            told = ", ".join(f"{origin.file}:{'.'.join(map(str, origin.pointer))}" for origin in origins)
            way = ".".join(map(str, word.pointer))
            yield (
                any(_is_near(origin, word, artifact) for origin in origins),
                (f"{word.file}:{way} {word.text} -> {word.other}: {'/'.join(place)}:{number}: {line.strip()}: {told}"),
            )


def _artifacts(inventory: Path) -> Artifacts | None:
    """The texts of a site; nothing where it is refused."""
    result = pipeline.load(inventory)
    if result.site is None or not result.is_good:
        return None
    made = ((view.host.name, artifact) for view in views(result.site) for artifact in render(view))
    return {(host, artifact.path): artifact for host, artifact in made if artifact.binary is None}


def _differing(old: Artifact, new: Artifact) -> Iterator[tuple[Artifact, int, str]]:
    """The lines that came or changed, and those that went."""
    olds, news = old.text.splitlines(), new.text.splitlines()
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, olds, news, autojunk=False).get_opcodes():
        if tag in ("replace", "insert"):
            yield from ((new, number + 1, news[number]) for number in range(j1, j2))
        elif tag == "delete":
            yield from ((old, number + 1, olds[number]) for number in range(i1, i2))


def _is_near(origin: Origin, word: Word, artifact: Artifact) -> bool:
    shared = min(len(origin.pointer), len(word.pointer))
    if origin.file != word.file or origin.pointer[:shared] != word.pointer[:shared]:
        return False
    return bool(origin.pointer) or artifact.sources[0].file != word.file


def main() -> None:
    """Change every word of the sites that are named, or of all."""
    for name in sys.argv[1:] or SITES:
        found = list(changed_lines(name))
        counted = Counter(near for near, _ in found)
        print(f"{name}: {counted[True]} of {counted.total()} changed lines name the word that was changed")
        print("".join(f"  {told}\n" for near, told in found if not near), end="")


if __name__ == "__main__":
    main()
