"""Values that variables can't hold where rules read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kvmgen.checks._filter_use import Related, Use, includes_with_parameters, uses
from kvmgen.checks._kinds import Kind, kind_of
from kvmgen.diagnostics import Diagnostic, Origin, Rule
from kvmgen.model.filter_trees import FilterTree, Reading
from kvmgen.model.site import Site

WRONG_KIND = Rule(code="KV527", title="A parameter that is no value for its rule")
UNEQUAL_LISTS = Rule(code="KV528", title="Lists side by side that aren't of one length")


def wrong_kinds(site: Site) -> Iterator[Diagnostic]:
    """A parameter's value is handed to ebtables or iptables as it stands: a wrong one keeps the guest from starting.

    libvirt defines filter and guest without a word; the kernel's tools refuse the rule when the guest starts. What an
    attribute takes follows from the rule: an address of the rule's IP version, a MAC, a mask, a port up to 65535. Some
    values are taken for others: plain digits of an EtherType for hexadecimal ones, a number with a leading zero for an
    octal one.

    Bad::

        # guests/web01.yaml
        eth0:
          network: default
          addresses: [192.168.122.10/24]
          filter: {name: web, parameters: {PORTS: ["22", "70000"], ADMIN: "2001:db8::53"}}

        # filters/web.yaml
        - {priority: 500, action: accept, direction: in, tcp: {srcipaddr: $ADMIN, dstportstart: "$PORTS[@1]"}}
        - {priority: 510, action: accept, direction: in, tcp-ipv6: {dstipaddr: $IP, dstportstart: 80}}

    Good::

        # guests/web01.yaml
        eth0:
          network: default
          addresses: [192.168.122.10/24]
          filter: {name: web, parameters: {PORTS: ["22", "7000"], ADMIN: 192.0.2.53}}

        # filters/web.yaml
        - {priority: 500, action: accept, direction: in, tcp: {srcipaddr: $ADMIN, dstportstart: "$PORTS[@1]"}}
        - {priority: 510, action: accept, direction: in, tcp: {dstipaddr: $IP, dstportstart: 80}}

    Source: libvirt's "Supported protocols", for the type of each attribute (https://libvirt.org/formatnwfilter.html).
    """
    judged: set[tuple[str, ...]] = set()
    for use in uses(site):
        for name in sorted(use.said):
            yield from _wrong_values(use.tree, name, use.values[name], _places(use.origin, name))
        derived = (use.filter, *(name for name in use.values if name not in use.said))
        if derived not in judged:
            judged.add(derived)
            yield from _misread(use)
    for include in includes_with_parameters(site):
        tree = site.filter_trees.of(include.filter)
        for name, values in include.parameters:
            yield from _wrong_values(tree, name, values, _places(include.origin, name))


def _places(origin: Origin, name: str) -> Callable[[int], Origin]:
    return lambda index: origin.at("parameters", name, index)


def _wrong_values(
    tree: FilterTree, name: str, values: tuple[str, ...], place: Callable[[int], Origin]
) -> Iterator[Diagnostic]:
    wanted = [(kind, reading, attribute) for kind, reading, attribute in _wanted(tree, name)]
    for index, value in enumerate(values):
        for kind, reading, attribute in wanted:
            if not kind.fits(value):
                yield Diagnostic(
                    rule=WRONG_KIND,
                    message=f"{name} is {value}, and a rule reads it as {kind.what}: the guest doesn't start, or "
                    "the rule fits something else",
                    hint="Correct the value, or let the rule read another variable.",
                    origin=place(index),
                    related=_rule(reading, attribute, f"{attribute} of {reading.protocol} takes {kind.what}"),
                )
                break


def _wanted(tree: FilterTree, name: str) -> Iterator[tuple[Kind, Reading, str]]:
    for reading, attribute, _ in tree.reading(name):
        kind = kind_of(reading.protocol, attribute)
        if kind is not None:
            yield kind, reading, attribute


def _rule(reading: Reading, attribute: str, what: str) -> Related:
    if reading.origin is None or reading.origin.is_kvmgens:
        return ()
    return ((reading.origin.at(attribute), what),)


def _misread(use: Use) -> Iterator[Diagnostic]:
    """The inventory's rules that read what kvmgen and libvirt set as something else than it is."""
    for reading in use.tree.readings:
        for attribute, read in reading.variables:
            kind = kind_of(reading.protocol, attribute)
            values = use.value(reading, read.name)
            if kind is None or values is None or read.name in use.said or read.name in reading.given:
                continue
            if not kind.fits(values[0]) and reading.origin is not None:
                yield Diagnostic(
                    rule=WRONG_KIND,
                    message=f"the rule reads ${read.name} as {kind.what}, and for {use.whose} it is {values[0]}: "
                    "the guest doesn't start",
                    hint="Read $IP in rules for IPv4, $IPV6 in rules for IPv6 and $MAC as a MAC.",
                    origin=reading.origin.at(attribute),
                    related=((use.place, "the interface with this filter"),),
                )


def unequal_lists(site: Site) -> Iterator[Diagnostic]:
    """A rule walks through all its lists at once, by one iterator, and libvirt wants them to be of one length.

    `$A` means `$A[@0]`, so two variables in a rule go side by side: the first value with the first, the second with the
    second. $MAC is a list of one. With lists of different lengths the guest doesn't start. Iterators of their own,
    `$A[@1]` and `$B[@2]`, make a rule for every pair instead, and `$MAC[0]` is a single value beside any list.

    Bad::

        # guests/web01.yaml
        addresses: [192.168.122.10/24, 192.168.122.11/24]
        filter: {name: web, parameters: {PORTS: ["22", "80"], FROM: 192.0.2.53}}

        # filters/web.yaml
        - {priority: 400, action: accept, direction: out, ip: {srcmacaddr: $MAC, srcipaddr: $IP}}
        - {priority: 500, action: accept, direction: in, tcp: {srcipaddr: $FROM, dstportstart: $PORTS}}

    Good::

        # guests/web01.yaml
        addresses: [192.168.122.10/24, 192.168.122.11/24]
        filter: {name: web, parameters: {PORTS: ["22", "80"], FROM: 192.0.2.53}}

        # filters/web.yaml
        - {priority: 400, action: accept, direction: out, ip: {srcmacaddr: "$MAC[0]", srcipaddr: $IP}}
        - {priority: 500, action: accept, direction: in, tcp: {srcipaddr: "$FROM[@1]", dstportstart: "$PORTS[@2]"}}

    Source: libvirt's "Usage of variables in filters" (https://libvirt.org/formatnwfilter.html).
    """
    for use in uses(site):
        for reading in use.tree.lengths:
            for names in reading.side_by_side():
                if len(names) > 1:
                    yield from _unequal(use, reading, list(names))


def _unequal(use: Use, reading: Reading, names: list[str]) -> Iterator[Diagnostic]:
    found = {name: values for name in names if (values := use.value(reading, name)) is not None}
    lengths = {len(values) for values in found.values()}
    if len(lengths) < 2:
        return
    told = " and ".join(f"{name} {len(values)}" for name, values in found.items())
    blamed = next((name for name in names if name in use.said), max(found, key=lambda name: len(found[name])))
    yield Diagnostic(
        rule=UNEQUAL_LISTS,
        message=f"a rule of {use.filter} walks through lists of different lengths at once ({told}): no guest starts "
        "with them",
        hint="Make them of one length, or give each its own iterator: $A[@1] with $B[@2] makes a rule for every pair.",
        origin=use.source(reading, blamed),
        related=_rule(reading, reading.variables[0][0], "the rule that reads them"),
    )
