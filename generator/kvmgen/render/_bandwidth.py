"""``<bandwidth>``, which networks, portgroups and a guest's interfaces share."""

from __future__ import annotations

from kvmgen.model.values import Bandwidth, Bandwidths
from kvmgen.render._xml import Element, el


def bandwidth(limits: Bandwidths | None) -> Element | None:
    """The limits of both directions, or nothing where there are none.

    Source: https://libvirt.org/formatnetwork.html#quality-of-service. Rates are in KiB/s, bursts in KiB.
    """
    if limits is None or (limits.inbound is None and limits.outbound is None):
        return None
    return el("bandwidth", {}, _direction("inbound", limits.inbound), _direction("outbound", limits.outbound))


def _direction(tag: str, limit: Bandwidth | None) -> Element | None:
    if limit is None:
        return None
    return el(tag, {"average": limit.average, "peak": limit.peak, "floor": limit.floor, "burst": limit.burst})
