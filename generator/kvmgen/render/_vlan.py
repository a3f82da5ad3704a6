"""``<vlan>`` and ``<virtualport>``, which networks, port groups and a guest's interfaces share."""

from __future__ import annotations

from kvmgen.model.values import VlanTags
from kvmgen.render._xml import Element, el

OPENVSWITCH = el("virtualport", {"type": "openvswitch"})


def vlan(tags: VlanTags | None) -> Element | None:
    """The tags of a port, as libvirt writes them back: several are a trunk, and a native one is untagged.

    Source: https://libvirt.org/formatdomain.html#setting-vlan-tag-on-supported-network-types-only.
    """
    if tags is None:
        return None
    native = {tags.native: "untagged"}
    elements = (el("tag", {"id": tag, "nativeMode": native.get(tag)}) for tag in tags.tags)
    return el("vlan", {"trunk": "yes" if tags.trunk else None}, elements)
