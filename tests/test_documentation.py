"""What the documents name is there: links and their anchors, commands and options, modules, files, rules."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import cast

import pytest
import yaml
from lxml import etree, html

from kvmgen.inventory import schema
from kvmgen.rules import rules
from tests.readme import APPLIER, DOCUMENTS, JUDGED, README, files
from tests.sites import EXAMPLE, ROOT
from tests.test_cli import run

pytestmark = pytest.mark.real

RULES_PAGE = ROOT / "generator/RULES.md"
SYSTEMS = ROOT / "generator/docs/example.md"

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@cache
def shown(document: Path) -> etree._Element:
    """A document as a forge shows it."""
    command = ["cmark-gfm", "--extension", "table", str(document)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return html.fromstring(f"<main>{text}</main>")


def texts(document: Path, path: str) -> list[str]:
    """The texts of what an XPath names in it."""
    found = cast("list[etree._Element]", shown(document).xpath(path))
    return ["".join(str(text) for text in element.itertext()) for element in found]


@cache
def anchors(document: Path) -> set[str]:
    """What a forge calls the headings of a document."""
    headings = texts(document, "//h1 | //h2 | //h3")
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(document: Path) -> list[str]:
    return [str(link) for link in cast("list[str]", shown(document).xpath("//a/@href"))]


def code(document: Path) -> list[str]:
    """What stands between backticks, and the lines of blocks."""
    spans = [" ".join(span.split()) for span in texts(document, "//code[not(parent::pre)]")]
    return spans + [line for block in texts(document, "//pre/code") for line in block.splitlines()]


def target(document: Path, link: str) -> Path:
    path = link.partition("#")[0]
    return (document.parent / path).resolve() if path else document


@pytest.mark.parametrize("document", [*DOCUMENTS, RULES_PAGE], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    near = [link for link in links(document) if not link.startswith("https://")]
    assert [link for link in near if not target(document, link).is_file()] == []
    named = [(link, link.partition("#")[2]) for link in near if "#" in link]
    assert [link for link, anchor in named if anchor not in anchors(target(document, link))] == []


def test_every_document_is_found_from_the_readme() -> None:
    found, new = set(), {README}
    while new:
        found |= new
        near = {target(document, link) for document in new for link in links(document) if "://" not in link}
        new = {path for path in near if path.suffix == ".md"} - found
    assert found == {*DOCUMENTS, RULES_PAGE}


@cache
def help_of(command: str) -> str:
    return run(command, "--help")[1]


@each_document
def test_every_command_and_option_is_there(document: Path) -> None:
    for text in code(document):
        for command, words in re.findall(r"(?<![\w/.-])kvmgen ([a-z][a-z-]+)\b([^#]*)", text):
            options = re.findall(r"(?<![\w-])--[a-z][a-z-]*", words)
            assert [option for option in options if option not in help_of(command)] == [], text


@each_document
def test_every_module_is_there_with_its_options(document: Path) -> None:
    for text in code(document):
        for module, words in re.findall(r"python3? -m (tests[\w.]*)(.*)", text):
            path = ROOT / module.replace(".", "/")
            sources = [path.with_suffix(".py")] if path.with_suffix(".py").exists() else sorted(path.glob("*.py"))
            source = "".join(file.read_text() for file in sources)
            assert source, text
            assert [option for option in re.findall(r"--[a-z][a-z-]*", words) if f'"{option}"' not in source] == [], (
                text
            )


def test_every_word_of_the_applier_is_there() -> None:
    source = (ROOT / "generator/applier/kvmgen_apply.py").read_text()
    words = re.findall(r"(?<![\w-])--[a-z][a-z-]*", "\n".join(text for text in code(APPLIER) if "-m " not in text))
    assert [word for word in words if f'"{word}"' not in source] == []
    commands = re.findall(r"kvmgen-apply ([a-z]+)", "\n".join(code(APPLIER)))
    assert [command for command in commands if f'"{command}"' not in source] == []


@each_document
def test_every_file_is_there(document: Path) -> None:
    """Modules, wherever the document stands, and what is named from the repository's top."""
    paths = [
        text for text in code(document) if re.fullmatch(r"[\w.*/-]+\.py|(tests|generator|schemas)/[\w.*/-]+", text)
    ]
    places = (ROOT, document.parent, ROOT / "generator/kvmgen", ROOT / "generator/applier")
    names = [path.replace("CODE", "KV203").strip("/") for path in paths]
    assert [name for name in names if not any(list(place.glob(name)) for place in places)] == []


@each_document
def test_every_word_of_a_shown_inventory_is_a_schemas(document: Path) -> None:
    """What is shown may be a part, in which a key is missing."""
    for block in texts(document, "//pre/code"):
        parts = files(f"# inventory/site.yaml\n{block}" if block.startswith("expect:") else block)
        for path, text in parts.items():
            kind = Path(path).parent.name.removesuffix("s").replace("policie", "policy").replace("inventory", "site")
            wrong = schema.validate(kind, yaml.safe_load(text), path)
            assert [found.message for found in wrong if found.rule.code != "KV012"] == [], path


@each_document
def test_every_rule_is_there(document: Path) -> None:
    assert set(re.findall(r"KV\d{3}", document.read_text())) <= set(rules())


def test_the_example_has_every_system_where_it_is_said_to_be() -> None:
    places = re.findall(r"\b(?:hosts|networks|guests|filters|policies)/[\w*-]+", SYSTEMS.read_text())
    assert len(places) > 20
    assert [place for place in places if not list(EXAMPLE.glob(f"{place}.yaml"))] == []


def test_the_figures_of_the_readme_are_those_of_the_last_runs() -> None:
    cells = texts(README, "//h2[.='How it is judged']/following-sibling::table[1]//td[2]")
    figures = re.findall(r"\d[\d,.]*\d", " ".join(cells))
    assert len(figures) > 5
    assert [figure for figure in figures if figure not in JUDGED.read_text()] == []
