"""What `ip` says of links, held against the model, where NetworkManager brings them up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv6Address
from typing import Any

from kvmgen.model.host import Bridge, Host, Link
from kvmgen.render._keyfile_keys import KERNELS_METRIC


def link_local_of(mac: str) -> str:
    """The link-local address that follows from a MAC (EUI-64)."""
    parts = [int(part, 16) for part in mac.split(":")]
    parts[0] ^= 2
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + bytes(parts[:3]) + b"\xff\xfe" + bytes(parts[3:])))


def assert_addresses(link: Link, found: dict[str, Any]) -> None:
    """A link has its own addresses in their order, and the link-local one of its MAC; a port has none."""
    there = [f"{one['local']}/{one['prefixlen']}" for one in found["addr_info"]]
    if link.bond or link.bridge:
        assert there == [], link.name
        return
    derived = set() if "NO-CARRIER" in found["flags"] else {f"{link_local_of(found['address'])}/64"}
    wanted = {str(address) for address in link.addressing.addresses}
    if link.addressing.dhcp4:
        wanted |= {one for one in there if "." in one}
    assert sorted(there) == sorted(derived | wanted), link.name
    for version in (4, 6):
        of_version = [str(one) for one in link.addressing.addresses if one.version == version]
        assert [one for one in there if one in of_version] == of_version, link.name


def assert_bridge(bridge: Bridge, found: dict[str, Any]) -> None:
    """Spanning tree and its delay; without it the delay means nothing to the kernel."""
    data = found["linkinfo"]["info_data"]
    assert data["stp_state"] == int(bridge.stp), bridge.name
    assert not bridge.stp or data["forward_delay"] == bridge.forward_delay * 100, bridge.name


def assert_routes(host: Host, found: Sequence[dict[str, Any]], dhcp: Collection[str] = ()) -> None:
    """Every route of the model with its metric, and of other routes through a gateway only those of links of `dhcp`."""
    there = {
        (route["dst"], route["gateway"], route["dev"], route.get("metric", 0)) for route in found if "gateway" in route
    }
    wanted = {
        (
            "default" if route.to is None else str(route.to),
            str(route.via),
            link.name,
            KERNELS_METRIC[route.version] if route.metric is None else route.metric,
        )
        for link in host.links
        for route in link.addressing.routes
    }
    assert wanted <= there
    assert {device for _, _, device, _ in there - wanted} == set(dhcp)
