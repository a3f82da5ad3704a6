"""A filter with all that it includes: which variables its rules read, and what includes set on the way to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from functools import cache

from kvmgen.diagnostics import Origin
from kvmgen.model.builtin_filters import BUILT_IN_FILTERS
from kvmgen.model.filters import Filter, FilterInclude, FilterRule, Match
from kvmgen.value import record, value

_VARIABLE = re.compile(r"\$([A-Za-z0-9_]+)(?:\[(@?)([0-9]+)\])?")


@record
class Variable:
    """A variable as a rule reads it: ``$A`` and ``$A[@1]`` walk through a list by an iterator, ``$A[2]`` takes one.

    ``$A`` alone is ``$A[@0]``. Exactly one of ``iterator`` and ``element`` is set; elements count from 0.
    """

    name: str
    iterator: int | None = 0
    element: int | None = None

    def __str__(self) -> str:
        if self.element is not None:
            return f"${self.name}[{self.element}]"
        return f"${self.name}[@{self.iterator}]" if self.iterator else f"${self.name}"


@cache
def variable(text: str) -> Variable | None:
    """The variable that an attribute's value names, if it does."""
    found = _VARIABLE.fullmatch(text)
    if found is None:
        return None
    name, at, number = found.groups()
    if number is None:
        return Variable(name)
    return Variable(name, int(number)) if at else Variable(name, None, int(number))


@record
class Given:
    """What an include sets a variable to, and where it says so."""

    values: tuple[str, ...]
    origin: Origin


@value
class Reading:
    """A rule that reads variables, where a tree has it: by attribute, and what the includes on the way there set.

    ``origin`` is the rule's protocol element; ``None`` in a filter of libvirt's.
    """

    protocol: str
    variables: tuple[tuple[str, Variable], ...]
    origin: Origin | None
    given: Mapping[str, Given] = field(default_factory=dict)

    @property
    def minds_lengths(self) -> bool:
        """Whether it matters how long the lists are that it reads."""
        if any(variable.element is not None for _, variable in self.variables):
            return True
        return len(self.variables) > 1 and any(len(names) > 1 for names in self.side_by_side())

    def side_by_side(self) -> Iterable[dict[str, None]]:
        """The variables that it walks through together: those of one iterator each."""
        groups: dict[int, dict[str, None]] = {}
        for _, variable in self.variables:
            if variable.iterator is not None:
                groups.setdefault(variable.iterator, {})[variable.name] = None
        return groups.values()


@value
class FilterTree:
    """A filter and all that it includes.

    ``names`` are the filters in it; ``needs`` the variables that whoever uses it must set, ``reads`` all of them,
    ``lengths`` the readings that mind how long lists are, ``presets`` the variables that an include sets somewhere.
    """

    names: frozenset[str] = frozenset()
    readings: tuple[Reading, ...] = ()
    lengths: tuple[Reading, ...] = ()
    needs: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    presets: frozenset[str] = frozenset()

    def reading(self, name: str) -> Iterator[tuple[Reading, str, Variable]]:
        """Where a variable is read: the rule, the attribute, and how."""
        for reading in self.readings:
            for attribute, variable in reading.variables:
                if variable.name == name:
                    yield reading, attribute, variable


_NOTHING = FilterTree()


class FilterTrees:
    """The trees of a site's filters, each grown when it is first asked for."""

    def __init__(self, filters: Mapping[str, Filter]) -> None:
        self._filters = filters
        self._grown: dict[str, FilterTree] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._filters or name in BUILT_IN_FILTERS

    def __iter__(self) -> Iterator[str]:
        yield from self._filters
        yield from BUILT_IN_FILTERS

    def of(self, name: str) -> FilterTree:
        """A filter's tree; without anything where there is no such filter, and where a ring of includes closes."""
        if name not in self._grown:
            self._grown[name] = _NOTHING
            self._grown[name] = self._grow(name)
        return self._grown[name]

    def _grow(self, name: str) -> FilterTree:
        if name in self._filters:
            entries = self._filters[name].entries
            own = _own(entry for entry in entries if isinstance(entry, FilterRule))
            return _joined(name, own, map(self._included, _includes(entries)))
        if name in BUILT_IN_FILTERS:
            built_in = BUILT_IN_FILTERS[name]
            rules = (entry for entry in built_in.entries if isinstance(entry, FilterRule))
            own = [found for rule in rules if rule.match and (found := _reading(rule.match, None))]
            return _joined(name, own, map(self.of, built_in.includes))
        return _NOTHING

    def _included(self, include: FilterInclude) -> FilterTree:
        tree = self.of(include.filter)
        return _with_parameters(tree, include) if include.parameters else tree


def _includes(entries: Iterable[FilterRule | FilterInclude]) -> Iterator[FilterInclude]:
    return (entry for entry in entries if isinstance(entry, FilterInclude))


def _own(rules: Iterable[FilterRule]) -> list[Reading]:
    found = (
        _reading(rule.match, rule.origin.at(rule.match.protocol))
        for rule in rules
        if rule.match is not None and any(value[:1] == "$" for _, value in rule.match.attributes)
    )
    return [reading for reading in found if reading is not None]


def _reading(match: Match, origin: Origin | None) -> Reading | None:
    found = ((attribute, variable(value)) for attribute, value in match.attributes if value[:1] == "$")
    variables = tuple((attribute, read) for attribute, read in found if read is not None)
    return Reading(protocol=match.protocol, variables=variables, origin=origin) if variables else None


def _joined(name: str, own: list[Reading], included: Iterable[FilterTree]) -> FilterTree:
    """A filter's own readings and the trees of what it includes, each rule once."""
    trees = list(included)
    own_names = frozenset(variable.name for reading in own for _, variable in reading.variables)
    readings = {id(reading): reading for tree in trees for reading in tree.readings}
    lengths = {id(reading): reading for tree in trees for reading in tree.lengths}
    return FilterTree(
        names=frozenset((name,)).union(*(tree.names for tree in trees)),
        readings=(*own, *readings.values()),
        lengths=(*(reading for reading in own if reading.minds_lengths), *lengths.values()),
        needs=own_names.union(*(tree.needs for tree in trees)),
        reads=own_names.union(*(tree.reads for tree in trees)),
        presets=frozenset().union(*(tree.presets for tree in trees)),
    )


def _with_parameters(tree: FilterTree, include: FilterInclude) -> FilterTree:
    """A tree under an include's parameters.

    The outermost word counts: libvirt lets an include's parameters win over those further inside, and an interface's
    over all of them.
    """
    given = {
        name: Given(values, include.origin.at("parameters", name))
        for name, values in include.parameters
        if name in tree.reads
    }
    if not given:
        return tree
    changed = {id(reading): _under(reading, given) for reading in tree.readings}
    return replace(
        tree,
        readings=tuple(changed.values()),
        lengths=tuple(changed[id(reading)] for reading in tree.lengths),
        needs=tree.needs - given.keys(),
        presets=tree.presets | given.keys(),
    )


def _under(reading: Reading, given: Mapping[str, Given]) -> Reading:
    ours = {variable.name: given[variable.name] for _, variable in reading.variables if variable.name in given}
    return replace(reading, given={**reading.given, **ours}) if ours else reading
