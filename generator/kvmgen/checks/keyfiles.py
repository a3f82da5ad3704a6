"""What NetworkManager's profiles, which el9 and el10 have for links, can't say."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.ethtool import ethtool
from kvmgen.model.platform import Version
from kvmgen.model.site import Site

NO_SETTING = Rule(code="KV233", title="ethtool options that NetworkManager has no setting for")
NOT_SPOKEN = Rule(code="KV125", title="Resolvers that a machine has no way to", severity=Severity.WARNING)


def no_setting(site: Site) -> Iterator[Diagnostic]:
    """On el9 and el10 a NIC's options are settings of its profile, not words that are handed to ethtool.

    There are settings for speed, duplex, autonegotiation and wake-on-LAN, and for the commands -K (features),
    -C (coalescing), -G (ring), -A (pause) and, since NetworkManager 1.46, -L (channels). What has none would never be
    set, and what an older NetworkManager doesn't know it drops in silence. Speed, duplex and autonegotiation belong
    together: of one alone NetworkManager sets nothing.

    Bad::

        # hosts/kvm02.yaml
        platform: el9
        ethernets:
          eno1: {ethtool: speed 1000 duplex full}
          eno2: {ethtool: --set-eee eno2 eee off}
          eno3: {ethtool: -L eno3 combined 4}

    Good::

        # hosts/kvm02.yaml
        platform: el9.4
        ethernets:
          eno1: {ethtool: speed 1000 duplex full autoneg off}
          eno2: {ethtool: -K eno2 gro off}
          eno3: {ethtool: -L eno3 combined 4}

    Source: https://networkmanager.dev/docs/api/latest/settings-ethtool.html,
    https://networkmanager.dev/docs/api/latest/settings-802-3-ethernet.html.
    """
    for host in site.hosts.values():
        has = host.platform.versions.networkmanager
        for nic in host.ethernets if not host.platform.uses_ifcfg and has else ():
            read = ethtool(nic.ethtool, nic.name) if nic.ethtool is not None else None
            if read and has and read.since and has < read.since:
                message = f"`{nic.ethtool}` needs NetworkManager {_dotted(read.since)}, and {host.name} "
                message += f"({host.platform}) has {_dotted(has)}, which would drop it in silence"
                hint = "Leave it out, or name a newer minor where the host has one (el9.4)."
            elif read and read.problem:
                message = f"NetworkManager has no setting for {read.problem}: {nic.name} would come up without"
                hint = "Write `speed N duplex full autoneg off`, or one command such as "
                hint += f"`-K {nic.name} gro off`, with options by the kernel's names."
            else:
                continue
            yield Diagnostic(rule=NO_SETTING, message=message, hint=hint, origin=nic.origin.at("ethtool"))


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


def not_spoken(site: Site) -> Iterator[Diagnostic]:
    """NetworkManager takes a resolver only at a link that has an address of the resolver's own IP version.

    A profile with any other would be refused as a whole, so that such resolvers are left out. Where that leaves none,
    the machine can't look up a name. (On el6 to el8 they stand in resolv.conf, and each query waits for nobody.)

    Bad::

        # hosts/kvm02.yaml
        platform: el9
        dns: {servers: ["2001:db8::53"]}
        ethernets:
          eno1: {addresses: [198.51.100.12/24]}

    Good::

        # hosts/kvm02.yaml
        platform: el9
        dns: {servers: [198.51.100.53, "2001:db8::53"]}
        ethernets:
          eno1: {addresses: [198.51.100.12/24]}

    Source: https://networkmanager.dev/docs/api/latest/settings-ipv6.html.
    """
    for node in site.nodes():
        dns, addressed = node.dns, [link.addressing for link in node.links if not link.addressing.is_empty]
        if node.platform.uses_ifcfg or not addressed or not dns.servers or dns.origin is None:
            continue
        if not any(own.speaks(server.version) for own in addressed for server in dns.servers):
            version = dns.servers[0].version
            yield Diagnostic(
                rule=NOT_SPOKEN,
                message=f"{node.name} has no IPv{version} address to ask {dns.servers[0]} from: it has no resolver",
                hint=f"Name a resolver with an IPv{10 - version} address, or give a link an IPv{version} address.",
                origin=dns.origin.at("servers"),
            )
