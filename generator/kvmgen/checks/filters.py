"""Filters that refer to each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.filters import Filter, FilterInclude
from kvmgen.model.site import Site

FILTER_CYCLE = Rule(code="KV501", title="Filters that include each other")


def cycles(site: Site) -> Iterator[Diagnostic]:
    """libvirt refuses a filter that leads back to itself, and with it every filter of the ring.

    None of them is then there, and no guest that uses one starts.

    Bad::

        # filters/c.yaml
        rules:
          - filter: a

    Good::

        # filters/c.yaml
        rules:
          - filter: clean-traffic

    Source: https://libvirt.org/formatnwfilter.html.
    """
    done: set[str] = set()
    for name in site.filters:
        ring = _ring(site.filters, name, [], done)
        if ring:
            entry = _including(site.filters[ring[-2]], ring[-1])
            yield Diagnostic(
                rule=FILTER_CYCLE,
                message=f"the filters include each other: {' -> '.join(ring)}",
                hint="Remove one of these references.",
                origin=entry.origin.at("filter"),
            )


def _ring(filters: Mapping[str, Filter], name: str, way: list[str], done: set[str]) -> list[str] | None:
    if name in way:
        return [*way[way.index(name) :], name]
    if name in done or name not in filters:
        return None
    for included in filters[name].includes:
        ring = _ring(filters, included, [*way, name], done)
        if ring:
            done.update(ring)
            return ring
    done.add(name)
    return None


def _including(filter_: Filter, included: str) -> FilterInclude:
    return next(entry for entry in filter_.entries if isinstance(entry, FilterInclude) and entry.filter == included)
