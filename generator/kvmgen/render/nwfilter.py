"""libvirt network filters, in the order in which ``virsh nwfilter-dumpxml`` writes them.

Source: https://libvirt.org/formatnwfilter.html
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from kvmgen.artifact import Artifact, Defines, Kind, Lines
from kvmgen.model.filters import Filter, FilterInclude, FilterRule, Match
from kvmgen.model.site import HostView
from kvmgen.render._nwfilter_values import as_written_back
from kvmgen.render._xml import Attributes, Element, document, el

_NONE: frozenset[str] = frozenset()
_TRACKING = frozenset(("state", "connlimit-above", "ipset", "ipsetflags"))
_BEYOND_SCHEMA = {
    "arp": frozenset(("arpsrcipmask", "arpdstipmask")),
    "rarp": frozenset(("arpsrcipmask", "arpdstipmask")),
    "icmpv6": _TRACKING,
    **{f"{protocol}-ipv6": _TRACKING for protocol in ("tcp", "udp", "udplite", "esp", "ah", "sctp", "all")},
}
"""What libvirt's parser reads and its schema (nwfilter.rng) lacks, by protocol."""

_DEFAULT_PRIORITY = 500
"""What libvirt takes for a rule without a priority; written out, so that the order can be read in the file."""


def render(view: HostView) -> Iterator[Artifact]:
    """One file for every filter that the host's guests use, leaves first."""
    for filter_ in view.filters:
        yield Artifact(
            path=f"libvirt/nwfilters/{filter_.name}.xml",
            text=filter_xml(filter_),
            kind=Kind.NWFILTER,
            lines=partial(_lines, filter_),
            sources=(filter_.origin, *(entry.origin for entry in filter_.entries)),
            defines=Defines(
                name=filter_.name, uuid=filter_.uuid, needs=filter_.includes, validate=_is_in_schema(filter_)
            ),
        )


def _lines(filter_: Filter) -> Lines:
    from kvmgen.render.origins.nwfilter import places
    from kvmgen.render.origins.walk import xml_lines

    return xml_lines(filter_xml(filter_), places(filter_))


def _is_in_schema(filter_: Filter) -> bool:
    """Whether libvirt's own schema knows every attribute that the filter uses."""
    matches = (entry.match for entry in filter_.entries if isinstance(entry, FilterRule) and entry.match is not None)
    return not any(_BEYOND_SCHEMA.get(match.protocol, _NONE) & dict(match.attributes).keys() for match in matches)


def filter_xml(filter_: Filter) -> str:
    """The definition of one filter. The UUID is always written: without it a redefinition is refused."""
    root = el(
        "filter",
        {"name": filter_.name, "chain": filter_.chain, "priority": filter_.priority or None},
        el("uuid", {}, filter_.uuid),
        map(_entry, filter_.entries),
    )
    return document(root, filter_.origin)


def _entry(entry: FilterRule | FilterInclude) -> Element:
    return _include(entry) if isinstance(entry, FilterInclude) else _rule(entry)


def _include(include: FilterInclude) -> Element:
    values = ((name, value) for name, several in include.parameters for value in several)
    parameters = (el("parameter", {"name": name, "value": value}) for name, value in values)
    return el("filterref", {"filter": include.filter}, parameters)


def _rule(rule: FilterRule) -> Element:
    attributes: Attributes = {
        "action": rule.action,
        "direction": rule.direction,
        "priority": _DEFAULT_PRIORITY if rule.priority is None else rule.priority,
        "statematch": None if rule.state_match else "false",
    }
    return el("rule", attributes, None if rule.match is None else _match(rule.match))


def _match(match: Match) -> Element:
    attributes = {name: as_written_back(match.protocol, name, text) for name, text in match.attributes}
    return el(match.protocol, {"match": "no" if match.negated else None, **attributes})
