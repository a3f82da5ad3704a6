"""What libvirt does with the definition of a virtual network."""

from __future__ import annotations

from functools import partial

from kvmgen.render.facts.fact import Fact

_FORMAT = "https://libvirt.org/formatnetwork.html"

_fact = partial(Fact, file=r"libvirt/networks/.+\.xml", source=f"{_FORMAT}#addressing")

NETWORKS: tuple[Fact, ...] = (
    _fact(
        line="<uuid>",
        reason="made of the site's, the host's and the network's name: a definition with another UUID, or none, is "
        "refused where the network exists",
        source="measured on libvirt 9.0",
        rules=("KV404",),
    ),
    _fact(
        line="<mac address=",
        reason="the bridge's own MAC, made of host and network: a definition without one gets a new random MAC every "
        "time",
        source="measured on libvirt 9.0",
        rules=("KV401",),
    ),
    _fact(
        line="<forward .*mode='nat'",
        reason="libvirt lets answers in and masquerades what leaves the subnet; nothing from outside reaches a guest",
        source="https://libvirt.org/firewall.html",
        rules=("KV319", "KV320", "KV631"),
    ),
    _fact(
        line="<forward .*mode='route'",
        reason="libvirt lets packets of the subnet pass both ways, without translating them; the outside must know the "
        "way",
        source="https://libvirt.org/firewall.html",
        rules=("KV319", "KV327"),
    ),
    _fact(
        line="<forward .*mode='bridge'",
        reason="guests are ports of the host's bridge: libvirt runs no address, DHCP or DNS there, and refuses them",
        source=f"{_FORMAT}#connectivity",
        rules=("KV302",),
    ),
    _fact(
        line="<nat ipv6='yes'",
        reason="libvirt translates IPv6 only where it is told, since 6.5",
        source=f"{_FORMAT}#connectivity",
        rules=("KV303", "KV322"),
    ),
    _fact(
        line="<port start=",
        reason="the source ports of what is masqueraded",
        source=f"{_FORMAT}#connectivity",
        rules=("KV320",),
    ),
    _fact(
        line="<bridge .*stp='on' delay='0'",
        reason="libvirt's defaults written out, for it writes them back: the bridge has no uplink that could make a "
        "loop, and a guest's port forwards at once",
        source=f"{_FORMAT}#connectivity",
    ),
    _fact(
        line="<bridge name=",
        reason="the kernel's names have at most 15 bytes, and one bridge is one network's: libvirt takes a longer name "
        "and fails when the network starts",
        source="measured on libvirt 9.0",
        rules=("KV302",),
    ),
    _fact(
        line="<ip address=",
        reason="the host's own address there, with the mask that libvirt writes back for IPv4",
        rules=("KV102", "KV105"),
    ),
    _fact(line="<ip family='ipv6'", reason="IPv6 must name its family, and has a prefix length", rules=("KV102",)),
    _fact(
        line="<range ",
        reason="what dnsmasq leases to whoever isn't known; libvirt takes one that holds the host's own address, and a "
        "check doesn't",
        rules=("KV304", "KV313", "KV314", "KV315"),
    ),
    _fact(
        line="<host mac=",
        reason="the guest's own address as a fixed lease, so that one that asks DHCP gets what its filter knows",
        rules=("KV307", "KV308"),
    ),
    _fact(
        line="<host name='[^']*' ip='[^']*:",
        reason="for IPv6 libvirt refuses a MAC: the guest is known by the name that it sends",
        rules=("KV309",),
    ),
    _fact(
        line="<(host ip=|hostname)",
        reason="the guests' names in the network's own DNS, whether they ask DHCP or not",
        source=f"{_FORMAT}#addressing",
        rules=("KV115",),
    ),
    _fact(
        line="<domain name=",
        reason="what dnsmasq appends to the names that it knows",
        source=f"{_FORMAT}#addressing",
        rules=("KV335",),
    ),
    _fact(
        line="<portgroup ",
        reason="libvirt has no isolated ports in a portgroup: each guest's interface that asks for one says it itself",
        source=f"{_FORMAT}#portgroups",
        rules=("KV328", "KV342"),
    ),
    _fact(
        line="<port isolated='yes'",
        reason="two isolated ports of a bridge exchange no frame, ARP included, since libvirt 6.1; the host and what "
        "it routes still reach them",
        source="https://libvirt.org/formatdomain.html#isolating-guests-network-traffic-from-each-other",
        rules=("KV413", "KV644"),
    ),
    _fact(
        line="<(inbound|outbound) ",
        reason="in KiB a second, bursts in KiB; inbound is towards the guests",
        source=f"{_FORMAT}#quality-of-service",
        rules=("KV329", "KV330", "KV331"),
    ),
    _fact(
        line="<route ",
        reason="a route that libvirt sets on the host while the network runs",
        source=f"{_FORMAT}#static-routes",
        rules=("KV323", "KV324"),
    ),
)
