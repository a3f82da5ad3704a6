"""How a bond notices that a port is dead: MII monitoring (miimon) or ARP monitoring, and exactly one of them."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address

from kvmgen.checks.bonds import WITH_ARP, bonds_under_bridges, word
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.host import Bond, Host
from kvmgen.model.site import Site

ARP_UNDER_BRIDGE = Rule(code="KV204", title="ARP monitoring of a bond under a bridge")
ARP_REFUSED = Rule(code="KV205", title="ARP monitoring in a bond mode that refuses it")
HALF_ARP = Rule(code="KV206", title="Half of an ARP monitoring")
TWO_MONITORS = Rule(code="KV207", title="A bond with two monitors")
NO_MONITOR = Rule(code="KV208", title="A bond that doesn't notice dead links")
DELAY_ALONE = Rule(code="KV209", title="A bond's delay without MII monitoring")
DELAY_ROUNDED = Rule(code="KV210", title="A bond's delay that gets rounded down", severity=Severity.WARNING)
ARP_TARGET = Rule(code="KV211", title="An ARP target that can't be asked")

_DEFAULT_MIIMON = 100


def _bonds(site: Site) -> Iterator[tuple[Host, Bond, dict[str, str]]]:
    for host in site.hosts.values():
        for bond in host.bonds:
            yield host, bond, dict(bond.options)


def _miimon(host: Host, options: dict[str, str]) -> int:
    """The interval in milliseconds; from el8 on the kernel sets one for modes that have no other monitor.

    From el9 on NetworkManager does so for all, where nothing asks for ARP.
    """
    if "miimon" in options:
        return int(options["miimon"])
    by_kernel = host.platform.major >= 8 and options["mode"] not in WITH_ARP
    by_networkmanager = not host.platform.uses_ifcfg and "arp_interval" not in options
    return _DEFAULT_MIIMON if by_kernel or by_networkmanager else 0


def _asks_arp(options: dict[str, str]) -> bool:
    return options.get("arp_interval", "0") != "0"


def arp_under_bridges(site: Site) -> Iterator[Diagnostic]:
    """The answers to a bond's ARP questions go to the bridge that has taken the bond's place.

    The bond hears none of its own, and what guests send and receive counts as life: ports are given up, or kept, for
    no reason. Under a bridge only MII monitoring works.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: active-backup, arp-interval: 1000, arp-ip-target: [192.0.2.254]}
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
        if _asks_arp(dict(bond.options)):
            yield Diagnostic(
                rule=ARP_UNDER_BRIDGE,
                message=f"the bond {bond.name!r} is watched by ARP, which doesn't work under the bridge "
                f"{bridge.name!r}",
                hint="Write `miimon: 100` instead of the options of ARP monitoring.",
                origin=bond.origin.at("arp-interval"),
                related=((bridge.origin.at("ports"), "the bridge"),),
            )


def arp_refused(site: Site) -> Iterator[Diagnostic]:
    """802.3ad, balance-tlb and balance-alb know MII monitoring alone: the kernel refuses the options of the other.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond1: {ports: [eno3, eno4], mode: 802.3ad, arp-interval: 1000, arp-ip-target: [192.0.2.254]}

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond1: {ports: [eno3, eno4], mode: 802.3ad, miimon: 100}

    Source: the kernel's bond_options.c, `unsuppmodes`
    (https://github.com/torvalds/linux/blob/master/drivers/net/bonding/bond_options.c).
    """
    for _, bond, options in _bonds(site):
        for option in ("arp_interval", "arp_validate") if options["mode"] not in WITH_ARP else ():
            if options.get(option, "0") not in ("0", "none"):
                yield Diagnostic(
                    rule=ARP_REFUSED,
                    message=f"the kernel refuses {word(option)!r} for a bond of mode {options['mode']}",
                    hint="Write `miimon: 100` instead of the options of ARP monitoring.",
                    origin=bond.origin.at(word(option)),
                    on_key=True,
                )


def half_arp(site: Site) -> Iterator[Diagnostic]:
    """ARP monitoring needs to know whom to ask and how often: either alone watches nothing.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond1: {ports: [eno3, eno4], mode: active-backup, arp-interval: 1000}

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond1: {ports: [eno3, eno4], mode: active-backup, arp-interval: 1000, arp-ip-target: [192.0.2.254]}

    Source: the kernel's documentation of bonding, arp_ip_target (https://docs.kernel.org/networking/bonding.html).
    """
    for _, bond, options in _bonds(site):
        if _asks_arp(options) == ("arp_ip_target" in options):
            continue
        there, missing = ("arp-interval", "arp-ip-target") if _asks_arp(options) else ("arp-ip-target", "arp-interval")
        yield Diagnostic(
            rule=HALF_ARP,
            message=f"the bond {bond.name!r} has {there!r} without {missing!r}: no port is ever asked",
            hint=f"Add `{missing}`, or watch the ports with `miimon: 100` alone.",
            origin=bond.origin.at(there),
            on_key=True,
        )


def two_monitors(site: Site) -> Iterator[Diagnostic]:
    """A bond has one monitor: whichever of the two options is set last switches the other one off.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond1:
            ports: [eno3, eno4]
            mode: active-backup
            miimon: 100
            arp-interval: 1000
            arp-ip-target: [192.0.2.254]

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond1:
            ports: [eno3, eno4]
            mode: active-backup
            arp-interval: 1000
            arp-ip-target: [192.0.2.254]

    Source: the kernel's documentation of bonding, arp_interval (https://docs.kernel.org/networking/bonding.html).
    """
    for _, bond, options in _bonds(site):
        if _asks_arp(options) and options.get("miimon", "0") != "0":
            yield Diagnostic(
                rule=TWO_MONITORS,
                message=f"the bond {bond.name!r} has both 'miimon' and 'arp-interval', and each switches the other off",
                hint="Keep `miimon` alone, unless only ARP finds what breaks in your network.",
                origin=bond.origin.at("arp-interval"),
                on_key=True,
                related=((bond.origin.at("miimon"), "the other monitor"),),
            )


def no_monitor(site: Site) -> Iterator[Diagnostic]:
    """Without a monitor a bond goes on sending into a dead link: nothing fails over.

    The interval's default is 0, which means never. (From el8 on the kernel chooses 100 by itself for 802.3ad,
    balance-tlb and balance-alb.)

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: active-backup}

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: active-backup, miimon: 100}

    Source: the kernel's documentation of bonding, "Bonding Driver Options"
    (https://docs.kernel.org/networking/bonding.html).
    """
    for host, bond, options in _bonds(site):
        is_half = "arp_ip_target" in options  # KV206 says so
        if not (_miimon(host, options) or _asks_arp(options) or is_half):
            yield Diagnostic(
                rule=NO_MONITOR,
                message=f"the bond {bond.name!r} wouldn't notice that a link is dead: nothing watches its ports",
                hint="Add `miimon: 100`.",
                origin=bond.origin.at("miimon") if "miimon" in options else bond.origin,
                on_key=True,
            )


def lonely_delays(site: Site) -> Iterator[Diagnostic]:
    """Delays are counted in steps of MII monitoring: without it the kernel refuses them.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond1:
            ports: [eno3, eno4]
            mode: active-backup
            arp-interval: 1000
            arp-ip-target: [192.0.2.254]
            updelay: 2000

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond1:
            ports: [eno3, eno4]
            mode: active-backup
            miimon: 100
            updelay: 2000

    Source: the kernel's documentation of bonding, updelay (https://docs.kernel.org/networking/bonding.html).
    """
    for host, bond, options in _bonds(site):
        if _miimon(host, options):
            continue
        for option in _delays(options):
            yield Diagnostic(
                rule=DELAY_ALONE,
                message=f"the kernel refuses {option!r} for a bond without MII monitoring",
                hint="Add `miimon: 100`, or leave the delay out.",
                origin=bond.origin.at(option),
                on_key=True,
            )


def rounded_delays(site: Site) -> Iterator[Diagnostic]:
    """Delays are counted in steps of miimon, and the kernel rounds them down: one that is shorter is none.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: active-backup, miimon: 100, updelay: 250}

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond0: {ports: [eno1, eno2], mode: active-backup, miimon: 100, updelay: 300}

    Source: the kernel's documentation of bonding, updelay (https://docs.kernel.org/networking/bonding.html).
    """
    for host, bond, options in _bonds(site):
        miimon = _miimon(host, options)
        for option in _delays(options) if miimon else ():
            asked = int(options[option])
            if asked % miimon:
                yield Diagnostic(
                    rule=DELAY_ROUNDED,
                    message=f"{option!r} of {asked} ms becomes {asked - asked % miimon} ms: miimon is {miimon}",
                    hint="Write a multiple of miimon.",
                    origin=bond.origin.at(option),
                )


def _delays(options: dict[str, str]) -> Iterator[str]:
    return (option for option in ("updelay", "downdelay") if options.get(option, "0") != "0")


def arp_targets(site: Site) -> Iterator[Diagnostic]:
    """ARP is a matter of IPv4: the kernel refuses other targets, and the bond watches the remaining ones or none.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          bond1: {ports: [eno3, eno4], mode: active-backup, arp-interval: 1000, arp-ip-target: ["2001:db8::1"]}

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond1: {ports: [eno3, eno4], mode: active-backup, arp-interval: 1000, arp-ip-target: [192.0.2.254]}

    Source: the kernel's documentation of bonding, arp_ip_target (https://docs.kernel.org/networking/bonding.html).
    """
    for _, bond, options in _bonds(site):
        targets = options.get("arp_ip_target", "")
        for index, target in enumerate(targets.split(",") if targets else ()):
            if not _can_be_asked(target):
                yield Diagnostic(
                    rule=ARP_TARGET,
                    message=f"the kernel refuses the ARP target {target}: it isn't a host's IPv4 address",
                    hint="Name the IPv4 address of a machine that always answers, such as the gateway.",
                    origin=bond.origin.at("arp-ip-target", index),
                )


def _can_be_asked(target: str) -> bool:
    try:
        return int(IPv4Address(target)) not in (0, 0xFFFFFFFF)
    except AddressValueError:
        return False
