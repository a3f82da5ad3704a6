"""What filters' variables are set to: by nobody, in vain, or by somebody else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kvmgen.checks._filter_use import LEARNING, Use, includes_with_parameters, reader, uses
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.filter_trees import FilterTree, Given
from kvmgen.model.site import Site

UNSET = Rule(code="KV525", title="A variable that nothing sets")
UNREAD = Rule(code="KV526", title="A parameter that no rule reads", severity=Severity.WARNING)
OVERRIDDEN = Rule(code="KV529", title="An include's parameter that is overridden", severity=Severity.WARNING)

_SNOOPING = frozenset((LEARNING, "DHCPSERVER"))
"""What libvirt reads itself, to learn IP; from an interface's parameters only."""


def unset(site: Site) -> Iterator[Diagnostic]:
    """A guest doesn't start while a rule of its filter reads a variable without a value.

    kvmgen sets MAC, IP, IP_SEGMENT, IPV6 and their masks from what the interface says; libvirt can learn IP, and only
    where nothing else is missing. All others are parameters of the interface, or of the include on the way to the rule.

    Bad::

        # guests/web01.yaml
        filter: {name: web, parameters: {PORT: ["22", "80"]}}

        # filters/web.yaml
        - {priority: 500, action: accept, direction: in, tcp: {dstportstart: $PORT}}
        - {priority: 510, action: accept, direction: in, tcp: {srcipaddr: $ADMIN, dstportstart: 9090}}

    Good::

        # guests/web01.yaml
        filter: {name: web, parameters: {PORT: ["22", "80"], ADMIN: 192.0.2.53}}

        # filters/web.yaml
        - {priority: 500, action: accept, direction: in, tcp: {dstportstart: $PORT}}
        - {priority: 510, action: accept, direction: in, tcp: {srcipaddr: $ADMIN, dstportstart: 9090}}

    Source: libvirt's "Usage of variables in filters" and "Automatic IP address detection"
    (https://libvirt.org/formatnwfilter.html).
    """
    for use in uses(site):
        missing = use.tree.needs - use.values.keys()
        if len(missing) > 1 or (missing and "MAC" not in missing):
            yield from _missing(use, missing - {"MAC"})
        if use.tree.lengths:
            yield from _beyond_the_end(use)


def _missing(use: Use, names: Iterable[str]) -> Iterator[Diagnostic]:
    learned = use.learns() not in (None, "none") and all(read.element is None for *_, read in use.tree.reading("IP"))
    for name in sorted(names):
        if name != "IP" or not learned:
            yield Diagnostic(
                rule=UNSET,
                message=f"the filter {use.filter} of {use.whose} reads ${name}, which nothing sets: the guest "
                "doesn't start",
                hint=_HINTS.get(name, f"Give the filter a value: `parameters: {{{name}: ...}}`."),
                origin=use.place,
                related=reader(use.tree, name),
            )


_SEGMENTS = "Give the interface `allowed-addresses`, or name the filter without `-segments`."
_HINTS = {
    "IP": f"Give the interface its IPv4 `addresses`, or `dhcp4: true` and no {LEARNING} of your own.",
    "IP_SEGMENT": _SEGMENTS,
    "IP_SEGMENT_MASK": _SEGMENTS,
    "IPV6_MASK": "Give the masks as a list beside IPV6, or let the rules read $IPV6 as well.",
}


def _beyond_the_end(use: Use) -> Iterator[Diagnostic]:
    for reading in use.tree.lengths:
        for attribute, read in reading.variables:
            values = use.value(reading, read.name)
            if read.element is not None and values is not None and read.element >= len(values):
                said = reading.origin is not None and not reading.origin.is_kvmgens
                place = ((reading.origin.at(attribute), f"this rule reads {read}"),) if said and reading.origin else ()
                yield Diagnostic(
                    rule=UNSET,
                    message=f"the filter {use.filter} of {use.whose} reads {read}, and {read.name} has "
                    f"{len(values)} (counted from 0): the guest doesn't start",
                    hint="Add the values that are missing, or read the whole list without brackets.",
                    origin=use.source(reading, read.name),
                    related=place,
                )


def unread(site: Site) -> Iterator[Diagnostic]:
    """A parameter that no rule reads is a misspelt one, as a rule: libvirt takes it without a word.

    CTRL_IP_LEARNING and DHCPSERVER are read by libvirt itself where a rule reads $IP, but from an interface alone:
    among an include's parameters they do nothing.

    Bad::

        # guests/web01.yaml
        filter: {name: web, parameters: {PORTS: ["22", "80"], DHCPSERVERS: 192.0.2.53}}

        # filters/web.yaml
        - {filter: clean-traffic, parameters: {CTRL_IP_LEARNING: none}}
        - {priority: 500, action: accept, direction: in, tcp: {dstportstart: $PORTS}}

    Good::

        # guests/web01.yaml
        filter: {name: web, parameters: {PORTS: ["22", "80"], DHCPSERVER: 192.0.2.53}}

        # filters/web.yaml
        - filter: clean-traffic
        - {priority: 500, action: accept, direction: in, tcp: {dstportstart: $PORTS}}

    Source: libvirt's "Usage of variables in filters" and "Automatic IP address detection"
    (https://libvirt.org/formatnwfilter.html).
    """
    for use in uses(site):
        if use.said:
            known = use.tree.reads | _SNOOPING if "IP" in use.tree.reads else use.tree.reads
            for name in sorted(use.said - known):
                yield _unread(name, use.filter, use.tree, use.parameter(name))
    for include in includes_with_parameters(site):
        tree = site.filter_trees.of(include.filter)
        for name, _ in include.parameters:
            if name not in tree.reads:
                yield _unread(name, include.filter, tree, include.origin.at("parameters", name))


def _unread(name: str, filter_: str, tree: FilterTree, origin: Origin) -> Diagnostic:
    import difflib

    near = difflib.get_close_matches(name, sorted(tree.reads), n=1)
    what = f"Its rules read {', '.join(sorted(tree.reads))}." if tree.reads else "Its rules read no variables."
    return Diagnostic(
        rule=UNREAD,
        message=f"no rule of the filter {filter_} reads {name}: the parameter does nothing",
        hint=f"Did you mean {near[0]}?" if near else f"Remove it. {what}",
        origin=origin,
        on_key=True,
    )


def overridden(site: Site) -> Iterator[Diagnostic]:
    """An interface's parameters win over those of an include, and an outer include's over an inner one's.

    So what an include says does nothing wherever somebody further outside sets the variable too. kvmgen itself sets IP
    and IPV6 of every interface whose filter reads them anywhere without an include's value.

    Bad::

        # filters/web.yaml
        - filter: kvmgen-anti-spoofing
        - {filter: from-there, parameters: {IP: 198.51.100.53}}

        # filters/from-there.yaml
        - {priority: 500, action: accept, direction: in, tcp: {srcipaddr: $IP, dstportstart: 22}}

    Good::

        # filters/web.yaml
        - filter: kvmgen-anti-spoofing
        - {filter: from-there, parameters: {THERE: 198.51.100.53}}

        # filters/from-there.yaml
        - {priority: 500, action: accept, direction: in, tcp: {srcipaddr: $THERE, dstportstart: 22}}

    Source: libvirt's src/nwfilter/nwfilter_gentech_driver.c, where an include's parameters are put down first and
    those from outside over them (https://gitlab.com/libvirt/libvirt/-/blob/master/src/nwfilter/nwfilter_gentech_driver.c).
    """
    told: set[Origin] = set()
    for use in uses(site):
        for name in use.tree.presets & use.values.keys():
            place = use.parameter(name) if name in use.said else use.place
            yield from _overridden(use.tree, name, use.values[name], (place, f"{use.whose} sets {name} too"), told)
    for include in includes_with_parameters(site):
        tree = site.filter_trees.of(include.filter)
        for name, values in include.parameters:
            if name in tree.presets:
                outside = (include.origin.at("parameters", name), f"this include sets {name} too")
                yield from _overridden(tree, name, values, outside, told)


def _overridden(
    tree: FilterTree, name: str, values: tuple[str, ...], outside: tuple[Origin, str], told: set[Origin]
) -> Iterator[Diagnostic]:
    for given in _presets(tree, name):
        if given.values != values and given.origin not in told:
            told.add(given.origin)
            yield Diagnostic(
                rule=OVERRIDDEN,
                message=f"{name} is not {' '.join(given.values)} but {' '.join(values)} here: what is set further "
                "outside wins",
                hint="Let the included filter read a variable of another name, or write the value into its rule.",
                origin=given.origin,
                related=(outside,),
            )


def _presets(tree: FilterTree, name: str) -> Iterator[Given]:
    for reading in tree.readings:
        if name in reading.given:
            yield reading.given[name]
