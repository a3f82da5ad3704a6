"""A difference as one page of HTML that needs nothing else: no network, no script that it couldn't do without.

Whatever is in it, nothing but its own style and script is obeyed: a policy in its head says so to the browser.

Source: https://www.w3.org/TR/CSP3/.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path

from kvmgen import __version__
from kvmgen.difference.model import Difference
from kvmgen.difference.summary import sentence
from kvmgen.graph import svg
from kvmgen.graph.picture import Graph
from kvmgen.page._html import NOTHING, Markup, code, folded, joined, prose, scrolling, section, tag, text
from kvmgen.page.changes import hosts, inventory, packets
from kvmgen.page.findings import findings
from kvmgen.page.grid import Grid, reachability
from kvmgen.report.difference_markdown import NOWHERE, Links
from kvmgen.report.located import Located
from kvmgen.value import value

_FILES = Path(__file__).parent / "files"


@value
class Report:
    """What stands in the page.

    ``pictures`` are of the hosts that change, with what is other than before marked, and ``whole`` of all of them;
    ``findings`` are the checks' of the newer revision, with files as seen from the repository's top; ``grid`` says who
    reaches whom in it.
    """

    site: str
    difference: Difference
    pictures: tuple[Graph, ...] = ()
    whole: tuple[Graph, ...] = ()
    findings: tuple[Located, ...] = ()
    grid: Grid | None = None
    links: Links = NOWHERE


def as_html(report: Report) -> str:
    """The page: the same bytes for the same report."""
    parts = [
        packets(report.difference, report.links),
        hosts(report.difference, report.links),
        _pictures(report.pictures, report.whole),
        reachability(report.grid) if report.grid else NOTHING,
        findings(report.findings, report.links),
        inventory(report.difference),
    ]
    body = tag("body", _skip(), _header(report, parts), Markup("\n"), tag("main", *parts, id="main"), _script())
    return f"<!DOCTYPE html>\n{tag('html', _head(report), Markup(chr(10)), body, lang='en')}\n"


def _head(report: Report) -> Markup:
    policy = (
        f"default-src 'none'; style-src {_hash(_style_text())}; script-src {_hash(_script_text())}; "
        "base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="generator", content=f"kvmgen {__version__}"),
        tag("title", text(f"{report.site}: {report.difference.before} to {report.difference.after}")),
        Markup(f"<style>{_style_text()}</style>"),
    )


def _hash(inside: str) -> str:
    return f"'sha256-{b64encode(sha256(inside.encode()).digest()).decode()}'"


@cache
def _style_text() -> str:
    """The page's style; the pictures' own holds inside of them alone."""
    return f"{(_FILES / 'page.css').read_text('utf-8')}.picture {{{svg.STYLE}}}\n"


@cache
def _script_text() -> str:
    return (_FILES / "page.js").read_text("utf-8")


def _script() -> Markup:
    return Markup(f"<script>{_script_text()}</script>")


def _skip() -> Markup:
    return tag("a", text("To the report"), href="#main", class_="skip")


_TITLES = {
    "packets": "Packets",
    "hosts": "Hosts",
    "pictures": "Pictures",
    "reachability": "Who reaches whom",
    "findings": "Findings",
    "inventory": "Inventory",
}


def _header(report: Report, parts: list[Markup]) -> Markup:
    difference = report.difference
    there = [name for name in _TITLES if any(part.startswith(f'<section id="{name}"') for part in parts)]
    ways = (tag("li", tag("a", text(_TITLES[name]), href=f"#{name}")) for name in there)
    return tag(
        "header",
        tag("h1", text("What a change does to "), code(report.site)),
        tag("p", text(sentence(difference)), class_="sentence"),
        tag(
            "p", text("From "), code(difference.before), text(" to "), code(difference.after), text("."), class_="note"
        ),
        *(tag("p", prose(note), class_="note") for note in difference.notes),
        tag("nav", tag("ul", *ways), aria_label="Parts of the report"),
    )


def _pictures(changed: tuple[Graph, ...], whole: tuple[Graph, ...]) -> Markup:
    told = [_picture(graph, f"changed{number}") for number, graph in enumerate(changed, 1)]
    if whole:
        all_of_it = (_picture(graph, f"whole{number}") for number, graph in enumerate(whole, 1))
        told.append(folded(text("All hosts"), *all_of_it))
    return section("pictures", "The site as a picture", *told) if told else NOTHING


def _picture(graph: Graph, name: str) -> Markup:
    drawn = Markup(svg.part(graph, f"{name}-"))
    return joined([tag("h3", text(graph.title)), scrolling(graph.title, drawn, class_="wide picture")])
