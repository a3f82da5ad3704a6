"""What redefining a network or a guest does to the one that runs, by the applier's rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_network

from kvmgen.difference.impact_xml import canonical, copy, definition, missing, unlike
from kvmgen.difference.model import Effect, Impact
from kvmgen.reachability._xml import Element

# -- networks ----------------------------------------------------------------------------------------------------------

_UPDATABLE = (
    ("ip", "dhcp/range"),
    ("ip", "dhcp/host"),
    ("dns", "host"),
    ("dns", "txt"),
    ("dns", "srv"),
    (".", "portgroup"),
)
"""What ``virsh net-update`` changes on a running network: the parent, and the way from there."""

_LIBVIRTS_OWN = re.compile("/network/forward/(interface|address)")
"""What libvirt writes out by itself where nothing says it, so that its absence asks for nothing."""

_ALL_PORTS = {"start": "1024", "end": "65535"}
"""The ports that NAT uses where nothing says otherwise; libvirt writes them out."""


def network_impact(name: str, before: str, after: str, guests: Sequence[str]) -> Impact:
    """What another definition does to a running network that ``guests`` are on."""
    runs, wanted = (_without_defaults(_with_masks(definition(text))) for text in (before, after))
    beyond = _beyond_net_update(runs, wanted)
    if beyond:
        why = f"net-update can't change {_some(beyond)} of a running network"
        return Impact(effect=Effect.NETWORK_RESTART, guests=tuple(guests), needs=f"--disruptive {name}", why=why)
    sections = [way for parent, way in _UPDATABLE if _parts(runs, parent, way) != _parts(wanted, parent, way)]
    if sections:
        return Impact(effect=Effect.NET_UPDATE, why=f"net-update changes {_listed(sections)} as it runs")
    return Impact(effect=Effect.LIVE)


def _beyond_net_update(runs: Element, wanted: Element) -> list[str]:
    if _subnets(wanted) == _subnets(runs):
        runs, wanted = _without_updatable(runs), _without_updatable(wanted)
    lacks = list(missing(wanted, runs))
    too_much = [way for way in missing(runs, wanted) if way not in lacks and not _LIBVIRTS_OWN.match(way)]
    return list(dict.fromkeys([*lacks, *too_much]))


def _with_masks(network: Element) -> Element:
    """The definition with every IPv4 subnet's length as a mask; libvirt takes either."""
    for ip in network.findall("ip"):
        if ip.get("prefix") and ip.get("family", "ipv4") == "ipv4":
            length = str(ip.attrib.pop("prefix"))
            ip.set("netmask", str(ip_network(f"0.0.0.0/{length}").netmask))
    return network


def _without_defaults(network: Element) -> Element:
    """The definition without what libvirt takes and writes out where nothing is said."""
    for forward in network.findall("forward"):
        for nat in forward.findall("nat"):
            for port in nat.findall("port"):
                if dict(map(_as_texts, port.attrib.items())) == _ALL_PORTS:
                    nat.remove(port)
            if len(nat) == 0 and not nat.attrib:
                forward.remove(nat)
    return network


def _subnets(network: Element) -> list[dict[str, str]]:
    return [dict(map(_as_texts, ip.attrib.items())) for ip in network.findall("ip")]


def _as_texts(pair: tuple[object, object]) -> tuple[str, str]:
    return str(pair[0]), str(pair[1])


def _parts(network: Element, parent: str, way: str) -> set[tuple[int, tuple[object, ...]]]:
    holders = enumerate(network.findall(parent))
    return {(index, canonical(element)) for index, holder in holders for element in holder.findall(way)}


def _without_updatable(network: Element) -> Element:
    """A copy of a network without what ``net-update`` changes, and without the boxes that are empty then."""
    network = copy(network)
    for parent, way in _UPDATABLE:
        for holder in network.findall(parent):
            inner, _, tag = way.rpartition("/")
            box = holder.find(inner) if inner else holder
            if box is not None:
                for element in box.findall(tag):
                    box.remove(element)
    for holder, tag in [(network, "dns"), *((ip, "dhcp") for ip in network.findall("ip"))]:
        box = holder.find(tag)
        if box is not None and len(box) == 0 and not box.attrib:
            holder.remove(box)
    return network


# -- guests ------------------------------------------------------------------------------------------------------------

_LIVE_PARTS = ("bandwidth", "filterref", "link")
"""What ``virsh update-device`` changes of a running guest's interface, next to what it is plugged into."""

_FOR_PEOPLE = re.compile(r"/domain/(title|description|metadata)\b")


def domain_impact(name: str, before: str, after: str) -> Impact:
    """What another definition does to a running guest."""
    runs, wanted = _without_live_parts(definition(before)), _without_live_parts(definition(after))
    waiting = _unlike_but_for_people(wanted, runs)
    if waiting:
        why = f"a running guest can't take {_some(waiting)}"
        return Impact(effect=Effect.GUEST_RESTART, guests=(name,), why=why)
    is_same = not _unlike_but_for_people(definition(after), definition(before))
    return Impact(effect=Effect.LIVE, why="" if is_same else "update-device changes its interfaces as it runs")


def _unlike_but_for_people(wanted: Element, runs: Element) -> list[str]:
    return [way for way in unlike(wanted, runs) if not _FOR_PEOPLE.match(way)]


def _without_live_parts(domain: Element) -> Element:
    """The definition without what ``update-device`` changes."""
    for interface in domain.findall("devices/interface"):
        parts = set(_LIVE_PARTS)
        if plug(interface):
            interface.attrib.pop("type")
            parts.add("source")
        for part in parts:
            for element in interface.findall(part):
                interface.remove(element)
    return domain


def plug(interface: Element) -> tuple[str, str] | None:
    """What an interface is plugged into, ``network`` or ``bridge``, with its name; ``None`` for others."""
    source = interface.find("source")
    if source is None:
        return None
    if source.get("network"):
        return "network", str(source.get("network"))
    return ("bridge", str(source.get("bridge"))) if interface.get("type") == "bridge" else None


def interfaces(domain: Element) -> Iterator[tuple[str, Element]]:
    """A guest's interfaces by their MACs."""
    for interface in domain.findall("devices/interface"):
        mac = interface.find("mac")
        yield "" if mac is None else str(mac.get("address")).lower(), interface


# -- words -------------------------------------------------------------------------------------------------------------

_MOST = 3


def _some(ways: Sequence[str]) -> str:
    """A few of the places, from the definition's root: ``bridge/@stp, ip/@address``."""
    told = [way.partition("/")[2].partition("/")[2] for way in ways]
    more = f" and {len(told) - _MOST} more" if len(told) > _MOST else ""
    return ", ".join(told[:_MOST]) + more


def _listed(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
