"""`isolation` of a host's bridge: where it can't be held, and what it doesn't stop."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._bridged import off_at, on_bridges, with_guests
from kvmgen.checks._iptables import written
from kvmgen.checks._sysctl import is_on, settings
from kvmgen.checks._words import DROPS
from kvmgen.checks.zones import forwards
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.host import DEFAULT_ZONE, Bridge, Host, Policy
from kvmgen.model.site import Site

NOT_SEEN = Rule(code="KV642", title="Isolation without the bridge netfilter that it needs")
ENDS_AT_THE_HOST = Rule(
    code="KV643", title="Isolated guests that reach each other by their uplink", severity=Severity.WARNING
)
ROUTED = Rule(code="KV644", title="Isolated guests that their host routes between", severity=Severity.WARNING)
POLICY_OF_ONE_BRIDGE = Rule(code="KV645", title="A policy where isolation is meant")

_FORWARDING = ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv6.conf.all.forwarding")


def not_seen(site: Site) -> Iterator[Diagnostic]:
    """Up to el8 iptables keeps guests apart, and sees frames between the ports of a bridge by bridge netfilter alone.

    With it off the rules are loaded and listed, and every frame passes. From el9 on nftables sees frames itself.

    Bad::

        # hosts/kvm01.yaml
        platform: el8.6
        br11: {ports: [bond0.11], isolation: guests}
        firewall: {bridge-netfilter: false}

    Good::

        # hosts/kvm01.yaml
        platform: el8.6
        br11: {ports: [bond0.11], isolation: guests}
        firewall: {bridge-netfilter: true}

    Source: bridge-nf-call-iptables in https://docs.kernel.org/networking/ip-sysctl.html.
    """
    for host in site.hosts.values():
        off = None if host.platform.isolates_by_nftables else off_at(host, "ipv4") or off_at(host, "ipv6")
        for isolation in host.isolations:
            if off is not None and not isolation.by_ports:
                yield Diagnostic(
                    rule=NOT_SEEN,
                    message=f"{host.platform} keeps the guests on {isolation.bridge} apart by rules that need bridge "
                    "netfilter, which is off",
                    hint="Leave `bridge-netfilter` and the keys net.bridge.bridge-nf-call-* out. el9 doesn't need "
                    "them.",
                    origin=isolation.origin,
                    related=((off, "switches it off"),),
                )


def _isolated(site: Site) -> Iterator[tuple[Host, Bridge]]:
    for host in site.hosts.values():
        yield from ((host, bridge) for bridge in host.bridges if bridge.isolation)


def ends_at_the_host(site: Site) -> Iterator[Diagnostic]:
    """A host keeps the guests of its own bridge apart. Those of another host's bridge come in by the uplink.

    The uplink is open but with `isolation: all`, so that on one layer-2 segment guests of two hosts reach each other,
    whatever their groups. A private VLAN on the switches (or `isolation` on one host alone, with the guests all there)
    does what the hosts can't.

    Bad::

        # hosts/kvm01.yaml
        br11: {ports: [bond0.11], segment: dmz, isolation: guests}
        # hosts/kvm02.yaml
        br11: {ports: [eno1], segment: dmz, isolation: guests}

    Good::

        # hosts/kvm01.yaml
        # The switch has a private VLAN.
        # kvmgen: ignore KV643 -- VLAN 11 is private on the switches
        br11: {ports: [bond0.11], segment: dmz, isolation: guests}
        # hosts/kvm02.yaml
        br11: {ports: [eno1], segment: dmz, isolation: guests}

    Source: https://datatracker.ietf.org/doc/html/rfc5517 (private VLANs).
    """
    isolated = {(host.name, bridge.name): bridge for host, bridge in _isolated(site) if _is_open(bridge)}
    if not isolated:
        return
    places = {(host.name, bridge.name): bridge for host in site.hosts.values() for bridge in host.bridges}
    guests: dict[str, dict[tuple[str, str], set[_Guest]]] = {}
    for place, guest, nic in on_bridges(site, site.hosts):
        if place in places and _is_open(places[place]):
            in_group = (guest.name, nic.isolation_group)
            guests.setdefault(places[place].segment, {}).setdefault(place, set()).add(in_group)
    told: set[str] = set()
    for place, bridge in isolated.items():
        other = _elsewhere(place, guests.get(bridge.segment, {}))
        if other is not None and bridge.segment not in told:
            told.add(bridge.segment)
            yield Diagnostic(
                rule=ENDS_AT_THE_HOST,
                message=f"guests on {bridge.name} of {place[0]} and those on {other[1]} of {other[0]} still reach each "
                f"other: by the uplinks, in the segment {bridge.segment!r}",
                hint="Have the switches keep them apart (a private VLAN), and silence this with a word about it.",
                origin=bridge.origin.at("isolation"),
                related=((places[other].origin, "the other bridge"),),
            )


_Guest = tuple[str, str | None]
"""A guest's name, and the group that it is in."""


def _is_open(bridge: Bridge) -> bool:
    """Whether guests on the bridge reach an uplink."""
    return bool(bridge.ports) and bridge.isolation != "all"


def _elsewhere(place: tuple[str, str], guests: dict[tuple[str, str], set[_Guest]]) -> tuple[str, str] | None:
    """A bridge of another host with a guest from which one here is to be kept."""
    here = guests.get(place, set())
    for other, there in guests.items():
        if other[0] != place[0] and any(_are_apart(one, another) for one in here for another in there):
            return other
    return None


def _are_apart(one: _Guest, other: _Guest) -> bool:
    return one[0] != other[0] and (one[1] is None or one[1] != other[1])


def routed(site: Site) -> Iterator[Diagnostic]:
    """What a guest sends to its host to be routed goes back to the same bridge, and to the guest that it was to avoid.

    Isolation is about frames between guests. Where the host has an address on the bridge and forwards, a guest needs
    only a route by the host to get a packet to its neighbour. Up to el8 a direct rule stops that, from el9 on a zone
    that doesn't forward.

    Bad::

        # hosts/kvm01.yaml
        br11: {ports: [bond0.11], addresses: [198.51.100.1/24], zone: guests, isolation: guests}
        firewall:
          zones:
            guests: {forward: true}

    Good::

        # hosts/kvm01.yaml
        br11: {ports: [bond0.11], addresses: [198.51.100.1/24], zone: guests, isolation: guests}
        firewall:
          zones:
            guests: {forward: true}
          direct:
            # Not the frames between ports, but what the host routes.
            - family: both
              table: mangle
              chain: FORWARD
              rule: "-i br11 -o br11 -m physdev ! --physdev-is-bridged -j DROP"

    Source: `forward` in https://firewalld.org/documentation/man-pages/firewalld.zone.html; net.ipv4.ip_forward in
    https://docs.kernel.org/networking/ip-sysctl.html.
    """
    for host, bridge in _isolated(site):
        if not bridge.addressing.is_empty and is_on(settings(host), *_FORWARDING) and _lets_back(site, host, bridge):
            yield Diagnostic(
                rule=ROUTED,
                message=f"{host.name} forwards and has an address on {bridge.name}: its guests reach each other by it",
                hint=_remedy(host, bridge),
                origin=bridge.origin.at("isolation"),
            )


def _remedy(host: Host, bridge: Bridge) -> str:
    if host.platform.has_direct_rules:
        rule = f"-i {bridge.name} -o {bridge.name} -m physdev ! --physdev-is-bridged -j DROP"
        return f"Write a direct rule for both families in table mangle, chain FORWARD: '{rule}'."
    if host.bridge_netfilter:
        return "Take the address from the bridge: another machine than the host should be the guests' gateway."
    return "Put the bridge into a zone of its own without `forward`."


def _lets_back(site: Site, host: Host, bridge: Bridge) -> bool:
    """Whether a routed packet may leave by the bridge that it came from."""
    if any(node is host and read.bridge == bridge.name and read.target in DROPS for node, _, read in written(site)):
        return False
    if host.platform.firewalld is None:
        return host.firewall is None or ("ipv4", "FORWARD", "DROP") not in host.firewall.chain_policies
    zones = host.firewall.zones if host.firewall else ()
    zone = next((zone.name for zone in zones if bridge.name in zone.interfaces), bridge.zone or DEFAULT_ZONE)
    return forwards(host, zone) and not any(_closes(policy, zone) for policy in _policies(host))


def _policies(host: Host) -> tuple[Policy, ...]:
    return host.firewall.policies if host.firewall else ()


def _closes(policy: Policy, zone: str) -> bool:
    return policy.target in DROPS and zone in policy.ingress_zones and zone in policy.egress_zones


def policies_of_one_bridge(site: Site) -> Iterator[Diagnostic]:
    """A policy from a zone to itself that drops, for guests on the zone's only bridge: no guest is kept apart by it.

    Frames between the ports of a bridge come to firewalld with bridge netfilter alone; and with that, the guests' way
    to the uplink, a port like theirs, is dropped as well.

    Bad::

        # hosts/kvm01.yaml
        br11: {ports: [bond0.11], zone: guests}
        policies:
          apart: {ingress-zones: [guests], egress-zones: [guests], target: DROP}

    Good::

        # hosts/kvm01.yaml
        br11: {ports: [bond0.11], zone: guests, isolation: guests}

    Source: https://firewalld.org/documentation/man-pages/firewalld.policies.html; bridge-nf-call-iptables in
    https://docs.kernel.org/networking/ip-sysctl.html.
    """
    hosts = {name: host for name, host in site.hosts.items() if _policies(host)}
    for (name, bridge_name), nic in with_guests(site, hosts).items():
        host = hosts[name]
        for zone in host.firewall.zones if host.firewall else ():
            if zone.interfaces == (bridge_name,) and not zone.sources:
                closing = (policy for policy in _policies(host) if _closes(policy, zone.name))
                bridge = next(bridge for bridge in host.bridges if bridge.name == bridge_name)
                yield from (_not_apart(host, bridge, policy, nic) for policy in closing if _is_meant(host, bridge))


def _is_meant(host: Host, bridge: Bridge) -> bool:
    """Whether the policy does otherwise than it looks; without a port it holds, but for ARP."""
    return not bridge.isolation and not (host.bridge_netfilter and not bridge.ports)


def _not_apart(host: Host, bridge: Bridge, policy: Policy, nic: Origin) -> Diagnostic:
    if host.bridge_netfilter:
        message = f"the policy also drops what guests on {bridge.name} send and receive by {' and '.join(bridge.ports)}"
    else:
        message = f"the policy doesn't keep the guests on {bridge.name} apart: firewalld sees no frame between them"
    return Diagnostic(
        rule=POLICY_OF_ONE_BRIDGE,
        message=message,
        hint="Write `isolation: guests` at the bridge.",
        origin=policy.origin.at("target"),
        related=((nic, "a guest on the bridge"),),
    )
