"""Interfaces with a filter that the inventory names, beside what that filter reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from weakref import WeakKeyDictionary

from kvmgen.diagnostics import Origin
from kvmgen.model.filter_trees import FilterTree, FilterTrees, Reading
from kvmgen.model.filters import FilterInclude
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.site import Site
from kvmgen.value import value

Related = tuple[tuple[Origin, str], ...]
LEARNING = "CTRL_IP_LEARNING"


@value
class Use:
    """An interface and its filter. ``origin`` is the interface's `filter`; ``said`` the parameters written there.

    ``values`` are all parameters of the interface, the derived ones among them.
    """

    guest: Guest
    nic: GuestInterface
    filter: str
    origin: Origin
    tree: FilterTree
    values: Mapping[str, tuple[str, ...]]
    said: frozenset[str]

    @property
    def whose(self) -> str:
        """The interface, for a message."""
        return f"{self.guest.name} ({self.nic.name})"

    @property
    def place(self) -> Origin:
        """Where the filter is named."""
        return self.origin.at("name")

    def parameter(self, name: str, *index: int) -> Origin:
        """Where a parameter stands, or the value of a list."""
        return self.origin.at("parameters", name, *index)

    def value(self, reading: Reading, name: str) -> tuple[str, ...] | None:
        """What a variable holds for a rule: the interface's word counts first; libvirt itself knows the MAC."""
        if name in self.values:
            return self.values[name]
        if name in reading.given:
            return reading.given[name].values
        return (self.nic.mac,) if name == "MAC" else None

    def source(self, reading: Reading, name: str) -> Origin:
        """Where that value comes from."""
        if name in self.said:
            return self.parameter(name)
        if name not in self.values and name in reading.given:
            return reading.given[name].origin
        return self.place

    def learns(self) -> str | None:
        """How libvirt finds out an IP that nothing sets, in lower case; ``None`` where it is set or not read."""
        if "IP" not in self.tree.needs or "IP" in self.values:
            return None
        return self.values.get(LEARNING, ("any",))[0].lower()


_found: WeakKeyDictionary[FilterTrees, tuple[Mapping[str, Guest], tuple[Use, ...]]] = WeakKeyDictionary()
"""The last answers of `uses`, which every check here asks for, by what it is asked of."""


def uses(site: Site) -> tuple[Use, ...]:
    """Every interface with a filter of the inventory's choice."""
    guests, known = _found.get(site.filter_trees, (None, ()))
    if guests is not site.guests:
        known = tuple(_uses(site))
        _found[site.filter_trees] = (site.guests, known)
    return known


def _uses(site: Site) -> Iterator[Use]:
    trees = site.filter_trees
    for guest in site.guests.values():
        for nic in guest.interfaces:
            reference = nic.filterref
            if reference is not None and reference.origin is not None:
                yield Use(
                    guest=guest,
                    nic=nic,
                    filter=reference.filter,
                    origin=reference.origin,
                    tree=trees.of(reference.filter),
                    values=dict(reference.parameters),
                    said=reference.said,
                )


def includes_with_parameters(site: Site) -> Iterator[FilterInclude]:
    """Every include with parameters in the inventory's filters."""
    for filter_ in site.filters.values():
        if not filter_.origin.is_kvmgens:
            for entry in filter_.entries:
                if isinstance(entry, FilterInclude) and entry.parameters:
                    yield entry


def reader(tree: FilterTree, name: str) -> Related:
    """The first rule of the inventory that reads a variable, for a finding's other side."""
    for reading, attribute, variable in tree.reading(name):
        if reading.origin is not None and not reading.origin.is_kvmgens:
            return ((reading.origin.at(attribute), f"this rule reads {variable}"),)
    return ()
