"""Subnets that lie in each other, found by sorting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kvmgen.diagnostics import Origin
from kvmgen.model.values import Network


class Use(NamedTuple):
    """A subnet and what it is used for; ``key`` is what sorts a subnet in front of those that lie in it."""

    key: tuple[int, int, int]
    network: Network
    kind: str
    owner: str
    origin: Origin

    def __str__(self) -> str:
        return f"{self.network} of {self.kind} {self.owner}"


def use(network: Network, kind: str, owner: str, origin: Origin) -> Use:
    """A use of a subnet."""
    return Use((network.version, int(network.network_address), network.prefixlen), network, kind, owner, origin)


def nested(uses: Iterable[Use]) -> Iterator[tuple[Use, Use]]:
    """Every use with those that it lies in or is equal to, as (outer, inner), nearest first.

    Subnets never overlap but by one lying in the other. Sorted by their first address, longer ones first, those
    around the current one are always at the end of the list of those that are still open.
    """
    around: list[Use] = []
    for inner in sorted(uses, key=lambda one: one.key):
        while around and not _contains(around[-1], inner):
            around.pop()
        for outer in reversed(around):
            yield outer, inner
        around.append(inner)


def _contains(outer: Use, inner: Use) -> bool:
    version, start, length = outer.key
    shift = outer.network.max_prefixlen - length
    return version == inner.key[0] and inner.key[1] >> shift == start >> shift
