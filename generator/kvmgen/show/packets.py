"""Filters and policies with everything resolved, and who has them."""

from __future__ import annotations

from typing import Any

from kvmgen.model.builtin_filters import BUILT_IN_FILTERS
from kvmgen.model.filters import Filter, FilterRule
from kvmgen.model.policy import Entry
from kvmgen.model.site import Site, views
from kvmgen.show._words import plugs, present


def filter_(site: Site, name: str) -> dict[str, Any]:
    """Its rules, what it includes, and whom it guards: directly, or as a part of another filter."""
    known = {**site.filters, **BUILT_IN_FILTERS}
    found = known[name]
    around = {name, *(other for other in known if name in _reached(known, other))}
    return present(
        {
            "uuid": found.uuid,
            "chain": found.chain,
            "priority": found.priority,
            "rules": [
                _rule(entry) if isinstance(entry, FilterRule) else f"filter {entry.filter}" for entry in found.entries
            ],
            "includes": sorted(_reached(known, name)),
            "included-by": sorted(around - {name}),
            "guests": plugs(site, lambda _, nic: nic.filterref is not None and nic.filterref.filter in around),
            "hosts": [view.host.name for view in views(site) if any(one.name == name for one in view.filters)],
        }
    )


def _reached(known: dict[str, Filter], name: str) -> set[str]:
    """All that a filter includes, however deep."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = known.get(waiting.pop())
        waiting += [other for other in (one.includes if one is not None else ()) if other not in found]
        found.update(waiting)
    return found


def _rule(rule: FilterRule) -> str:
    match = rule.match
    words = [str(rule.priority) if rule.priority is not None else "", rule.action, rule.direction]
    if match is not None:
        words += ["not " * match.negated + match.protocol, *(f"{key}={said}" for key, said in match.attributes)]
    return " ".join(filter(None, words))


def policy(site: Site, name: str) -> dict[str, Any]:
    """Its lists, and the interfaces that have it with the filter that they were compiled to."""
    found = site.policies[name]
    has = [(guest, nic) for guest, nic in site.nics() if name in nic.policies]
    return present(
        {
            "allow-in": _entries(found.allow_in),
            "allow-out": _entries(found.allow_out),
            "guests": [f"{guest.name} ({nic.name})" for guest, nic in has],
            "filters": sorted({nic.filterref.filter for _, nic in has if nic.filterref is not None}),
        }
    )


def _entries(entries: tuple[Entry, ...] | None) -> list[dict[str, Any]] | str | None:
    """A direction that a policy doesn't name is left out; one without entries says so."""
    if entries is None:
        return None
    return [_entry(entry) for entry in entries] or "nothing"


def _entry(entry: Entry) -> dict[str, Any]:
    peers = [str(peer) for peer in entry.peers] or ["anyone"]
    return present({"services": entry.words, "peers": peers, "connections": entry.connections})
