"""A filter with all that it includes, in the order in which libvirt applies it, and its rules' variables.

Sources: ``virNWFilterInstantiateFilterUpdate``, ``virNWFilterRuleInstSort`` and ``virNWFilterVarCombIterNext`` in
https://gitlab.com/libvirt/libvirt/-/tree/master/src/nwfilter and src/conf/nwfilter_params.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

from kvmgen.model.filter_trees import Variable, variable
from kvmgen.reachability.nwfilter_read import ReadFilter, ReadInclude, ReadRule
from kvmgen.value import value

Values = Mapping[str, tuple[str, ...]]
Find = Callable[[str], ReadFilter]


class NoRulesError(Exception):
    """Why libvirt can't make a filter's rules, or why it isn't known here what it makes."""


@value
class Placed:
    """A rule in a tree: the chain that it stands in, and what the includes on the way to it set."""

    rule: ReadRule
    chain: str
    chain_priority: int
    given: Values
    variables: tuple[tuple[str, Variable], ...]


def placed_rules(name: str, find: Find) -> tuple[Placed, ...]:
    """Every rule of the tree in libvirt's order: root's before all others, then by priority, then as they stand."""
    found = list(_walk(find(name), find, {}, ()))
    return tuple(sorted(found, key=lambda placed: (placed.chain != "root", placed.rule.priority)))


def _walk(filter_: ReadFilter, find: Find, given: Values, way: tuple[str, ...]) -> Iterator[Placed]:
    if filter_.name in way:
        raise NoRulesError(f"the filter {filter_.name} includes itself")
    for entry in filter_.entries:
        if isinstance(entry, ReadInclude):
            # The outermost word wins.
            inner = {**entry.parameters, **given}
            yield from _walk(find(entry.filter), find, inner, (*way, filter_.name))
        else:
            yield Placed(
                rule=entry,
                chain=filter_.chain,
                chain_priority=filter_.priority,
                given=given,
                variables=_variables(entry),
            )


def _variables(rule: ReadRule) -> tuple[tuple[str, Variable], ...]:
    read = ((attribute, variable(text)) for attribute, text in rule.said.items() if text.startswith("$"))
    return tuple((attribute, found) for attribute, found in read if found is not None)


def missing(placed: Sequence[Placed], values: Values) -> set[str]:
    """The variables that have no value, as a rule writes them but for the dollar sign."""
    found = set()
    for one in placed:
        for _, read in one.variables:
            known = values.get(read.name) or one.given.get(read.name, ())
            if not known or (read.element or 0) >= len(known):
                found.add(str(read)[1:])
    return found


def combinations(placed: Placed, values: Values) -> list[dict[str, str]]:
    """What the rule's attributes say, once for each rule that its variables make of it."""
    rule = placed.rule
    if not placed.variables:
        return [dict(rule.said)]
    groups = _groups(placed, {**placed.given, **values})
    # The first iterator goes round fastest.
    return [
        {**rule.said, **{name: text for part in parts for name, text in part.items()}}
        for parts in product(*reversed(groups))
    ]


def _groups(placed: Placed, values: Values) -> list[list[dict[str, str]]]:
    """What each iterator sets at each of its places; an element of a list has one place."""
    iterators: dict[int, list[tuple[str, tuple[str, ...]]]] = {0: []}
    elements: list[list[dict[str, str]]] = []
    for attribute, read in placed.variables:
        known = values[read.name]
        if read.iterator is None:
            elements.append([{attribute: known[read.element or 0]}])
        else:
            iterators.setdefault(read.iterator, []).append((attribute, known))
    return [*(_side_by_side(lists) for lists in iterators.values()), *elements]


def _side_by_side(lists: list[tuple[str, tuple[str, ...]]]) -> list[dict[str, str]]:
    """Several lists walked through together, each combination once."""
    if not lists:
        return [{}]
    if len({len(known) for _, known in lists}) > 1:
        raise NoRulesError("lists that one iterator walks through have different lengths")
    rows = dict.fromkeys(zip(*(known for _, known in lists), strict=True))
    names = [attribute for attribute, _ in lists]
    return [dict(zip(names, row, strict=True)) for row in rows]
