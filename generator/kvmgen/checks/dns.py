"""The resolver of a virtual network."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.network import DnsSrv, Forward, NetworkDns
from kvmgen.model.site import Site

DISABLED = Rule(code="KV333", title="Records of a resolver that is switched off")
NO_TARGET = Rule(code="KV334", title="An SRV record without a target")
NO_DOMAIN = Rule(code="KV335", title="A local domain without a name", severity=Severity.WARNING)
NEVER_RUNS = Rule(code="KV336", title="A resolver on a network without an address", severity=Severity.WARNING)


def disabled(site: Site) -> Iterator[Diagnostic]:
    """libvirt refuses a network with records or forwarders in a resolver that is switched off.

    Bad::

        # networks/default.yaml
        dns:
          enable: false
          hosts:
            - {address: 192.168.122.53, names: [ns]}

    Good::

        # networks/default.yaml
        dns:
          enable: true
          hosts:
            - {address: 192.168.122.53, names: [ns]}

    Source: `enable` in https://libvirt.org/formatnetwork.html#addressing; libvirt 9.0 says "Extra data in disabled
    network".
    """
    for network in site.carried():
        dns = network.dns
        if dns.enable is not False:
            continue
        said = (("forwarders", dns.forwarders), ("hosts", dns.hosts), ("txt", dns.txts), ("srv", dns.srvs))
        for key, records in said:
            if records:
                yield Diagnostic(
                    rule=DISABLED,
                    message=f"the resolver is switched off, and has {key!r}: libvirt refuses the network",
                    hint="Remove them, or `enable: false`.",
                    origin=network.at("dns", key),
                    on_key=True,
                    related=((network.at("dns", "enable"), "switched off here"),),
                )


def srv_targets(site: Site) -> Iterator[Diagnostic]:
    """Port, priority and weight of a service are those of a machine; libvirt refuses them in a record without one.

    A record without any of them says that the service isn't to be had in the domain.

    Bad::

        # networks/default.yaml
        dns:
          srv:
            - {service: ldap, protocol: tcp, port: 389}

    Good::

        # networks/default.yaml
        dns:
          srv:
            - {service: ldap, protocol: tcp, target: ldap.example.org, port: 389}

    Source: `srv` in https://libvirt.org/formatnetwork.html#addressing; libvirt 9.0 says "DNS SRV port attribute not
    permitted without target". RFC 2782 (https://www.rfc-editor.org/rfc/rfc2782).
    """
    for network in site.carried():
        for index, record in enumerate(network.dns.srvs):
            alone = _alone(record)
            if alone is not None:
                yield Diagnostic(
                    rule=NO_TARGET,
                    message=f"the record of {record.service} has a {alone} and no target: libvirt refuses the network",
                    hint="Name the machine that serves as `target`.",
                    origin=network.at("dns", "srv", index, alone),
                    on_key=True,
                )


def _alone(record: DnsSrv) -> str | None:
    if record.target is not None:
        return None
    said = {"port": record.port, "priority": record.priority, "weight": record.weight}
    return next((key for key, value in said.items() if value is not None), None)


def local_domains(site: Site) -> Iterator[Diagnostic]:
    """Unknown names of a domain can be answered here only where the network has a domain.

    libvirt has the word at the domain, so that without one there is no place for it.

    Bad::

        # networks/default.yaml
        domain-local-only: true

    Good::

        # networks/default.yaml
        domain: lab.example.org
        domain-local-only: true

    Source: `localOnly` in https://libvirt.org/formatnetwork.html#addressing.
    """
    for network in site.carried():
        if network.domain_local_only and network.domain is None:
            yield Diagnostic(
                rule=NO_DOMAIN,
                message="the network has no domain whose unknown names could be answered here",
                hint="Name the `domain`, or remove this.",
                origin=network.at("domain-local-only"),
                on_key=True,
            )


def never_running(site: Site) -> Iterator[Diagnostic]:
    """libvirt starts no dnsmasq for a network without an address: nothing is answered there.

    Bad::

        # networks/inside.yaml
        forward: isolated
        dns: {hosts: [{address: 192.168.124.10, names: [db]}]}

    Good::

        # networks/inside.yaml
        forward: isolated
        addresses: [192.168.124.1/24]
        dns: {hosts: [{address: 192.168.124.10, names: [db]}]}

    Source: https://libvirt.org/formatnetwork.html#addressing: without `ip` the host has no part in the network.
    """
    for network in site.carried():
        if network.addresses or network.forward is not Forward.ISOLATED:
            continue
        key = "dns" if network.dns not in _SILENT else "domain" if network.domain is not None else None
        if key is not None:
            yield Diagnostic(
                rule=NEVER_RUNS,
                message=f"the network has no address, so no resolver runs that could read {key!r}",
                hint="Give the host an address on the network, or remove this.",
                origin=network.at(key),
                on_key=True,
            )


_SILENT = (NetworkDns(), NetworkDns(enable=False))
