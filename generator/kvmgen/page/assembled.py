"""A page's parts from the two sides of a difference."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from kvmgen.difference.model import Difference
from kvmgen.difference.reading import Compared, Read
from kvmgen.graph import mermaid
from kvmgen.page import Report
from kvmgen.page.drawn import pictures
from kvmgen.page.reached import grid_of
from kvmgen.report.difference_markdown import Links
from kvmgen.report.located import Located, Place, located


def links_of(compared: Compared, base: str) -> Links:
    """Where a forge shows both revisions, below an address such as ``https://github.com/owner/site/blob``."""
    before, after = (
        f"{base.rstrip('/')}/{side.commit}" if base and side.commit else ""
        for side in (compared.before, compared.after)
    )
    return Links(before=before, after=after)


def site_of(compared: Compared) -> str:
    """The site's name, which never changes."""
    sites = [side.result.site for side in (compared.after, compared.before) if side.result is not None]
    return next((site.name for site in sites if site is not None), "")


def in_mermaid(compared: Compared, difference: Difference) -> list[tuple[str, str]]:
    """Pictures of the hosts that change, for a forge to draw: those in which a change is seen, and that forges draw."""
    before, after = (side.result.site if side.result else None for side in (compared.before, compared.after))
    if before is None or after is None or difference.is_empty:
        return []
    first, _ = pictures(before, after, {host.host for host in difference.hosts})
    drawn = [(picture, mermaid.draw(picture)) for picture in first if picture.is_marked]
    return [(picture.title, text) for picture, text in drawn if not mermaid.is_too_large(text, picture)]


def assembled(compared: Compared, difference: Difference, links: Links) -> Report:
    """What a page shows of a difference."""
    before = compared.before.result.site if compared.before.result else None
    after = compared.after.result.site if compared.after.result else None
    changed = {host.host for host in difference.hosts}
    first, whole = pictures(before, after, changed) if after else ((), ())
    return Report(
        site=site_of(compared),
        difference=difference,
        pictures=first,
        whole=whole,
        findings=tuple(_findings(compared.after)),
        grid=grid_of(after, changed, compared.after.side.made() if compared.after.side else None) if after else None,
        links=links,
    )


def _findings(side: Read) -> Iterator[Located]:
    """What the checks found, with files as they are seen from the repository's top."""
    if side.result is None:
        return

    def seen(place: Place) -> Place:
        assert side.result is not None
        way = os.path.relpath(place.file, side.result.sources.root)
        return replace(place, file=f"{side.folder}/{way}" if side.folder else way)

    for one in located(side.result.diagnostics, side.result.sources):
        related = tuple((seen(place), what) for place, what in one.related)
        yield replace(one, place=seen(one.place) if one.place else None, related=related)
