"""Where the lines of an nwfilter come from; of what policies were compiled to, the policies' lines."""

from __future__ import annotations

from kvmgen.model.filters import Filter, FilterInclude
from kvmgen.render.origins.walk import Origins, nth


def places(filter_: Filter) -> dict[str, Origins]:
    """A filter's elements in order: each entry, and the parameters of what it includes."""
    origin = filter_.origin
    found: dict[str, Origins] = {"": (origin, origin.at("chain"), origin.at("priority")), "uuid": (origin.at("uuid"),)}
    seen = {"rule": 0, "filterref": 0}
    for entry in filter_.entries:
        tag = "filterref" if isinstance(entry, FilterInclude) else "rule"
        way = nth(tag, seen[tag])
        seen[tag] += 1
        found[way] = (entry.origin,)
        if isinstance(entry, FilterInclude):
            names = [name for name, values in entry.parameters for _ in values]
            for index, name in enumerate(names):
                found[f"{way}/{nth('parameter', index)}"] = (entry.origin.at("parameters", name),)
    return found
