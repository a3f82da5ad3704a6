"""What lowering carries along: the documents, the diagnostics found so far, and how values become typed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from socket import AF_INET, inet_pton
from typing import Any

from kvmgen.diagnostics import Diagnostic, Origin, Rule
from kvmgen.inventory import docs
from kvmgen.inventory.identity import Identity
from kvmgen.model.values import (
    Address,
    Bandwidth,
    Bandwidths,
    Dns,
    Interface,
    Mac,
    Network,
    Range,
    Route,
    Uuid,
    VlanTags,
)
from kvmgen.value import record

NO_REFERENCE = Rule(code="KV020", title="A reference to something that isn't there", doc=docs.NO_REFERENCE)
NAME_TWICE = Rule(code="KV021", title="A name used twice", doc=docs.NAME_TWICE)
NOT_TOGETHER = Rule(code="KV022", title="Words that exclude or need each other", doc=docs.NOT_TOGETHER)
NOT_AN_ADDRESS = Rule(code="KV100", title="Not an address", doc=docs.NOT_AN_ADDRESS)
RULES = (NO_REFERENCE, NAME_TWICE, NOT_TOGETHER, NOT_AN_ADDRESS)

SITE = Origin("site.yaml")
"""The file of the site itself, where defaults and profiles stand."""

Data = Mapping[str, Any]
_UNITS = {"KiB": 1, "MiB": 1024, "GiB": 1024**2, "TiB": 1024**3}


@record
class Document:
    """One inventory file that its schema found valid."""

    origin: Origin
    data: Data


@dataclass(slots=True)
class Context:
    """One lowering: where its findings go, and the site's identities."""

    identity: Identity
    domain: str | None
    broken: frozenset[str] = frozenset()
    diagnostics: list[Diagnostic] = field(default_factory=list)
    _inherited: dict[tuple[str, str], Origin] = field(default_factory=dict)

    def inherit(self, document: Document, given: Data, place: Origin) -> None:
        """Note that an object has the keys of ``given`` that it doesn't say itself from ``place``."""
        for key in given.keys() - document.data.keys():
            self._inherited[document.origin.file, key] = place

    def at(self, origin: Origin, key: str) -> Origin:
        """Where an object's key was said: in its own file, or in what it inherits."""
        return self._inherited.get((origin.file, key), origin).at(key)

    def error(
        self,
        rule: Rule,
        origin: Origin,
        message: str,
        hint: str,
        related: tuple[tuple[Origin, str], ...] = (),
        on_key: bool = False,
    ) -> None:
        """Note a finding."""
        self.diagnostics.append(
            Diagnostic(rule=rule, message=message, hint=hint, origin=origin, related=related, on_key=on_key)
        )

    def no_reference(self, origin: Origin, what: str, name: str, known: Iterable[str], so: str = "") -> None:
        """Note a name that leads nowhere, with the names that would; not for a file whose own errors are told.

        ``so`` is what follows from it.
        """
        if name in self.broken:
            return
        import difflib

        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        hint = f"Did you mean {near[0]!r}?" if near else f"There is: {listed}." if names else "There is none yet."
        self.error(NO_REFERENCE, origin, f"there is no {what} {name!r}" + (f": {so}" if so else ""), hint)

    def full_name(self, name: str, data: Data) -> str:
        """The full host name of a host or guest."""
        if "hostname" in data:
            return str(data["hostname"])
        return f"{name}.{self.domain}" if self.domain else name

    def uuid(self, data: Data, *names: str) -> Uuid:
        """The pinned UUID, or the derived one."""
        return Uuid(data["uuid"]) if "uuid" in data else self.identity.uuid(*names)

    def address(self, text: str, origin: Origin) -> Address | None:
        """An address without a length."""
        try:
            return ipaddress.ip_address(text)
        except ValueError as error:
            self._not_an_address(origin, error, "Write an IPv4 or IPv6 address.")
            return None

    def interface(self, text: str, origin: Origin, *way: str | int) -> Interface | None:
        """An address with the length of its prefix; ``way`` leads on from ``origin``."""
        try:
            return IPv6Interface(text) if ":" in text else IPv4Interface(_ipv4(text))
        except ValueError as error:
            self._not_an_address(origin.at(*way), error, "Write ADDRESS/LENGTH, such as 192.0.2.10/24.")
            return None

    def network(self, text: str, origin: Origin) -> Network | None:
        """A subnet, without host bits."""
        try:
            return ipaddress.ip_network(text)
        except ValueError as error:
            self._not_an_address(origin, error, "Write the subnet's first address and its length: 192.0.2.0/24.")
            return None

    def _not_an_address(self, origin: Origin, error: ValueError, hint: str) -> None:
        self.error(NOT_AN_ADDRESS, origin, str(error), hint)

    def addresses(self, texts: Sequence[str], origin: Origin) -> tuple[Address, ...]:
        """Several addresses; ``origin`` is the list's."""
        found = (self.address(text, origin.at(index)) for index, text in enumerate(texts))
        return tuple(address for address in found if address is not None)

    def interfaces(self, texts: Sequence[str], origin: Origin) -> tuple[Interface, ...]:
        """Several addresses with lengths; ``origin`` is the list's."""
        found = [self.interface(text, origin, index) for index, text in enumerate(texts)]
        return tuple(address for address in found if address is not None)

    def networks(self, texts: Sequence[str], origin: Origin) -> tuple[Network, ...]:
        """Several subnets; ``origin`` is the list's."""
        found = [self.network(text, origin.at(index)) for index, text in enumerate(texts)]
        return tuple(network for network in found if network is not None)

    def range(self, text: str, origin: Origin) -> Range | None:
        """An inclusive range of addresses of one family, in order."""
        first, _, last = text.partition("-")
        start, end = self.address(first.strip(), origin), self.address(last.strip(), origin)
        if start is None or end is None:
            return None
        if start.version != end.version or int(start) > int(end):
            message = f"{text} is not a range: {start} doesn't come before {end}"
            self.error(NOT_AN_ADDRESS, origin, message, "Write the lower address first, both of one IP version.")
            return None
        return Range(start, end)

    def routes(self, routes: Sequence[Data], origin: Origin) -> tuple[Route, ...]:
        """Static routes; ``origin`` is the list's."""
        found = [self._route(route, origin.at(index)) for index, route in enumerate(routes)]
        return tuple(route for route in found if route is not None)

    def _route(self, data: Data, origin: Origin) -> Route | None:
        via = self.address(data["via"], origin.at("via"))
        to = None if data["to"] == "default" else self.network(data["to"], origin.at("to"))
        if via is None or (to is None and data["to"] != "default"):
            return None
        if to is not None and to.version != via.version:
            message = f"the route to {to} has a gateway of the other IP version, {via}"
            self.error(NOT_AN_ADDRESS, origin.at("via"), message, "Give a gateway of the destination's IP version.")
            return None
        return Route(to=to, via=via, metric=data.get("metric"))

    def dns(self, data: Data | None, origin: Origin) -> Dns:
        """A resolver's settings."""
        if not data:
            return Dns()
        servers = self.addresses(data.get("servers", ()), origin.at("servers"))
        return Dns(servers=servers, search=tuple(data.get("search", ())), origin=origin)


def _ipv4(text: str) -> str | tuple[int, int]:
    """An IPv4 address with its length as numbers, which are taken many times faster than a string is read."""
    address, _, length = text.partition("/")
    try:
        return int.from_bytes(inet_pton(AF_INET, address)), int(length)
    except (OSError, ValueError):
        return text


def memory(text: str) -> int:
    """An amount of memory in KiB."""
    number, _, unit = text.partition(" ")
    return int(number) * _UNITS[unit]


def mac(text: str) -> Mac:
    """A MAC in its one spelling."""
    return Mac(text.lower())


def optional_mac(data: Data) -> Mac | None:
    """The MAC of an object that may have one."""
    return mac(data["mac"]) if "mac" in data else None


def vlan_tags(context: Context, said: Any, origin: Origin) -> VlanTags | None:
    """The VLANs of a port: a number, or tags of which one may be native. Several tags are a trunk."""
    if said is None or isinstance(said, int):
        return None if said is None else VlanTags(tags=(said,))
    tags, native = tuple(said["tags"]), said.get("native")
    if native is not None and native not in tags:
        message = f"the native VLAN {native} isn't among the tags"
        context.error(NOT_TOGETHER, origin.at("native"), message, "Add it to `tags`: libvirt marks one of those.")
    return VlanTags(tags=tags, native=native, trunk=said.get("trunk", False) or len(tags) > 1 or native is not None)


def bandwidths(data: Data | None) -> Bandwidths | None:
    """Traffic limits of both directions."""
    if not data:
        return None
    return Bandwidths(inbound=_bandwidth(data.get("inbound")), outbound=_bandwidth(data.get("outbound")))


def _bandwidth(data: Data | None) -> Bandwidth | None:
    return Bandwidth(**data) if data else None
