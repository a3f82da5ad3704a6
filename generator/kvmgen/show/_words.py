"""Values in the inventory's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.host import Addressing
from kvmgen.model.site import Site
from kvmgen.model.values import Dns

_UNITS = ((1024**3, "TiB"), (1024**2, "GiB"), (1024, "MiB"))


def present(words: Mapping[str, Any]) -> dict[str, Any]:
    """What is said: neither nothing nor empty."""
    return {key: value for key, value in words.items() if value not in (None, "", [], {}, ())}


def texts(values: Iterable[object]) -> list[str]:
    """Each as its text."""
    return [str(value) for value in values]


def amount(kib: int | None) -> str | None:
    """An amount of memory with the largest unit that it is a multiple of."""
    if kib is None:
        return None
    size, unit = next(((size, unit) for size, unit in _UNITS if kib and kib % size == 0), (1, "KiB"))
    return f"{kib // size} {unit}"


def addressing(said: Addressing) -> dict[str, Any]:
    """A link's or an interface's addresses and routes."""
    routes = [
        present({"to": str(route.to or "default"), "via": str(route.via), "metric": route.metric})
        for route in said.routes
    ]
    asked = {"dhcp4": said.dhcp4 or None, "dhcp6": said.dhcp6 or None, "accept-ra": said.accept_ra or None}
    return present({"addresses": texts(said.addresses), **asked, "routes": routes})


def resolver(dns: Dns) -> dict[str, Any]:
    """A resolver's settings."""
    return present({"servers": texts(dns.servers), "search": list(dns.search)})


def plugs(site: Site, wanted: Any) -> list[str]:
    """The interfaces of guests for which ``wanted`` is true, as ``GUEST (INTERFACE)``."""
    return [interface(guest, nic) for guest, nic in site.nics() if wanted(guest, nic)]


def interface(guest: Guest, nic: GuestInterface) -> str:
    """An interface as people call it."""
    return f"{guest.name} ({nic.name})"
