"""Filters beside the interfaces, taps and hosts that they are for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kvmgen.checks._filter_use import Use, uses
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.filters import ICMPV6_SINCE, READ_SINCE, Filter, FilterRule
from kvmgen.model.guest import GuestInterface
from kvmgen.model.host import Host
from kvmgen.model.site import Site

UNUSED = Rule(code="KV533", title="A filter that nobody uses", severity=Severity.WARNING)
CHAIN_NAME = Rule(code="KV534", title="A chain and a tap whose names are too long together")
ADVERTISED = Rule(code="KV553", title="A guest that an old libvirt lets be a router", severity=Severity.WARNING)
MISREAD = Rule(code="KV535", title="A filter's attribute that an old libvirt doesn't read")


def unused(site: Site) -> Iterator[Diagnostic]:
    """A filter that no interface names, and no filter in use includes, is written for no host.

    Often the name on the interface or in the include is what is missing, and the guests are without the protection that
    somebody meant them to have.

    Bad::

        # filters/mail.yaml
        chain: root
        rules:
          - {priority: 400, action: drop, direction: out, tcp: {dstportstart: 25}}

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.10/24], filter: kvmgen-anti-spoofing-ipv4}

    Good::

        # filters/mail.yaml
        chain: root
        rules:
          - {priority: 400, action: drop, direction: out, tcp: {dstportstart: 25}}
          - filter: kvmgen-anti-spoofing-ipv4

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.10/24], filter: lists}

        # filters/lists.yaml
        - filter: mail

    Source: libvirt's "Concepts": a filter takes effect by an interface's reference to it
    (https://libvirt.org/formatnwfilter.html).
    """
    named = {use.filter: use.tree.names for use in uses(site)}
    used = frozenset().union(*named.values())
    for name, filter_ in site.filters.items():
        if name not in used and filter_.origin.file.startswith("filters/"):  # those of policies are made for a use
            yield Diagnostic(
                rule=UNUSED,
                message=f"no interface names the filter {name}, and no filter in use includes it: it reaches no host",
                hint="Name it where it is meant, or remove the file.",
                origin=filter_.origin,
            )


_LONGEST = 25
"""Of tap and chain together: ebtables writing nftables takes 28 characters, and libvirt's chains are `J-TAP-CHAIN`."""
_LONGEST_CHAIN = 12
_LIBVIRTS_TAPS = ("vnet", "vif", "macvtap", "macvlan")
"""libvirt drops a target's name that starts so, and takes a short one of its own."""


def chain_names(site: Site) -> Iterator[Diagnostic]:
    """libvirt makes a chain J-TAP-CHAIN for each chain of an interface's filter, and ebtables takes 28 characters.

    From el8 on ebtables writes nftables rules, and with more than 25 characters in tap and chain together it refuses
    the jump to the chain: the guest doesn't start. A tap that libvirt names itself (vnet7) is always short enough.

    Bad::

        # guests/web01.yaml
        eth0:
          network: default
          addresses: [192.168.122.10/24]
          target: web01-frontend
          filter: web

        # filters/lan-only.yaml
        chain: ipv4-lanonly

    Good::

        # guests/web01.yaml
        eth0:
          network: default
          addresses: [192.168.122.10/24]
          target: web01-frontend
          filter: web

        # filters/lan-only.yaml
        chain: ipv4-lan

    Source: the names of chains in libvirt's driver
    (https://gitlab.com/libvirt/libvirt/-/blob/master/src/nwfilter/nwfilter_ebiptables_driver.c); ebtables' "Invalid
    target name (28 chars max)", in the source of iptables (https://git.netfilter.org/iptables/).
    """
    for use in uses(site):
        tap = use.nic.target
        if tap is None or len(tap) + _LONGEST_CHAIN <= _LONGEST or tap.startswith(_LIBVIRTS_TAPS):
            continue
        if any(host.platform.major >= 8 for host in _hosts(site, use)):
            yield from _too_long(site, use, tap)


def _too_long(site: Site, use: Use, tap: str) -> Iterator[Diagnostic]:
    for filter_ in _filters(site, use):
        if filter_.chain != "root" and len(tap) + len(filter_.chain) > _LONGEST:
            yield Diagnostic(
                rule=CHAIN_NAME,
                message=f"ebtables can't make the chain {filter_.chain} for the tap {tap}: their names have "
                f"{len(tap) + len(filter_.chain)} characters, and {_LONGEST} is the most",
                hint="Shorten one of them, or leave `target` out.",
                origin=use.nic.origin.at("target"),
                related=((filter_.origin.at("chain"), "the chain"),),
            )


def _hosts(site: Site, use: Use) -> Iterator[Host]:
    return (site.hosts[name] for name in use.guest.hosts if name in site.hosts)


def _filters(site: Site, use: Use) -> Iterator[Filter]:
    return (site.filters[name] for name in sorted(use.tree.names) if name in site.filters)


_NEWEST = max(READ_SINCE.values())


def misread(site: Site) -> Iterator[Diagnostic]:
    """libvirt skips an attribute that it doesn't know, without a word, and the rule then fits more than it says.

    On el6 (libvirt 0.10.2) `drop ICMPv6 type 134` in an `ipv6` rule drops all ICMPv6, and an ARP address without its
    mask is a single address.

    Bad::

        # hosts/kvm01.yaml
        platform: el6

        # filters/no-routers.yaml
        - {priority: 400, action: drop, direction: out, ipv6: {protocol: icmpv6, type: 134}}

    Good::

        # hosts/kvm01.yaml
        platform: el7

        # filters/no-routers.yaml
        - {priority: 400, action: drop, direction: out, ipv6: {protocol: icmpv6, type: 134}}

    Source: the attributes that libvirt's parser knows, and since when
    (https://gitlab.com/libvirt/libvirt/-/commits/master/src/conf/nwfilter_conf.c).
    """
    if all(host.platform.libvirt >= _NEWEST for host in site.hosts.values()):
        return
    for use in uses(site):
        for host in _hosts(site, use):
            if host.platform.libvirt < _NEWEST:
                for filter_ in _filters(site, use):
                    yield from _not_read(use, host, filter_)


def _not_read(use: Use, host: Host, filter_: Filter) -> Iterator[Diagnostic]:
    for entry in filter_.entries:
        if not isinstance(entry, FilterRule) or entry.match is None:
            continue
        protocol = entry.match.protocol
        for attribute, _ in entry.match.attributes:
            since = READ_SINCE.get((protocol, attribute))
            ours = filter_.origin.is_kvmgens
            made_for_that = ours and since == ICMPV6_SINCE
            if since is None or host.platform.libvirt >= since or made_for_that:
                continue
            needs, has = (".".join(map(str, version)) for version in (since, host.platform.libvirt))
            yield Diagnostic(
                rule=MISREAD,
                message=f"{host.name} ({host.platform}) has libvirt {has}, which skips {attribute} of {protocol} in "
                f"the filter {filter_.name}: it reads it since {needs}",
                hint="Write the rule without it, or keep the guest from that host.",
                origin=use.place if ours else entry.origin.at(protocol, attribute),
                related=((host.origin.at("platform"), "the platform"),),
            )


def advertised(site: Site) -> Iterator[Diagnostic]:
    """libvirt before 1.2.12 (el6) doesn't read the type of an ICMPv6 message in a frame, so that all types pass there.

    kvmgen's anti-spoofing lets ICMPv6 pass by its types. On el6 it is all of it: a guest may advertise itself as the
    segment's router, and whoever listens to such advertisements sends it what was to leave the segment. A rule on
    ``icmpv6`` knows the type there too, and so does a policy that names what goes out.

    Bad::

        # hosts/kvm06.yaml
        platform: el6

        # guests/old01.yaml
        eth0: {bridge: br0, addresses: ["2001:db8:6::20/64"]}

    Good::

        # hosts/kvm06.yaml
        platform: el6

        # guests/old01.yaml
        eth0: {bridge: br0, addresses: ["2001:db8:6::20/64"], policies: [asks]}

        # policies/asks.yaml
        allow-out: [dns, http, https]

    Source: the attributes that libvirt's parser knows, and since when
    (https://gitlab.com/libvirt/libvirt/-/commits/master/src/conf/nwfilter_conf.c); what such advertisements do:
    https://www.rfc-editor.org/rfc/rfc6104.
    """
    if all(host.platform.libvirt >= ICMPV6_SINCE for host in site.hosts.values()):
        return
    for guest, nic in site.nics():
        hosts = (site.hosts[name] for name in guest.hosts if name in site.hosts)
        old = next((host for host in hosts if host.platform.libvirt < ICMPV6_SINCE), None)
        names = site.filter_trees.of(nic.filterref.filter).names if old is not None and nic.filterref else frozenset()
        if old is not None and _BY_TYPES in names and not _closes_out(site, nic, names):
            yield Diagnostic(
                rule=ADVERTISED,
                message=f"{guest.name} ({nic.name}) can advertise itself as a router on {old.name}: {old.platform}'s "
                "libvirt doesn't read the types by which anti-spoofing lets ICMPv6 pass",
                hint="Say in a policy what it may ask (`allow-out`), or drop `icmpv6: {type: 134}` in a filter of your "
                "own beside kvmgen's; or let the switch guard the segment.",
                origin=nic.origin,
                related=((old.origin.at("platform"), "the platform"),),
            )


_BY_TYPES = "kvmgen-icmpv6"


def _closes_out(site: Site, nic: GuestInterface, filters: Iterable[str]) -> bool:
    """Whether a rule of the packet filter's holds the advertisements: what policies leave, or one on their type."""
    policies = (site.policies[name] for name in nic.policies if name in site.policies)
    if any(policy.allow_out is not None for policy in policies):
        return True
    entries = (entry for name in filters if name in site.filters for entry in site.filters[name].entries)
    return any(isinstance(entry, FilterRule) and _holds_routers(entry) for entry in entries)


def _holds_routers(rule: FilterRule) -> bool:
    if rule.match is None or rule.action not in ("drop", "reject") or rule.direction == "in":
        return False
    by_type = rule.match.protocol == "icmpv6" and ("type", "134") in rule.match.attributes
    return by_type or rule.match.protocol == "all-ipv6"
