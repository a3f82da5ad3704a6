"""Bonds: their modes, and the options that a mode has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from kvmgen.checks._stack import beneath, by_name
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.host import Bond, Bridge
from kvmgen.model.site import Site

MODE_UNDER_BRIDGE = Rule(code="KV203", title="A bond mode that a bridge can't bear")
REFUSED_BY_MODE = Rule(code="KV212", title="A bond option that the mode refuses")
IDLE_IN_MODE = Rule(code="KV213", title="A bond option without effect in the mode", severity=Severity.WARNING)
IDLE_ALONE = Rule(code="KV214", title="A bond option without the one that it belongs to", severity=Severity.WARNING)
PRIMARY_NO_PORT = Rule(code="KV215", title="A primary that isn't a port of its bond")
HASH_TOO_NEW = Rule(code="KV216", title="A transmit hash that the kernel doesn't know")

Modes = frozenset[str]

ROUND_ROBIN, ACTIVE_BACKUP, XOR, BROADCAST, LACP, TLB, ALB = (
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
)
WITH_ACTIVE_PORT: Modes = frozenset((ACTIVE_BACKUP, TLB, ALB))
WITH_ARP: Modes = frozenset((ROUND_ROBIN, ACTIVE_BACKUP, XOR, BROADCAST))
UNDER_BRIDGES: Modes = frozenset((ACTIVE_BACKUP, XOR, LACP))

REFUSED_ELSEWHERE: Mapping[str, Modes] = MappingProxyType(
    {
        "primary": WITH_ACTIVE_PORT,
        "lacp_rate": frozenset((LACP,)),
        "packets_per_slave": frozenset((ROUND_ROBIN,)),
        "tlb_dynamic_lb": frozenset((TLB, ALB)),
    }
)
"""Options that the kernel takes in these modes alone; those of ARP monitoring have rules of their own."""

_IDLE_ELSEWHERE: Mapping[str, Modes] = MappingProxyType(
    {
        "primary_reselect": WITH_ACTIVE_PORT,
        "fail_over_mac": frozenset((ACTIVE_BACKUP,)),
        "xmit_hash_policy": frozenset((XOR, LACP, TLB, ALB)),
        "ad_select": frozenset((LACP,)),
        "min_links": frozenset((LACP,)),
        "num_grat_arp": frozenset((ACTIVE_BACKUP,)),
        "resend_igmp": frozenset((ROUND_ROBIN, ACTIVE_BACKUP, TLB, ALB)),
        "lp_interval": frozenset((TLB, ALB)),
        "arp_all_targets": frozenset((ACTIVE_BACKUP,)),
    }
)
"""Options that the kernel takes in every mode and heeds in these alone."""

_BELONGS_TO: Mapping[str, tuple[str, Modes]] = MappingProxyType(
    {
        "primary_reselect": ("primary", WITH_ACTIVE_PORT),
        "arp_validate": ("arp_interval", WITH_ARP),
        "arp_all_targets": ("arp_validate", frozenset((ACTIVE_BACKUP,))),
    }
)
"""Options that say how another one works, in the modes that have both."""

_OFF = frozenset(("0", "none"))


def word(option: str) -> str:
    """How the inventory writes an option of the kernel's."""
    return option.replace("_", "-")


def bonds_under_bridges(site: Site) -> Iterator[tuple[Bond, Bridge]]:
    """Each bond that carries a host's bridge, however many VLANs stand between, with the first such bridge."""
    for host in site.hosts.values():
        links = by_name(host)
        found: dict[str, tuple[Bond, Bridge]] = {}
        for bridge in host.bridges:
            for link in beneath(links, bridge):
                if isinstance(link, Bond):
                    found.setdefault(link.name, (link, bridge))
        yield from found.values()


def modes_under_bridges(site: Site) -> Iterator[Diagnostic]:
    """Behind a bridge stand many MAC addresses, and a bond must carry them all.

    balance-rr and broadcast bring a guest's own frames back through another port, so that the bridge looks for the
    guest on the uplink; balance-tlb and balance-alb put the bond's MACs in the place of the guests'. Guests lose their
    connections at random. Only active-backup, balance-xor and 802.3ad are made for it.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: balance-rr, miimon: 100}
        bridges:
          br0:
            ports: [bond0]

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: active-backup, miimon: 100}
        bridges:
          br0:
            ports: [bond0]

    Source: Red Hat's "Which bonding modes work when used with a bridge that virtual machine guests connect to"
    (https://access.redhat.com/solutions/67546).
    """
    for bond, bridge in bonds_under_bridges(site):
        mode = dict(bond.options)["mode"]
        if mode not in UNDER_BRIDGES:
            yield Diagnostic(
                rule=MODE_UNDER_BRIDGE,
                message=f"the bond {bond.name!r} of mode {mode} carries the bridge {bridge.name!r}, "
                "where guests would lose connections at random",
                hint="Use active-backup, or 802.3ad where the switch has LACP.",
                origin=bond.origin.at("mode"),
                related=((bridge.origin.at("ports"), "the bridge"),),
            )


def refused_options(site: Site) -> Iterator[Diagnostic]:
    """The kernel refuses these options in other modes, and the bond comes up without what they ask for.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: active-backup, miimon: 100, lacp-rate: fast}

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: 802.3ad, miimon: 100, lacp-rate: fast}

    Source: the kernel's bond_options.c, `unsuppmodes`
    (https://github.com/torvalds/linux/blob/master/drivers/net/bonding/bond_options.c).
    """
    for bond, mode, option in _foreign_to_mode(site, REFUSED_ELSEWHERE):
        yield Diagnostic(
            rule=REFUSED_BY_MODE,
            message=f"the kernel refuses {word(option)!r} for a bond of mode {mode}",
            hint=f"Leave it out, or choose a mode that has it: {_listed(REFUSED_ELSEWHERE[option])}.",
            origin=bond.origin.at(word(option)),
            on_key=True,
        )


def idle_options(site: Site) -> Iterator[Diagnostic]:
    """The kernel takes these options in every mode, but only some modes look at them.

    Whoever reads the inventory believes in something that the bond doesn't do.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: active-backup, miimon: 100, xmit-hash-policy: layer3+4}

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: 802.3ad, miimon: 100, xmit-hash-policy: layer3+4}

    Source: the kernel's documentation of bonding (https://docs.kernel.org/networking/bonding.html).
    """
    for bond, mode, option in _foreign_to_mode(site, _IDLE_ELSEWHERE):
        yield Diagnostic(
            rule=IDLE_IN_MODE,
            message=f"{word(option)!r} has no effect on a bond of mode {mode}",
            hint=f"Leave it out; it is meant for {_listed(_IDLE_ELSEWHERE[option])}.",
            origin=bond.origin.at(word(option)),
            on_key=True,
        )


def _foreign_to_mode(site: Site, modes: Mapping[str, Modes]) -> Iterator[tuple[Bond, str, str]]:
    for host in site.hosts.values():
        for bond in host.bonds:
            mode = dict(bond.options)["mode"]
            yield from ((bond, mode, option) for option, _ in bond.options if mode not in modes.get(option, (mode,)))


def _listed(modes: Modes) -> str:
    return ", ".join(sorted(modes))


def lonely_options(site: Site) -> Iterator[Diagnostic]:
    """Some options only say how another one works; without that one they change nothing.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: active-backup, miimon: 100, primary-reselect: better}

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: active-backup, miimon: 100, primary: eno1, primary-reselect: better}

    Source: the kernel's documentation of bonding (https://docs.kernel.org/networking/bonding.html).
    """
    for host in site.hosts.values():
        for bond in host.bonds:
            options = dict(bond.options)
            for option, (other, modes) in _BELONGS_TO.items():
                is_asked = options["mode"] in modes and options.get(option, "none") != "none"
                if is_asked and options.get(other, "0") in _OFF:
                    yield Diagnostic(
                        rule=IDLE_ALONE,
                        message=f"{word(option)!r} has no effect on a bond without {word(other)!r}",
                        hint=f"Add {word(other)!r}, or leave this out.",
                        origin=bond.origin.at(word(option)),
                        on_key=True,
                    )


def primaries(site: Site) -> Iterator[Diagnostic]:
    """The kernel believes any name that it is given as primary and waits for that port, which never comes.

    Meanwhile the bond uses whichever port is up first.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: active-backup, miimon: 100, primary: eno3}

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: active-backup, miimon: 100, primary: eno2}

    Source: the kernel's documentation of bonding (https://docs.kernel.org/networking/bonding.html).
    """
    for host in site.hosts.values():
        for bond in host.bonds:
            primary = dict(bond.options).get("primary")
            if primary is not None and primary not in bond.ports:
                yield Diagnostic(
                    rule=PRIMARY_NO_PORT,
                    message=f"the primary {primary!r} is not a port of the bond {bond.name!r}",
                    hint=f"Name one of its ports: {', '.join(bond.ports)}.",
                    origin=bond.origin.at("primary"),
                    related=((bond.origin.at("ports"), "its ports"),),
                )


def new_hashes(site: Site) -> Iterator[Diagnostic]:
    """The kernels of el6 and el7 refuse the hash `vlan+srcmac`, and the bond keeps its default, layer2.

    It came with Linux 5.12; el8 has it in later minors.

    Bad::

        # hosts/kvm01.yaml
        platform: el7
        bonds:
          bond0: {ports: [eno1, eno2], mode: balance-xor, miimon: 100, xmit-hash-policy: vlan+srcmac}

    Good::

        # hosts/kvm01.yaml
        platform: el7
        bonds:
          bond0: {ports: [eno1, eno2], mode: balance-xor, miimon: 100, xmit-hash-policy: layer2+3}

    Source: the kernel's documentation of bonding (https://docs.kernel.org/networking/bonding.html).
    """
    for host in site.hosts.values():
        for bond in host.bonds if host.platform.major < 8 else ():
            if dict(bond.options).get("xmit_hash_policy") == "vlan+srcmac":
                yield Diagnostic(
                    rule=HASH_TOO_NEW,
                    message=f"the kernel of {host.platform} doesn't know the transmit hash vlan+srcmac",
                    hint="Use layer2+3 or layer3+4.",
                    origin=bond.origin.at("xmit-hash-policy"),
                )
