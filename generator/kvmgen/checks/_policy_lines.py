"""What lines of policies say of each other: which covers which, and where they meet."""

from __future__ import annotations

from collections.abc import Sequence

from kvmgen.model.policy import ADDRESS, Entry, Peer


def serves(one: Entry, other: Entry) -> bool:
    """Whether two lines have a service and an IP version in common."""
    same = any(first.overlaps(second) for first in one.services for second in other.services)
    return same and bool(set(one.versions) & set(other.versions))


def overlap(one: Entry, other: Entry) -> bool:
    """Whether something is known to be meant by both."""
    if not serves(one, other):
        return False
    return not one.peers or not other.peers or any(meet(a, b) for a in one.peers for b in other.peers)


def meet(one: Peer, other: Peer) -> bool:
    """Whether two peers are known to have an address in common."""
    if one.network is not None and other.network is not None:
        return one.network.version == other.network.version and one.network.overlaps(other.network)
    return one == other


def covers(wide: Entry, narrow: Entry) -> bool:
    """Whether a line allows all that another one does, under the same limit."""
    return (
        wide.connections == narrow.connections
        and set(narrow.versions) <= set(wide.versions)
        and all(any(one.covers(other) for one in wide.services) for other in narrow.services)
        and (not wide.peers or (bool(narrow.peers) and all(_among(peer, wide.peers) for peer in narrow.peers)))
    )


def _among(peer: Peer, peers: Sequence[Peer]) -> bool:
    return any(peer == other or _inside(peer, other) for other in peers)


def _inside(peer: Peer, other: Peer) -> bool:
    if peer.kind != ADDRESS or other.kind != ADDRESS or peer.network is None or other.network is None:
        return False
    if peer.network.version != other.network.version:
        return False
    mask = other.network.prefixlen
    return mask <= peer.network.prefixlen and peer.network.supernet(new_prefix=mask) == other.network
