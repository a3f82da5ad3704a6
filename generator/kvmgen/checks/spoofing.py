"""What an interface's own filter makes of the interface's addresses."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._filter_use import Use, uses
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.filters import FilterRule
from kvmgen.model.site import Site

UNGUARDED = Rule(code="KV536", title="Known addresses that a filter doesn't guard", severity=Severity.WARNING)
OTHER_MAC = Rule(code="KV539", title="A filter that holds a guest to another MAC")
OTHER_ADDRESSES = Rule(code="KV540", title="A filter for other addresses", severity=Severity.WARNING)

_OWN = frozenset(("MAC", "IP", "IP_SEGMENT", "IPV6"))
_SENDER = ("srcmacaddr", "srcipaddr", "srcipfrom", "arpsrcmacaddr", "arpsrcipaddr")


def unguarded(site: Site) -> Iterator[Diagnostic]:
    """An interface with a filter of its own has no other: kvmgen's anti-spoofing is gone unless the filter includes it.

    A filter that looks at no sender's address lets the guest take its neighbours' addresses and the gateway's.

    Bad::

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.10/24], filter: web}

        # filters/web.yaml
        - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80}}

    Good::

        # guests/web01.yaml
        eth0: {network: default, addresses: [192.168.122.10/24], filter: web}

        # filters/web.yaml
        - filter: kvmgen-anti-spoofing-ipv4
        - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80}}

    Source: libvirt's overview of what filters are for (https://libvirt.org/formatnwfilter.html).
    """
    looks: dict[str, bool] = {}
    for use in uses(site):
        known = use.nic.addressing.addresses or use.nic.allowed
        if known and not use.tree.reads & _OWN and not _looks_at_senders(site, use, looks):
            yield Diagnostic(
                rule=UNGUARDED,
                message=f"the filter {use.filter} lets {use.whose} send from any address: no rule looks at the sender",
                hint="Include the anti-spoofing filter among its rules: `- filter: kvmgen-anti-spoofing`.",
                origin=use.place,
            )


def _looks_at_senders(site: Site, use: Use, looks: dict[str, bool]) -> bool:
    """Whether a rule, however it goes on, says something of the address that the guest sends from."""
    for name in use.tree.names & site.filters.keys():
        if name not in looks:
            looks[name] = any(map(_looks_at_sender, site.filters[name].entries))
    return any(looks.get(name, False) for name in use.tree.names)


def _looks_at_sender(entry: object) -> bool:
    if not isinstance(entry, FilterRule) or entry.match is None or entry.direction == "in":
        return False
    return any(attribute in _SENDER for attribute, _ in entry.match.attributes)


def other_mac(site: Site) -> Iterator[Diagnostic]:
    """libvirt sets MAC to the interface's own, unless a parameter does: then the parameter counts.

    A filter for another MAC drops whatever the guest sends.

    Bad::

        # guests/web01.yaml
        eth0:
          network: default
          mac: "52:54:00:24:4c:ee"
          dhcp4: true
          filter: {name: clean-traffic, parameters: {MAC: "52:54:00:24:4c:ef"}}

    Good::

        # guests/web01.yaml
        eth0:
          network: default
          mac: "52:54:00:24:4c:ee"
          dhcp4: true
          filter: clean-traffic

    Source: libvirt's "Usage of variables in filters" (https://libvirt.org/formatnwfilter.html).
    """
    for use in uses(site):
        values = use.values["MAC"] if "MAC" in use.said else ()
        if values and "MAC" in use.tree.reads and use.nic.mac not in map(str.lower, values):
            yield Diagnostic(
                rule=OTHER_MAC,
                message=f"the MAC of {use.whose} is {use.nic.mac}: its filter drops whatever it sends",
                hint="Leave the parameter out: libvirt knows the interface's MAC.",
                origin=use.parameter("MAC"),
                related=((use.nic.origin.at("mac"), "the interface's MAC"),),
            )


def other_addresses(site: Site) -> Iterator[Diagnostic]:
    """A parameter IP takes the place of the interface's own addresses, and the filter drops what is sent from those.

    kvmgen gives the filter IP by itself, from `addresses` and `allowed-addresses`.

    Bad::

        # guests/web01.yaml
        eth0:
          network: default
          addresses: [192.168.122.10/24, 192.168.122.11/24]
          filter: {name: clean-traffic, parameters: {IP: 192.168.122.11}}

    Good::

        # guests/web01.yaml
        eth0:
          network: default
          addresses: [192.168.122.10/24, 192.168.122.11/24]
          filter: {name: clean-traffic, parameters: {IP: [192.168.122.10, 192.168.122.11, 192.168.122.12]}}

    Source: libvirt's "Usage of variables in filters" (https://libvirt.org/formatnwfilter.html).
    """
    for use in uses(site):
        if "IP" in use.said and "IP" in use.tree.reads:
            for index, address in enumerate(use.nic.addressing.addresses):
                if address.version == 4 and str(address.ip) not in use.values["IP"]:
                    yield Diagnostic(
                        rule=OTHER_ADDRESSES,
                        message=f"{address.ip} of {use.whose} isn't among its filter's IP: what it sends from there is "
                        "dropped",
                        hint="Leave the parameter out, or list all addresses.",
                        origin=use.parameter("IP"),
                        related=((use.nic.origin.at("addresses", index), "the address"),),
                    )
