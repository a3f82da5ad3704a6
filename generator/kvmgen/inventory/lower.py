"""From valid plain data to the model: defaults, references, derived identities, and what bridges with guests need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kvmgen.diagnostics import Diagnostic, Origin
from kvmgen.inventory.context import NAME_TWICE, Context
from kvmgen.inventory.expectations import expectations
from kvmgen.inventory.filters import lower_filter
from kvmgen.inventory.firewall import bridged_rules, let_guests_talk
from kvmgen.inventory.guests import Surroundings, lower_guest
from kvmgen.inventory.hosts import lower_host
from kvmgen.inventory.identity import Identity
from kvmgen.inventory.isolation import Members, isolated, isolations, members, reads_frames
from kvmgen.inventory.known_filters import own_filter_documents
from kvmgen.inventory.networks import Lease, lower_network, with_leases
from kvmgen.inventory.policies import Names, lower_policies
from kvmgen.inventory.policy_filters import compile_policies
from kvmgen.inventory.read import Documents
from kvmgen.model.builtin_filters import BUILT_IN_FILTERS
from kvmgen.model.filter_trees import FilterTrees
from kvmgen.model.filters import Filter, FilterInclude, iptables_families
from kvmgen.model.guest import Guest
from kvmgen.model.host import Bridge, Firewall, Host, Sysctl
from kvmgen.model.network import Forward, VirtualNetwork
from kvmgen.model.site import Site

_FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


def lower(documents: Documents) -> tuple[Site | None, list[Diagnostic]]:
    """The site and what is wrong with it; nothing where there is no valid site file."""
    if documents.site is None:
        return None, []
    said = documents.site.data
    context = Context(Identity(said["name"]), said.get("domain"), documents.broken)
    preset = said.get("defaults", {})
    filters = _filters(context, documents)
    trees = FilterTrees(filters)
    hosts = {
        name: lower_host(context, name, document, preset.get("hosts", {}))
        for name, document in sorted(documents.hosts.items())
    }
    networks = _networks(context, documents, hosts)
    around = Surroundings(
        hosts=hosts,
        networks=networks,
        filters=trees,
        defaults=preset.get("guests", {}),
        profiles=said.get("profiles", {}),
    )
    lowered = (lower_guest(context, name, document, around) for name, document in sorted(documents.guests.items()))
    guests = {guest.name: guest for guest in lowered if guest is not None}
    names = Names(documents.guests, documents.policies, documents.networks)
    policies = lower_policies(context, documents.policies, names)
    policed = compile_policies(context, policies, guests, hosts, networks, filters)
    guests = policed.guests
    if policed.filters:
        filters = dict(sorted({**policed.filters, **filters}.items()))
        trees = FilterTrees(filters)
    site = Site(
        name=said["name"],
        domain=said.get("domain"),
        hosts=_with_what_guests_need(hosts, networks, guests, filters),
        networks=_with_leases(networks, guests),
        guests=guests,
        filters=filters,
        filter_trees=trees,
        policies=policies,
        expects=expectations(context, said, documents.site.origin),
    )
    return site, context.diagnostics


def _filters(context: Context, documents: Documents) -> dict[str, Filter]:
    """The inventory's filters and kvmgen's own, sorted by name."""
    own = own_filter_documents()
    filters: dict[str, Filter] = {}
    for name, document in sorted({**documents.filters, **own}.items()):
        if name in documents.filters and (name in own or name in BUILT_IN_FILTERS):
            whose = "kvmgen's" if name in own else "libvirt's"
            message = (
                f"the filter {name!r} is {whose} own: every host has it already, under a UUID that isn't this one's"
            )
            hint = "Choose another name, and include that filter in yours: `- filter: NAME` among its rules."
            context.error(NAME_TWICE, documents.filters[name].origin, message, hint)
        uuid = context.uuid(document.data, "filter", name)
        filters[name] = lower_filter(name, document.data, document.origin, uuid)
    for filter_ in filters.values():
        for entry in filter_.entries:
            if isinstance(entry, FilterInclude) and entry.filter not in filters.keys() | BUILT_IN_FILTERS:
                known = filters.keys() | BUILT_IN_FILTERS
                so = "libvirt would take that, and start no guest with it"
                context.no_reference(entry.origin.at("filter"), "filter", entry.filter, known, so)
    return filters


def _networks(
    context: Context, documents: Documents, hosts: Mapping[str, Host]
) -> dict[str, dict[str, VirtualNetwork]]:
    networks: dict[str, dict[str, VirtualNetwork]] = {name: {} for name in hosts}
    for name, document in sorted(documents.networks.items()):
        for network in lower_network(context, name, document, hosts):
            networks[network.host][name] = network
    return networks


def _with_leases(
    networks: Mapping[str, Mapping[str, VirtualNetwork]], guests: Mapping[str, Guest]
) -> dict[str, dict[str, VirtualNetwork]]:
    leases: dict[tuple[str, str], list[Lease]] = {}
    for guest in guests.values():
        for nic in guest.interfaces:
            if nic.network is not None and nic.addressing.addresses:
                lease = Lease(guest.name.partition(".")[0], nic.mac, nic.addressing.addresses, nic.origin)
                for host in guest.hosts:
                    leases.setdefault((host, nic.network), []).append(lease)
    return {
        host: {name: _leasing(network, leases.get((host, name), [])) for name, network in carried.items()}
        for host, carried in networks.items()
    }


def _leasing(network: VirtualNetwork, leases: list[Lease]) -> VirtualNetwork:
    if not leases or not network.forward.makes_bridge:
        return network
    dhcp, dns = with_leases(network, leases)
    return replace(network, dhcp=dhcp, dns=dns, named_from=tuple(lease.origin for lease in leases))


def _with_what_guests_need(
    hosts: Mapping[str, Host],
    networks: Mapping[str, Mapping[str, VirtualNetwork]],
    guests: Mapping[str, Guest],
    filters: Mapping[str, Filter],
) -> dict[str, Host]:
    """The hosts with the kernel settings and packet filter rules that follow from their networks and guests."""
    stateful, groups = iptables_families(filters), members(guests.values(), networks)
    filtered: dict[str, Origin] = {}
    bridges: dict[str, set[str]] = {}
    for guest in guests.values():
        for nic in guest.interfaces:
            for host in guest.hosts:
                if nic.bridge is not None:
                    bridges.setdefault(host, set()).add(nic.bridge)
                if nic.filterref is not None and nic.filterref.filter in stateful:
                    filtered.setdefault(host, nic.origin)
    for host, carried in networks.items():
        for network in carried.values():
            if network.bridge and not network.forward.makes_bridge:
                bridges.setdefault(host, set()).add(network.bridge)
    return {
        name: _completed(host, networks[name].values(), bridges.get(name, set()), filtered.get(name), groups)
        for name, host in hosts.items()
    }


def _completed(
    host: Host,
    networks: Iterable[VirtualNetwork],
    guest_bridges: set[str],
    filtered: Origin | None,
    groups: Members,
) -> Host:
    netfilter = host.bridge_netfilter
    networks = tuple(networks)
    libvirts = [network.bridge for network in networks if network.bridge and network.forward.makes_bridge]
    apart = isolations(host, networks, groups)
    needs = [isolation.origin for isolation in apart if reads_frames(isolation, host.platform)]
    needs += bridged_rules(host.firewall, guest_bridges, libvirts)
    needs += [filtered] if filtered is not None else []
    firewall = isolated(host, apart)
    if netfilter is None and needs and not any(map(_switches_bridges_off, host.sysctl)):
        netfilter = True
    bridges = [bridge for bridge in host.bridges if bridge.name in guest_bridges and _lets_frames_pass(bridge)]
    if netfilter and bridges:
        origin = host.origin if firewall is None else firewall.origin
        firewall = let_guests_talk(host.platform, firewall or Firewall(origin=origin), bridges)
    settings = (*_forwarding(host, networks), *host.sysctl)
    for_what = tuple(dict.fromkeys(needs))
    return replace(
        host,
        bridge_netfilter=netfilter,
        bridge_netfilter_for=for_what,
        firewall=firewall,
        sysctl=settings,
        isolations=apart,
    )


def _lets_frames_pass(bridge: Bridge) -> bool:
    """Whether frames between its ports come to firewalld, and shall pass."""
    return not bridge.openvswitch and bridge.isolation != "all"


def _switches_bridges_off(setting: Sysctl) -> bool:
    """Whether the inventory says itself that bridged frames pass by: it isn't overruled, but told by a check."""
    return setting.value == "0" and setting.key.replace("/", ".").startswith("net.bridge.bridge-nf-call-ip")


def _forwarding(host: Host, networks: Iterable[VirtualNetwork]) -> list[Sysctl]:
    """The forwarding that routed networks need, where the inventory doesn't say anything of it."""
    said = {setting.key for setting in host.sysctl}
    derived: dict[str, Sysctl] = {}
    for network in networks:
        if network.forward in (Forward.NAT, Forward.ROUTE, Forward.OPEN):
            for version in sorted({address.version for address in network.addresses}):
                key = _FORWARDING[version]
                if key not in said and key not in derived:
                    why = f"The network {network.libvirt_name} is routed."
                    derived[key] = Sysctl(key=key, value="1", origin=network.at("forward"), why=why)
    return list(derived.values())
