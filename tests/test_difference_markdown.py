"""A difference as a comment: what it says, that its texts stay texts, and that it is never longer than forges take."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import pytest
from lxml import etree

from kvmgen.difference.model import Difference, Place
from kvmgen.report._folding import Block, folded
from kvmgen.report.difference_markdown import MOST, Links, as_markdown, marker_of
from tests.differences import SAMPLE, filled, large
from tests.hostile import STRINGS

pytestmark = pytest.mark.real

CMARK = "{http://commonmark.org/xml/1.0}"
LINKS = Links(before="https://forge.example/site/blob/aaa", after="https://forge.example/site/blob/bbb")

MARKDOWN = {
    "mention": "@team",
    "issue": "#1 GH-1 o/r#1",
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "link": "[x](https://evil.example)",
    "reference": "[x]: https://evil.example",
    "picture": "![x](https://evil.example/x.png)",
    "address": "https://evil.example www.evil.example a@evil.example",
    "emphasis": "**x** _x_ ~~x~~",
    "code": "`x` `` x ``` x",
    "ends in code": "x`",
    "fence": "```\n</details>\n# x",
    "tildes": "~~~\n# x",
    "long fence": "`" * 40,
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "details": "</summary></details><h1>x</h1>",
    "code element": "</code><h1>x</h1>",
    "comment": "--><h1>x</h1><!--",
    "table": "| a | b |\n|---|---|",
    "pipe": "x\\|y|z",
    "heading": "# x",
    "list": "- x\n\n\n* y",
    "quick action": "/close\n/merge",
    "emoji": ":tada:",
    "mathematics": "$x$ $$y$$",
}
HOSTILE = {**STRINGS, **MARKDOWN}


def parsed(text: str) -> etree._Element:
    """What GitHub's own parser makes of it."""
    extensions = [word for name in ("table", "autolink", "strikethrough", "tasklist") for word in ("-e", name)]
    done = subprocess.run(
        ["cmark-gfm", *extensions, "--to", "xml"], input=text.encode(), capture_output=True, timeout=60, check=True
    )
    return etree.fromstring(done.stdout, etree.XMLParser(load_dtd=False))


def outline(root: etree._Element) -> list[tuple[str, str]]:
    """The document without what stands in code: what parts it has, and where its links lead."""
    code = {f"{CMARK}code", f"{CMARK}code_block"}
    plain = {f"{CMARK}text", f"{CMARK}html_block", f"{CMARK}html_inline"}
    told = []
    for element in root.iter():
        said = "" if element.tag in code or element.tag not in plain else element.text or ""
        told.append((str(element.tag), re.sub(r"<code>.*?</code>", "<code/>", said, flags=re.DOTALL)))
    return told


def test_what_a_reviewer_reads_first() -> None:
    lines = as_markdown(SAMPLE, "founding", LINKS).splitlines()
    assert lines[0] == "<!-- kvmgen diff: founding -->"
    assert lines[1].startswith("**Changes 2 objects on `kvm-es` and adds `kvm-new`, opens 1 way for packets and closes")
    titles = [line for line in lines if line.startswith("###")]
    assert titles == ["### What it opens", "### What it closes", "### Hosts"]
    assert (
        "- `web01` \u2192 `outside`: `tcp/25`, delivered before, blocked now by "
        "[`inventory/policies/web.yaml:3`](https://forge.example/site/blob/bbb/inventory/policies/web.yaml#L3) "
        "(`drop out all`)"
    ) in lines
    (network,) = (line for line in lines if line.startswith("- changed network"))
    assert "web01" in network
    assert "https://forge.example/site/blob/aaa/inventory/networks/default.yaml#L4" in network
    assert "  - `domain`: added `lab.example.org`" in lines


def test_the_structure_is_a_documents() -> None:
    root = parsed(as_markdown(SAMPLE, "founding", LINKS))
    assert [element.text for element in root.iter(f"{CMARK}code_block")] == [
        "-<a/>\n+<b/>\n",
        "@@ -1 +1 @@\n-name: a\n+name: b\n",
    ]
    blocks = "".join(element.text or "" for element in root.iter(f"{CMARK}html_block"))
    assert blocks.count("<details") == blocks.count("</details>") == 4


def test_a_refactoring_says_exactly_that() -> None:
    refactored = replace(SAMPLE, hosts=(), opens=(), closes=())
    text = as_markdown(refactored, "founding")
    assert "**A refactoring: 1 file of the inventory changed, and every host gets the same files as before.**" in text
    assert "###" not in text
    assert "**Nothing changes.**" in as_markdown(Difference(before="a", after="b"), "founding")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_texts_stay_texts(text: str) -> None:
    """Whatever a name is, the document has the parts that it has with a harmless one, and leads to the forge alone."""
    made = as_markdown(filled(text), "founding", LINKS, limit=1_000_000, pictures=[(text, text)])
    root = parsed(made)
    assert outline(root) == outline(parsed(as_markdown(filled("x1"), "founding", LINKS, pictures=[("x", "x")])))
    for found in root.iter(f"{CMARK}link"):
        assert str(found.get("destination")).startswith("https://forge.example/site/blob/")
    assert not list(root.iter(f"{CMARK}image"))
    assert made.replace("\n", "").isprintable()
    assert "##[" not in made


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_marker_is_one_comment(text: str) -> None:
    marker = marker_of(text)
    assert re.fullmatch(r"<!-- (?!-)(?:(?!--)[\w.: -])* -->", marker, re.ASCII)


@pytest.mark.parametrize(("hosts", "objects"), [(1, 1), (3, 100), (40, 5), (400, 20)])
@pytest.mark.parametrize("limit", [2_000, MOST, 1_000_000])
def test_it_is_never_longer_than_a_forge_takes(hosts: int, objects: int, limit: int) -> None:
    difference = replace(large(hosts, objects), opens=SAMPLE.opens, closes=SAMPLE.closes)
    text = as_markdown(difference, "founding", limit=limit)
    assert len(text.encode()) <= limit
    assert "### What it opens" in text
    blocks = "".join(element.text or "" for element in parsed(text).iter(f"{CMARK}html_block"))
    assert blocks.count("<details") == blocks.count("</details>")
    lost = hosts * objects - text.count("- changed guest")
    shown = f"{lost:,} object{'' if lost == 1 else 's'}"
    assert (shown in text.splitlines()[-1]) == (lost > 0)


def test_what_matters_less_goes_first() -> None:
    text = as_markdown(large(3, 100), "founding")
    assert text.count("- changed guest") == 300
    assert text.count("  - `memory`") == 900
    assert 0 < text.count("```diff") < 300
    assert text.splitlines()[-1].startswith(
        f"Left out, because a comment takes no more: {300 - text.count('```diff')} raw"
    )


def test_what_is_left_out_leaves_no_gap_for_what_matters_less() -> None:
    blocks = [
        Block(head="a" * 10, rank=1, what="one"),
        Block(head="b" * 50, rank=1, what="one"),
        Block(head="c", rank=2, what="two"),
    ]
    assert folded(blocks, 20) == ("a" * 10, {"one": 1, "two": 1})


def test_the_same_bytes() -> None:
    assert as_markdown(SAMPLE, "founding", LINKS) == as_markdown(SAMPLE, "founding", LINKS)
    assert str(Place(file="a", line=3)) == "a:3"
