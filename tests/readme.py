"""The documents, and the README's examples: which inventory it shows, and what it says that kvmgen tells of it."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from kvmgen import graph, pipeline
from kvmgen.report import for_people
from tests.sites import EXAMPLE, ROOT, write

README = ROOT / "README.md"
PLATFORMS = ROOT / "generator/docs/platforms.md"
APPLIER = ROOT / "generator/applier/README.md"
JUDGED = ROOT / "tests/README.md"
DOCUMENTS = (README, *sorted((ROOT / "generator/docs").iterdir()), APPLIER, JUDGED)
"""What a person reads; the page about the rules is made, and a new site's README speaks of that site."""

_WRONG_SITE = "What it tells"


def blocks(heading: str) -> list[str]:
    """The indented blocks of a section of the README, without their indentation."""
    (section,) = re.findall(rf"^###? {heading}\n(.*?)(?=^##|\Z)", README.read_text(), re.MULTILINE | re.DOTALL)
    found: list[str] = re.findall(r"(?:^(?: {4}.*)?\n)+", section, re.MULTILINE)
    return [re.sub(r"^ {4}", "", block, flags=re.MULTILINE).strip("\n") for block in found if block.strip()]


def files(block: str) -> dict[str, str]:
    """The files of a block, each behind a comment that is its path."""
    parts = re.split(r"^# (\S+\.yaml)\n", block, flags=re.MULTILINE)
    return {path: f"{text.strip()}\n" for path, text in zip(parts[1::2], parts[2::2], strict=True)}


def shown() -> str:
    """What the README says that is told of its wrong site."""
    return blocks(_WRONG_SITE)[1]


def told() -> str:
    """What is told of it."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), files(blocks(_WRONG_SITE)[0]))
        result = pipeline.validate(Path(folder, "inventory"))
        return for_people(result.diagnostics, result.sources).replace(f"{folder}/", "")


def brought_up_to_date() -> str:
    """The README with what is told now."""
    before, after = ("\n".join(f"    {line}" for line in text.splitlines()) for text in (shown(), told()))
    text = README.read_text().replace(before, after)
    views = iter(graph.VIEWS)
    return _PICTURE.sub(lambda _: f"```mermaid\n{drawn(next(views))}```\n", text)


_PICTURE = re.compile(r"^```mermaid\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def pictures() -> list[str]:
    """The pictures that the README shows of the example's system 6, in the order of the views."""
    return _PICTURE.findall(README.read_text())


def drawn(view: str, format_: str = "mermaid") -> str:
    """What is drawn of it."""
    site = pipeline.load(EXAMPLE).site
    assert site is not None
    return graph.FORMATS[format_](graph.picture(site, view, ("kvm-el8",)))
