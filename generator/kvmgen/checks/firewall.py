"""What a host's packet filter does to its guests."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._words import words
from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.site import Site

GUESTS_CUT_OFF = Rule(code="KV601", title="Guests that firewalld would cut off")


def cut_off(site: Site) -> Iterator[Diagnostic]:
    """Frames between guests pass the host's firewall, and nothing can let them through it.

    With bridge netfilter on, firewalld rejects bridged frames. el7's iptables backend takes a direct rule for them;
    with el8's nftables backend a direct accept doesn't end the matter, and zones can forward only since firewalld 0.9.

    Bad::

        # hosts/kvm01.yaml
        platform: el8.4
        firewall: {bridge-netfilter: true}

    Good::

        # hosts/kvm01.yaml
        platform: el8.5
        firewall: {bridge-netfilter: true}

    Source: `forward` in https://firewalld.org/documentation/man-pages/firewalld.zone.html; bridge-nf-call-iptables in
    https://docs.kernel.org/networking/ip-sysctl.html.
    """
    for host in site.hosts.values():
        rules = host.firewall.rules if host.firewall else ()
        derived = any(rule.why and rule.table == "filter" and words(rule.rule).target == "ACCEPT" for rule in rules)
        if host.platform.major == 8 and derived:
            yield Diagnostic(
                rule=GUESTS_CUT_OFF,
                message=f"firewalld of {host.platform} on {host.name} would reject what guests on its bridges send",
                hint="Name the platform's minor: el8.5 and later can let a zone forward. Or filter without state: "
                "Ethernet-layer rules don't need bridge netfilter.",
                origin=host.origin.at("platform"),
            )
