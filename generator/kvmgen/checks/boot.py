"""Booting guests from a virtual network."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._dhcp import serves
from kvmgen.checks._kinds import is_ipv4
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.site import Site

NOTHING_BOOTS = Rule(code="KV317", title="Network boot where nothing can boot", severity=Severity.WARNING)
NOT_A_SERVER = Rule(code="KV318", title="A BOOTP server that isn't an IPv4 address")


def nothing_boots(site: Site) -> Iterator[Diagnostic]:
    """A guest learns what to boot from its IPv4 lease, and fetches it from the host's IPv4 address.

    Where the network leases no IPv4 address, nobody is told of the boot file. Where it has none itself, dnsmasq serves
    no TFTP: libvirt takes both words under an IPv4 address only, so that they would be lost.

    Bad::

        # networks/pxe.yaml
        addresses: [192.168.130.1/24]
        dhcp:
          tftp: /var/lib/tftpboot
          bootp: {file: pxelinux.0}

    Good::

        # networks/pxe.yaml
        addresses: [192.168.130.1/24]
        dhcp:
          ranges: [192.168.130.100-192.168.130.199]
          tftp: /var/lib/tftpboot
          bootp: {file: pxelinux.0}

    Source: `tftp` and `bootp` in https://libvirt.org/formatnetwork.html#addressing.
    """
    for network in site.carried():
        if network.bootp_file is not None and not serves(network, 4):
            yield Diagnostic(
                rule=NOTHING_BOOTS,
                message=f"the network leases no IPv4 address, so nobody is told to boot {network.bootp_file}",
                hint="Give a range of IPv4 addresses, or remove `bootp`.",
                origin=network.at("dhcp", "bootp"),
                on_key=True,
            )
        if network.tftp is not None and all(address.version == 6 for address in network.addresses):
            yield Diagnostic(
                rule=NOTHING_BOOTS,
                message=f"the network has no IPv4 address to serve {network.tftp} from",
                hint="Give the network an IPv4 address, or remove `tftp`.",
                origin=network.at("dhcp", "tftp"),
                on_key=True,
            )


def not_a_server(site: Site) -> Iterator[Diagnostic]:
    """BOOTP is of IPv4's time: libvirt refuses a server that it can't read as an address.

    An IPv6 address gets past `net-define` without validation, but a lease has room for four bytes.

    Bad::

        # networks/default.yaml
        dhcp:
          bootp: {file: pxelinux.0, server: "fd00:122::5"}

    Good::

        # networks/default.yaml
        dhcp:
          bootp: {file: pxelinux.0, server: 192.168.122.5}

    Source: `bootp` in https://libvirt.org/formatnetwork.html#addressing.
    """
    for network in site.carried():
        if network.bootp_server is not None and not is_ipv4(network.bootp_server):
            yield Diagnostic(
                rule=NOT_A_SERVER,
                message=f"the boot server {network.bootp_server} isn't an IPv4 address, and BOOTP knows no other",
                hint="Write the server's IPv4 address, or leave it out where the host itself serves.",
                origin=network.at("dhcp", "bootp", "server"),
            )
