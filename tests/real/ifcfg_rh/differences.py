"""What NetworkManager understands differently of ifcfg files than of the same machine's keyfiles, and why it may."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.real.ifcfg_rh.reading import Properties


@dataclass(frozen=True, slots=True)
class Known:
    """A property that may differ: `ifcfg -> keyfile`, both as nmcli shows them, and the reason."""

    property: str
    values: str
    reason: str

    def holds(self, name: str, ifcfg: str, keyfile: str) -> bool:
        """Whether this is the difference."""
        return bool(re.fullmatch(self.property, name) and re.fullmatch(self.values, f"{ifcfg} -> {keyfile}"))


@dataclass(frozen=True, slots=True)
class KnownComplaint:
    """What NetworkManager may complain about, and the reason."""

    text: str
    reason: str


UUID = "[0-9a-f-]{36}"
MAC = "[0-9A-F:]{17}"
FOREVER = "2147483647"
OWN_MAC = "802-3-ethernet.cloned-mac-address"

DIFFERENCES = (
    Known("connection.id", r"(?:Bond|Bridge|System|Vlan) (.+) -> \1", "without NAME, it is made of kind and name"),
    Known("connection.uuid", f"{UUID} -> {UUID}", "without UUID, it is a hash of the file's path"),
    Known("connection.autoconnect-priority", "0 -> 100", "initscripts know no priorities"),
    Known("connection.autoconnect-slaves", "-1 -> 1", "initscripts bring the ports up in any case"),
    Known("bridge.mac-address", f" -> {MAC}", "without MACADDR, a bridge has a MAC of its ports'"),
    Known("bridge.forward-delay", "15 -> [0-9]+", "el8's stands in BRIDGING_OPTS, where only initscripts read it"),
    Known("ipv4.routes", r"(0\.0\.0\.0/0 \S+) 0(.*) -> \1 \d+\2", "METRIC, the default route's, is initscripts' own"),
    Known("ipv4.dns", " -> .+", "initscripts write the resolvers of the link that has them, whatever its addresses"),
    Known("ipv4.ignore-auto-dns", "yes -> no", "by PEERDNS initscripts mean DHCPv6 too; here nothing asks DHCPv4"),
    Known("ipv6.ignore-auto-dns", "no -> yes", "by PEERDNS initscripts mean DHCPv6 too"),
    Known("ipv6.dns-priority", "0 -> 50", "initscripts write resolvers in the order of their numbers"),
    Known("ipv6.method", "link-local -> disabled", "initscripts don't wait for an empty bridge's link-local address"),
    Known("ipv6.addr-gen-mode", "default-or-eui64 -> eui64", "the same, unless NetworkManager.conf says otherwise"),
    Known("ipv6.ip6-privacy", "-1 -> 0", "the kernel's default, which initscripts leave as it is"),
    Known("ipv6.never-default", "no -> yes", "initscripts have no word for it"),
    Known("ipv[46].dhcp-timeout", f"0 -> {FOREVER}", "initscripts' dhclient goes on asking"),
    Known("ipv6.ra-timeout", f"0 -> {FOREVER}", "the kernel itself hears router advertisements"),
    Known("ipv[46].required-timeout", "-1 -> 45000", "initscripts wait as long as dhclient does"),
)

COMPLAINTS = (
    KnownComplaint(
        "ifcfg-rh:     'DELAY' invalid when STP is disabled",
        "without it, initscripts wait for STP, and the kernel holds a port's first frames back",
    ),
    KnownComplaint(
        "ifcfg-rh:     unhandled bridge option 'forward_delay'",
        "el8's initscripts would take DELAY's centiseconds for seconds, and wait as long",
    ),
    KnownComplaint("keyfile: ethtool: invalid key 'ethtool.channels-combined'", "for el10: it is newer than 1.42"),
)

KERNELS_METRIC = {"ipv4": "0", "ipv6": "1024"}
"""What `ip route add` takes for a metric that isn't said, as keyfiles say it; NetworkManager's own is another one."""


def differences(ifcfg: Properties, keyfile: Properties) -> Iterator[tuple[str, str, str]]:
    """The properties that two profiles of a link differ in: name, ifcfg's value and the keyfile's."""
    one, other = _comparable(ifcfg), _comparable(keyfile)
    for name in sorted(one | other):
        if one.get(name, "") != other.get(name, ""):
            yield name, one.get(name, ""), other.get(name, "")


def compared(ifcfg: Properties, keyfile: Properties) -> int:
    """How many properties that is."""
    return len(ifcfg.keys() | keyfile.keys())


def _comparable(profile: Properties) -> Properties:
    """A profile whose gateway is a route like the others, all of them in one order and with a metric.

    A bridge's MAC stands in one of two places, which mean the same.
    """
    changed = {f"{family}.routes": ", ".join(_routes(profile, family)) for family in KERNELS_METRIC}
    changed |= {f"{family}.gateway": "" for family in KERNELS_METRIC}
    if "bridge.mac-address" in profile:
        changed["bridge.mac-address"] = profile["bridge.mac-address"] or profile[OWN_MAC]
        changed[OWN_MAC] = ""
    return profile | changed


def _routes(profile: Properties, family: str) -> list[str]:
    routes = [route for route in profile.get(f"{family}.routes", "").split(", ") if route]
    if profile.get(f"{family}.gateway"):
        routes.append(f"{'::' if family == 'ipv6' else '0.0.0.0'}/0 {profile[f'{family}.gateway']}")
    return sorted(route if len(route.split()) > 2 else f"{route} {KERNELS_METRIC[family]}" for route in routes)
