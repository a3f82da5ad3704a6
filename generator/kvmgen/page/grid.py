"""Who reaches whom, as a table: rows send, columns are asked, and a cell names the services that get an answer."""

from __future__ import annotations

from kvmgen.page._html import NOTHING, Markup, code, folded, joined, prose, scrolling, section, tag, text
from kvmgen.value import value

_MOST_NAMED = 3


@value
class End:
    """Who is alike to all others: the names of all, and what is to be known of them."""

    names: tuple[str, ...]
    note: str = ""


@value
class Grid:
    """``cells`` by row and column; a cell is what gets through, text by text, or ``None`` where nobody asks."""

    rows: tuple[End, ...]
    columns: tuple[End, ...]
    cells: tuple[tuple[tuple[str, ...] | None, ...], ...]
    notes: tuple[str, ...] = ()


def reachability(grid: Grid) -> Markup:
    """The table with its caption, and a field that chooses rows where there are scripts."""
    head = tag("tr", tag("td", text("from \u2193 to \u2192")), *(_end(end, "col") for end in grid.columns))
    rows = [
        tag("tr", _end(end, "row"), *map(_cell, cells), data_item="")
        for end, cells in zip(grid.rows, grid.cells, strict=True)
    ]
    caption = tag(
        "caption",
        text("What gets there, with its answer; \u2013 is nothing. What isn't named is blocked or has no answer."),
    )
    table = tag("table", caption, tag("thead", head), tag("tbody", *rows, id="grid-rows"))
    notes = [tag("p", prose(note)) for note in grid.notes]
    if not grid.rows:
        return section("reachability", "Who reaches whom", *notes)
    return section(
        "reachability",
        "Who reaches whom",
        *notes,
        chooser("grid-rows", "Show rows with"),
        scrolling("Who reaches whom", table, class_="wide grid"),
    )


def chooser(what: str, label: str) -> Markup:
    """A field that hides what doesn't have all of its words; without scripts there is none."""
    field = tag("input", type="search", id=f"{what}-words", autocomplete="off", spellcheck="false")
    named = tag("label", text(label), for_=f"{what}-words")
    told = tag("output", for_=f"{what}-words")
    return tag("p", named, Markup(" "), field, Markup(" "), told, class_="chooser", data_filters=what, hidden=True)


def _end(end: End, scope: str) -> Markup:
    note = tag("span", text(end.note), class_="note") if end.note else NOTHING
    if len(end.names) <= _MOST_NAMED:
        return tag("th", joined(map(code, end.names), ", "), note, scope=scope)
    told = joined(
        [*map(code, end.names[: _MOST_NAMED - 1]), text(f"and {len(end.names) - _MOST_NAMED + 1:,} more")], ", "
    )
    return tag("th", folded(told, tag("p", joined(map(code, end.names), ", "))), note, scope=scope)


def _cell(services: tuple[str, ...] | None) -> Markup:
    if services is None:
        return tag("td")
    if not services:
        return tag("td", text("\u2013"), class_="none")
    return tag("td", joined((tag("span", text(service), class_="service") for service in services), " "))
