"""Filters with all that they include: what no inventory can show of them."""

from __future__ import annotations

import pytest

from kvmgen.checks._kinds import kind_of
from kvmgen.inventory import schema
from kvmgen.inventory.filters import ATTRIBUTES
from kvmgen.model.builtin_filters import BUILT_IN_FILTERS
from kvmgen.model.filter_trees import FilterTree, FilterTrees, Variable, variable
from tests.inventory.nwfilters import lowered, own_filters, value

LEAF = "rules: [{action: accept, direction: in, tcp: {srcipaddr: $FROM, dstportstart: $PORT}}]"
PORT_22 = "rules: [{filter: leaf, parameters: {PORT: 22}}]"


def tree(name: str, **documents: str) -> FilterTree:
    return FilterTrees({key: lowered(text, key) for key, text in documents.items()}).of(name)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("$IP", Variable("IP", 0)),
        ("$IP[@0]", Variable("IP", 0)),
        ("$IP[@12]", Variable("IP", 12)),
        ("$IP[3]", Variable("IP", None, 3)),
        ("IP", None),
        ("$IP/24", None),
    ],
)
def test_variables(text: str, read: Variable | None) -> None:
    assert variable(text) == read


def test_an_include_sets_only_what_lies_behind_it() -> None:
    """The same filter, reached with a parameter and without, still needs it."""
    found = tree("both", both="rules: [{filter: one}, {filter: leaf}]", one=PORT_22, leaf=LEAF)
    both = frozenset(("FROM", "PORT"))
    assert (found.needs, found.reads, found.presets) == (both, both, frozenset(("PORT",)))
    assert [sorted(reading.given) for reading in found.readings] == [["PORT"], []]


def test_the_outermost_parameter_counts() -> None:
    outer = "rules: [{filter: one, parameters: {PORT: [80, 443], FROM: 192.0.2.1}}]"
    found = tree("outer", outer=outer, one=PORT_22, leaf=LEAF)
    assert found.needs == frozenset()
    assert {name: given.values for name, given in found.readings[0].given.items()} == {
        "PORT": ("80", "443"),
        "FROM": ("192.0.2.1",),
    }


def test_a_rule_reached_twice_counts_once() -> None:
    found = tree("top", top="rules: [{filter: a}, {filter: b}]", a="rules: [{filter: leaf}]", b=PORT_22, leaf=LEAF)
    again = tree("top", top="rules: [{filter: a}, {filter: leaf}]", a="rules: [{filter: leaf}]", leaf=LEAF)
    assert (len(found.readings), len(again.readings)) == (2, 1)


def test_a_ring_ends() -> None:
    found = tree("a", a="rules: [{filter: b}, {filter: leaf}]", b="rules: [{filter: a}, {filter: gone}]", leaf=LEAF)
    assert found.names == {"a", "b", "leaf"}
    assert found.needs == {"FROM", "PORT"}


def test_every_attribute_that_takes_a_variable_has_its_kind() -> None:
    """All but the numbers of spanning tree, which nobody sets by variables, and names of sets."""
    unknown = {
        attribute
        for protocol, attributes in ATTRIBUTES.items()
        if protocol != "stp"
        for attribute in attributes
        if kind_of(protocol, attribute) is None and _takes_a_variable(protocol, attribute)
    }
    assert unknown == {"ipset"}


def _takes_a_variable(protocol: str, attribute: str) -> bool:
    rule = {"action": "drop", "direction": "in", protocol: {attribute: "$X"}}
    return schema.validate("filter", {"rules": [rule]}, "filters/x.yaml") == []


def test_kinds_take_what_the_schema_takes() -> None:
    """A value that may stand in a rule may also come through a variable, but for decimal numbers read as others."""
    for protocol, attributes in ATTRIBUTES.items():
        for attribute in attributes:
            kind, plain = kind_of(protocol, attribute), str(value(protocol, attribute))
            judged = kind is not None and attribute != "protocoltype" and not plain.startswith("$")
            assert not judged or kind is None or kind.fits(plain), (protocol, attribute, plain)


def test_chains_that_come_with_a_filter_leave_room_for_every_tap() -> None:
    """A tap's name has 15 characters at most, and 25 are left for it and the chain."""
    for filter_ in (*own_filters().values(), *BUILT_IN_FILTERS.values()):
        assert len(filter_.chain) <= 10, filter_.name
