"""An nwfilter in libvirt's own terms."""

from __future__ import annotations

from dataclasses import dataclass

from kvmgen.diagnostics import Origin
from kvmgen.model.values import Uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A rule's one protocol element: ``<tcp match='no' dstportstart='22'/>`` without the brackets.

    ``attributes`` keep libvirt's attribute names, in the order of libvirt's format page; values may hold ``$VARIABLE``.
    """

    protocol: str
    attributes: tuple[tuple[str, str], ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRule:
    """``<rule>``; ``match`` is ``None`` for a rule that fits every packet. ``state_match`` False is statematch='0'."""

    action: str
    direction: str
    priority: int | None
    match: Match | None
    state_match: bool
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterInclude:
    """``<filterref>`` inside a filter, with parameters of its own."""

    filter: str
    parameters: tuple[tuple[str, tuple[str, ...]], ...]
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """An nwfilter. ``priority`` is the chain's, ``None`` where libvirt's default for its prefix stands."""

    name: str
    origin: Origin
    uuid: Uuid
    chain: str
    priority: int | None
    entries: tuple[FilterRule | FilterInclude, ...]

    @property
    def includes(self) -> tuple[str, ...]:
        """The names of the filters it refers to, each once, in order."""
        names = (entry.filter for entry in self.entries if isinstance(entry, FilterInclude))
        return tuple(dict.fromkeys(names))
