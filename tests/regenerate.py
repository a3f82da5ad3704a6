"""Make anew what is made: ``python -m tests.regenerate [NAME...]``.

These are the golden outputs and pictures, the page about the rules, and what the README shows.
Nothing here judges them: read the diff as that host's administrator before it is committed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from kvmgen import pipeline
from kvmgen.report import for_people
from kvmgen.rules import as_markdown, rules
from tests import readme
from tests.expectations import TOLD, copy

GOLDEN = Path(__file__).parent / "cases" / "golden"
DOCUMENTS = Path(__file__).parent / "cases" / "documents"
PICTURES = Path(__file__).parent / "cases" / "pictures"
RULES_PAGE = Path(__file__).parents[1] / "generator" / "RULES.md"


def told_of(inventory: Path) -> str:
    """What is told of an inventory, with the files' names as they are below it."""
    result = pipeline.validate(inventory)
    return for_people(result.diagnostics, result.sources).replace(f"{inventory}/", "") + "\n"


def main(names: list[str]) -> int:
    """Build each case's output; 1 where an inventory is wrong."""
    RULES_PAGE.write_text(as_markdown(rules().values()))
    readme.README.write_text(readme.brought_up_to_date())
    for picture in PICTURES.iterdir():
        picture.write_text(readme.drawn(picture.stem, picture.suffix[1:]))
    for case in DOCUMENTS.iterdir():
        with tempfile.TemporaryDirectory() as folder:
            copy(case, Path(folder))
            (case / TOLD).write_text(told_of(Path(folder)))
    failed = 0
    for case in [GOLDEN / name for name in names] or sorted(GOLDEN.iterdir()):
        result = pipeline.build(case / "inventory", case / "output")
        print(for_people(result.diagnostics, result.sources), end="", file=sys.stderr)
        failed |= not result.is_good
        for path in sorted(result.plan.write + result.plan.remove):
            print(case.name, path)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
