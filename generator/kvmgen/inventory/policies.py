"""Lowering policies: each line's services and peers."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any

from kvmgen.diagnostics import Origin
from kvmgen.inventory.context import NOT_AN_ADDRESS, NOT_TOGETHER, Context, Data, Document
from kvmgen.inventory.expectations import expectations
from kvmgen.model.policy import ADDRESS, GUEST, HOST, NETWORK, POLICY, Entry, Peer, Policy, Service
from kvmgen.value import record


@record
class Names:
    """What a peer can name, by the word for it."""

    guests: Container[str]
    policies: Container[str]
    networks: Container[str]


def _tcp(port: int) -> Service:
    return Service("tcp", (port, port))


def _udp(port: int) -> Service:
    return Service("udp", (port, port))


_PING = Service("icmp", types=((4, 8), (6, 128)))
_SERVICES: Mapping[str, tuple[Service, ...]] = MappingProxyType(
    {
        "ping": (_PING,),
        "dns": (_udp(53), _tcp(53)),
        "ntp": (_udp(123),),
        "dhcp": (Service("dhcp"),),
        "ssh": (_tcp(22),),
        "http": (_tcp(80),),
        "https": (_tcp(443),),
        "anything": (Service("all"),),
    }
)
_ICMP: Mapping[str, Service] = MappingProxyType(
    {"echo-request": _PING, "timestamp-request": Service("icmp", types=((4, 13),))}
)
_ICMPV6: Mapping[str, int] = MappingProxyType({"echo-request": 128, "router-advertisement": 134, "redirect": 137})
_WHATS = ("tcp", "udp", "icmp", "icmpv6", "service")


def lower_policies(context: Context, documents: Mapping[str, Document], names: Names) -> dict[str, Policy]:
    """The inventory's policies, sorted by name; a peer that nobody is has been told."""
    return {name: _policy(context, name, document, names) for name, document in sorted(documents.items())}


def _policy(context: Context, name: str, document: Document, names: Names) -> Policy:
    data, origin = document.data, document.origin
    return Policy(
        name=name,
        origin=origin,
        allow_in=_entries(context, data, origin, "allow-in", names),
        allow_out=_entries(context, data, origin, "allow-out", names),
        expects=expectations(context, data, origin, name),
    )


def _entries(context: Context, data: Data, origin: Origin, key: str, names: Names) -> tuple[Entry, ...] | None:
    if key not in data:
        return None
    found = (_entry(context, said, origin.at(key, index), key, names) for index, said in enumerate(data[key]))
    return tuple(entry for entry in found if entry is not None)


def _entry(context: Context, said: Any, origin: Origin, key: str, names: Names) -> Entry | None:
    data: Data = {"service": said} if isinstance(said, str) else said
    whats = [what for what in _WHATS if what in data]
    if len(whats) != 1:
        message = f"the entry says {' and '.join(whats) if whats else 'for whom, but not what'}"
        hint = "Write one of tcp, udp, icmp, icmpv6 and service in each entry."
        context.error(NOT_TOGETHER, origin, message, hint)
        return None
    what = whats[0]
    word = "from" if key == "allow-in" else "to"
    peers = _peers(context, data.get(word), origin.at(word), names)
    if peers is None or _refuses_dhcp(context, data, origin, key):
        return None
    services = _services(context, what, data[what], origin.at(what))
    versions = {"ipv4": (4,), "ipv6": (6,)}.get(data.get("family", ""), (4, 6))
    return Entry(
        origin=origin,
        words=data[what] if what == "service" else f"{what} {_shown(data[what])}",
        services=tuple(services),
        peers=peers,
        versions=(6,) if what == "icmpv6" else versions,
        connections=data.get("connections"),
    )


def _refuses_dhcp(context: Context, data: Data, origin: Origin, key: str) -> bool:
    """Whether DHCP is asked for in a way that can't work, which is told."""
    if data.get("service") != "dhcp":
        return False
    if key == "allow-in":
        message = "dhcp stands for a client, which nobody asks: it means nothing among `allow-in`"
        hint = "Write it in `allow-out`; a server has `{udp: [67, 547]}` here, and `anti-spoofing: none`."
    elif "to" in data or "connections" in data:
        message = "a DHCP client asks everyone, before it knows anybody: nothing narrows that"
        hint = "Write `dhcp` alone."
    else:
        return False
    context.error(NOT_TOGETHER, origin, message, hint)
    return True


def _shown(said: Any) -> str:
    return ", ".join(map(str, said)) if isinstance(said, list) else str(said)


def _services(context: Context, what: str, said: Any, origin: Origin) -> Iterator[Service]:
    if what == "service":
        yield from _SERVICES[said]
    elif what == "icmp":
        yield _ICMP[said]
    elif what == "icmpv6":
        yield Service("icmp", types=((6, _ICMPV6[said]),))
    elif isinstance(said, list):
        for index, item in enumerate(said):
            yield from _ports(context, what, item, origin.at(index))
    else:
        yield from _ports(context, what, said, origin)


def _ports(context: Context, protocol: str, said: int | str, origin: Origin) -> Iterator[Service]:
    first, _, last = str(said).partition("-")
    ports = int(first), int(last or first)
    if ports[0] > ports[1] or ports[1] > 65535:
        message = f"{said} is not a range of ports"
        context.error(NOT_TOGETHER, origin, message, "Write the lower port first, and none above 65535.")
        return
    yield Service(protocol, ports)


def _peers(context: Context, said: Any, origin: Origin, names: Names) -> tuple[Peer, ...] | None:
    """The peers, none for anyone; ``None`` where one of them is nobody."""
    if said is None:
        return ()
    listed = list(enumerate(said)) if isinstance(said, list) else [(None, said)]
    if any(peer == "anyone" for _, peer in listed):
        if len(listed) > 1:
            context.error(NOT_TOGETHER, origin, "anyone is everybody else in the list as well", "Write `anyone` alone.")
        return ()
    found = [_peer(context, peer, origin if index is None else origin.at(index), names) for index, peer in listed]
    return tuple(peer for peer in found if peer is not None) if all(found) else None


def _peer(context: Context, said: Any, origin: Origin, names: Names) -> Peer | None:
    if said == "host":
        return Peer(HOST, origin=origin)
    if isinstance(said, str):
        return _address(context, said, origin)
    ((kind, name),) = said.items()
    known = {GUEST: names.guests, POLICY: names.policies, NETWORK: names.networks}[kind]
    if name not in known:
        listed: Iterable[str] = known if isinstance(known, Iterable) else ()
        context.no_reference(origin.at(kind), kind, name, listed)
        return None
    return Peer(kind, name, origin=origin)


def _address(context: Context, said: str, origin: Origin) -> Peer | None:
    try:
        return Peer(ADDRESS, network=ip_network(said), origin=origin)
    except ValueError as error:
        hint = "Write an address, or a subnet's first address and its length: 192.0.2.0/24."
        context.error(NOT_AN_ADDRESS, origin, str(error), hint)
        return None
