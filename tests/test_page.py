"""A difference as a page: valid, whole in itself, and nothing of an inventory becomes anything but text."""

from __future__ import annotations

import re
import subprocess
from base64 import b64encode
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from lxml import etree, html

from kvmgen import pipeline
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.inventory.sources import Sources
from kvmgen.model.site import Site
from kvmgen.page import Report, as_html
from kvmgen.page.drawn import pictures
from kvmgen.page.grid import End, Grid
from kvmgen.report.difference_markdown import Links
from kvmgen.report.located import Located, Place, located
from kvmgen.rules import rules
from tests.differences import SAMPLE, filled
from tests.hostile import STRINGS
from tests.sites import write
from tests.test_difference_markdown import MARKDOWN
from tests.test_graph import HOST, hostile

pytestmark = pytest.mark.real

LINKS = Links(before="https://forge.example/site/blob/aaa", after="https://forge.example/site/blob/bbb")
HTML = {
    "script": "<script>alert(1)</script>",
    "end of script": "</script><script>alert(1)</script>",
    "end of style": "</style><style>*{display:none}</style>",
    "attribute": '" onmouseover="alert(1)',
    "unquoted": "x onmouseover=alert(1)",
    "address": "javascript:alert(1)",
    "entity": "&lt;script&gt; &#60;script&#62;",
    "end of svg": "</svg><img src=x onerror=alert(1)>",
    "end of title": "</title><h1>x</h1>",
    "comment": "<!-- x",
    "CDATA": "<![CDATA[x]]>",
}


def grid(*names: str) -> Grid:
    """A table of services between a few, one of whom stands for many."""
    many = End(names=tuple(f"{name}{number}" for name in names for number in range(40)))
    ends = (*(End(names=(name,), note=name) for name in names), many)
    return Grid(rows=ends, columns=ends, cells=(((*names, "tcp/80"),) * len(ends),) * len(ends), notes=names)


def finding(text: str) -> Located:
    """A finding in which everything is a text of the inventory's."""
    place = Place(text.replace("\0", ""), 3, 1)  # no file is called so
    return Located(
        rule=rules()["KV203"].rule,
        message=text,
        hint=text,
        place=place,
        pointer=text,
        related=((place, text),),
        trace=(text, text),
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Site]:
    """A site before and after a change."""
    files = {"site.yaml": "name: test\n", "hosts/kvm1.yaml": HOST, "hosts/kvm2.yaml": HOST}
    files |= {f"guests/web{n}.yaml": f"hosts: [kvm{n}]\ninterfaces: {{eth0: {{bridge: br0}}}}\n" for n in (1, 2)}
    before = pipeline.load(write(tmp_path_factory.mktemp("before"), files)).site
    files["guests/db1.yaml"] = "hosts: [kvm1]\ninterfaces: {eth0: {bridge: br0}}\n"
    del files["guests/web1.yaml"]
    after = pipeline.load(write(tmp_path_factory.mktemp("after"), files)).site
    assert before is not None
    assert after is not None
    return before, after


def report(site: tuple[Site, Site]) -> Report:
    """A page with something of everything."""
    first, whole = pictures(*site, {"kvm1"})
    told = (finding("inventory/hosts/kvm1.yaml"),)
    return Report(
        site="test",
        difference=SAMPLE,
        pictures=first,
        whole=whole,
        findings=told,
        grid=grid("web1", "outside"),
        links=LINKS,
    )


KNOWN = ('<title> proprietary attribute "id"', "trimming empty <output>")
"""What this tidy doesn't know: titles inside of SVG have ids, and a field's answer is empty at first."""


def judged(page: str) -> html.HtmlElement:
    """The page as a parser sees it, once a validator has nothing to say of it."""
    done = subprocess.run(
        ["tidy", "-quiet", "-errors", "-utf8"], input=page.encode(), capture_output=True, timeout=60, check=False
    )
    told = [line for line in done.stderr.decode().splitlines() if not any(known in line for known in KNOWN)]
    assert told == []
    return html.document_fromstring(page, parser=html.HTMLParser(encoding="utf-8", recover=True, huge_tree=True))


def found(root: html.HtmlElement, way: str) -> list[Any]:
    """What an XPath leads to."""
    there = root.xpath(way)
    assert isinstance(there, list)
    return there


def outline(root: html.HtmlElement) -> list[tuple[str, tuple[str, ...]]]:
    """The page without its texts: which elements there are, with which attributes."""
    every = root.iter(etree.Element)
    return [
        (str(element.tag), tuple(sorted(map(str, element.keys()))))
        for element in every
        if not (element.tag == "span" and element.getparent().tag == "pre")  # a line of a diff
    ]


def test_it_is_valid_and_whole(site: tuple[Site, Site]) -> None:
    root = judged(as_html(report(site)))
    ids = found(root, "//@id")
    assert len(ids) == len(set(ids))
    for refers in found(root, "//@aria-labelledby | //@for | //@data-filters | //a[starts-with(@href, '#')]/@href"):
        assert set(str(refers).removeprefix("#").split()) <= set(ids)
    assert not found(root, "//@src | //link | //iframe | //object | //@style | //img | //form")
    assert [element.tag for element in found(root, "//h1 | //h2")] == ["h1", *["h2"] * 6]
    assert found(root, "//nav//a/@href") == [f"#{name}" for name in found(root, "//main/section/@id")]


def test_nothing_but_its_own_style_and_script_is_obeyed(site: tuple[Site, Site]) -> None:
    page = as_html(report(site))
    (policy,) = found(judged(page), "//meta[@http-equiv='Content-Security-Policy']/@content")
    said = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert said.pop("default-src") == said.pop("base-uri") == said.pop("form-action") == "'none'"
    for kind in ("style", "script"):
        (inside,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert said.pop(f"{kind}-src") == f"'sha256-{b64encode(sha256(inside.encode()).digest()).decode()}'"
    assert said == {}


def filled_page(text: str) -> str:
    """A page whose every text is this one."""
    picture = hostile(text)
    prose = text.replace("`", "'")  # where backticks mean code
    return as_html(
        Report(
            site=text,
            difference=replace(filled(text), notes=(prose,)),
            pictures=(picture,),
            whole=(picture,),
            findings=(finding(prose),),
            grid=replace(grid(text), notes=(prose,)),
            links=LINKS,
        )
    )


@cache
def harmless() -> list[tuple[str, tuple[str, ...]]]:
    """The elements of such a page."""
    return outline(judged(filled_page("x")))


@pytest.mark.parametrize("text", [*STRINGS.values(), *MARKDOWN.values(), *HTML.values()])
def test_texts_stay_texts(text: str) -> None:
    """Whatever a name is, the page has the elements that it has with a harmless one."""
    page = filled_page(text)
    root = judged(page)
    assert outline(root) == harmless()
    assert page.replace("\n", "").isprintable()
    for address in found(root, "//a/@href"):
        assert re.match(r"https://|#", address)


def test_a_refactoring_has_no_hosts(site: tuple[Site, Site]) -> None:
    difference = replace(SAMPLE, hosts=(), opens=(), closes=())
    first, whole = pictures(*site, ())
    assert (len(first), len(whole)) == (0, 2)
    root = judged(as_html(Report(site="test", difference=difference, whole=whole)))
    assert found(root, "//main/section/@id") == ["pictures", "findings", "inventory"]
    assert "every host gets the same files as before" in root.xpath("string(//header)")


def test_what_changed_is_marked(site: tuple[Site, Site]) -> None:
    first, whole = pictures(*site, {"kvm1"})
    assert [group.name for group in first[0].groups] == ["kvm1"]
    for picture in (*first, *whole):
        assert {node.name: str(node.state) for node in picture.nodes if node.state} == {
            "db1": "added",
            "web1": "removed",
        }
    assert pictures(*site, {"kvm1", "kvm2"})[1] == ()
    assert not any(picture.is_marked for picture in pictures(None, site[1], ())[1])


def test_every_rule_can_be_shown(site: tuple[Site, Site]) -> None:
    every = tuple(replace(finding("x"), rule=documented.rule) for documented in rules().values())
    root = judged(as_html(replace(report(site), findings=every)))
    assert found(root, "//div[@class='rule']/@id") == list(rules())
    assert all(address.startswith("https://") for address in found(root, "//div[@class='rule']//a/@href"))


def test_findings_of_a_run(tmp_path: Path) -> None:
    rule = Rule(code="KV999", title="No rule of ours", severity=Severity.WARNING)
    told = located([Diagnostic(rule=rule, message="a `word` is wrong", hint="Mend it.")], Sources(tmp_path))
    root = judged(as_html(Report(site="test", difference=SAMPLE, findings=tuple(told))))
    (first,) = found(root, "//*[@id='finding-list']/li")
    assert first.text_content() == "warning KV999 a word is wrongMend it."


def test_the_same_bytes(site: tuple[Site, Site]) -> None:
    assert as_html(report(site)) == as_html(report(site))
