"""What el6's to el8's network scripts make of a link's name, order and options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType

from kvmgen.checks._stack import by_name, ports
from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.host import Bond, Bridge, Ethernet, Link, Vlan
from kvmgen.model.site import Site

VLAN_TOO_EARLY = Rule(code="KV228", title="A VLAN that is started before its bridge")
NAME_SKIPPED = Rule(code="KV229", title="A link's name that the host doesn't start")
NAME_OF_SCRIPT = Rule(code="KV230", title="A bond named as another kind of link")
ETHTOOL = Rule(code="KV231", title="ethtool options that are taken for a whole command")

_SKIPPED_ENDS = (".bak", ".old", ".orig", ".rpmnew", ".rpmorig", ".rpmsave")
_SKIPPED_PART = "-range"
_TAKEN = MappingProxyType({"lo": "it is the loopback's", "bonding_masters": "the kernel's bonding has it"})

_SCRIPTS = frozenset(
    (
        "aliases",
        "bnep",
        "ib",
        "ippp",
        "ipv6",
        "isdn",
        "plip",
        "plusb",
        "post",
        "ppp",
        "routes",
        "sit",
        "tunnel",
        "wireless",
    )
)
"""What the scripts beside `ifup-eth` are for. One is chosen by a link's name where its TYPE doesn't decide."""


def early_vlans(site: Site) -> Iterator[Diagnostic]:
    """At boot the scripts start NICs and bonds first, then VLANs by name, then bridges.

    A bridge exists from the moment that its first port starts, and not before. A VLAN on a bridge without such a port
    finds no parent and stays down until somebody starts it by hand.

    Bad::

        # hosts/kvm01.yaml
        vlans:
          brdmz.7: {parent: brdmz, id: 7}
        bridges:
          brdmz: {}

    Good::

        # hosts/kvm01.yaml
        vlans:
          br1.7: {parent: br1, id: 7}
        bridges:
          br1: {ports: [eno3]}

    Source: initscripts' /etc/rc.d/init.d/network (https://github.com/fedora-sysv/initscripts).
    """
    for host in site.hosts.values():
        links = by_name(host)
        for vlan in host.vlans if host.platform.uses_ifcfg else ():
            bridge = links.get(vlan.parent)
            if not isinstance(bridge, Bridge) or vlan.bridge == bridge.name:
                continue
            if not any(_starts_before(port, vlan) for port in ports(links, bridge)):
                yield Diagnostic(
                    rule=VLAN_TOO_EARLY,
                    message=f"the VLAN {vlan.name!r} is started at boot before its parent, the bridge "
                    f"{bridge.name!r}, exists",
                    hint="Put the VLAN on the NIC or bond, and a bridge on the VLAN.",
                    origin=vlan.origin.at("parent"),
                    related=((bridge.origin, "the bridge"),),
                )


def _starts_before(port: Link, vlan: Vlan) -> bool:
    return isinstance(port, Ethernet | Bond) or (isinstance(port, Vlan) and _turn(port.name) < _turn(vlan.name))


def _turn(name: str) -> tuple[str, float, str]:
    """How the scripts sort names: up to the first digit as text, the rest as a number."""
    match = re.fullmatch(r"(\D*)(\d*(?:\.\d+)?)(.*)", name)
    assert match, "every name has these parts"
    return match[1], float(match[2] or 0), name


def skipped_names(site: Site) -> Iterator[Diagnostic]:
    """The scripts leave files alone that look like an editor's or rpm's leftovers, and `lo` is the loopback.

    A link of such a name is never started. `bonding_masters` is the name of a file that the kernel has beside the
    links', and NetworkManager refuses a profile for it.

    Bad::

        # hosts/kvm01.yaml
        bridges:
          br-range: {}

    Good::

        # hosts/kvm01.yaml
        bridges:
          br-lan: {}

    Source: initscripts' /etc/rc.d/init.d/network and functions (https://github.com/fedora-sysv/initscripts).
    """
    for node in site.nodes():
        is_scripted = node.platform.uses_ifcfg
        for link in node.links:
            name = link.name
            if name in _TAKEN or (is_scripted and (name.endswith(_SKIPPED_ENDS) or _SKIPPED_PART in name)):
                why = _TAKEN.get(name, "files that end so, or have -range, are left alone")
                yield Diagnostic(
                    rule=NAME_SKIPPED,
                    message=f"a link named {name!r} wouldn't be started: {why}",
                    hint="Give it another name.",
                    origin=link.origin,
                    on_key=True,
                )


def names_of_scripts(site: Site) -> Iterator[Diagnostic]:
    """`ifup` runs the script that a bond's name asks for, its digits aside: a bond `ppp0` would be dialled.

    Bad::

        # hosts/kvm01.yaml
        bonds:
          tunnel0: {ports: [eno3, eno4], mode: active-backup, miimon: 100}

    Good::

        # hosts/kvm01.yaml
        bonds:
          bond1: {ports: [eno3, eno4], mode: active-backup, miimon: 100}

    Source: initscripts' ifup and network-functions (https://github.com/fedora-sysv/initscripts).
    """
    for host in site.hosts.values():
        for bond in host.bonds if host.platform.uses_ifcfg else ():
            kind = bond.name.rstrip("0123456789")
            if kind in _SCRIPTS:
                yield Diagnostic(
                    rule=NAME_OF_SCRIPT,
                    message=f"a bond named {bond.name!r} would be started by the script ifup-{kind}",
                    hint="Call it bond0, bond1 or by what it connects.",
                    origin=bond.origin,
                    on_key=True,
                )


def ethtool(site: Site) -> Iterator[Diagnostic]:
    """Options with a dash anywhere are run as `ethtool OPTIONS`, without `-s` and without the device's name.

    Such options must be a whole command that names the device itself; else ethtool looks for a device that isn't there
    and changes nothing.

    Bad::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {ethtool: -K gro off}

    Good::

        # hosts/kvm01.yaml
        ethernets:
          eno3: {ethtool: -K eno3 gro off}

    Source: initscripts' ethtool_set in network-functions (https://github.com/fedora-sysv/initscripts).
    """
    for host in site.hosts.values():
        for nic in host.ethernets if host.platform.uses_ifcfg else ():
            words = nic.ethtool.split() if nic.ethtool and "-" in nic.ethtool else ()
            if words and not (words[0].startswith("-") and nic.name in words):
                yield Diagnostic(
                    rule=ETHTOOL,
                    message=f"for the dash in them these are run as `ethtool {nic.ethtool}`, which doesn't set "
                    f"anything of {nic.name!r}",
                    hint=f"Write the option and the device, such as `-K {nic.name} gro off`, or words without a dash.",
                    origin=nic.origin.at("ethtool"),
                )
