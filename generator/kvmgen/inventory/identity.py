"""Identities that nobody has to write down: UUIDs and MACs derived from names.

They depend on the site's and the object's name alone, never on a host, a position in a list or a clock, so that a guest
that moves stays who it is. A network's depend on its host too, because each host has one of its own.
"""

from __future__ import annotations

from hashlib import sha256
from uuid import NAMESPACE_URL, UUID, uuid5

from kvmgen.model.values import Mac, Uuid

_NAMESPACE = uuid5(NAMESPACE_URL, "kvmgen")


class Identity:
    """The derived identities of one site."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._namespace: UUID = uuid5(_NAMESPACE, site)

    def uuid(self, *names: str) -> Uuid:
        """A UUID for an object, such as ``("guest", "web01")``."""
        return Uuid(str(uuid5(self._namespace, "/".join(names))))

    def mac(self, *names: str) -> Mac:
        """A MAC of QEMU's range: 52:54, then 32 bits of a hash of the site and the names."""
        digest = sha256("/".join((self._site, *names)).encode()).digest()
        return Mac(f"52:54:{digest[:4].hex(':')}")
