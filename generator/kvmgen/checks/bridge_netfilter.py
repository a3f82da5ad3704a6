"""Bridge netfilter: what depends on it, and what speaks against it."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._bridged import SWITCHES, is_bridge, off_at
from kvmgen.checks._iptables import written
from kvmgen.checks._sysctl import parts, settings
from kvmgen.checks._words import DROPS, Words
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.filters import iptables_families
from kvmgen.model.host import DirectRule, Node
from kvmgen.model.site import Site

FILTERS_BYPASSED = Rule(code="KV612", title="Guests' filters without the bridge netfilter that they need")
DROP_BYPASSED = Rule(code="KV613", title="A drop of bridged frames while bridge netfilter is off")
NEVER_FITS = Rule(
    code="KV614", title="A rule about bridged frames while bridge netfilter is off", severity=Severity.WARNING
)
TWO_WORDS = Rule(code="KV615", title="Kernel settings against `bridge-netfilter`")

_HINT = "Say `bridge-netfilter: true`, or leave it and the keys net.bridge.bridge-nf-call-* out."


def filters_bypassed(site: Site) -> Iterator[Diagnostic]:
    """An nwfilter's rules for TCP, UDP and the like are iptables rules, which see bridged frames by bridge netfilter.

    With net.bridge.bridge-nf-call-iptables at 0 every frame passes by them: the guest starts, libvirt writes one line
    into its log, and all ports are open.

    Bad::

        # hosts/kvm01.yaml
        firewall: {bridge-netfilter: false}
        # guests/web01.yaml
        eth1: {bridge: br0, addresses: [192.0.2.20/24], filter: web}

    Good::

        # hosts/kvm01.yaml
        firewall: {bridge-netfilter: true}
        # guests/web01.yaml
        eth1: {bridge: br0, addresses: [192.0.2.20/24], filter: web}

    Source: https://libvirt.org/formatnwfilter.html (on iptables and bridge-nf-call-iptables);
    https://docs.kernel.org/networking/ip-sysctl.html.
    """
    off = {host.name: place for host in site.hosts.values() if (place := _off_for_filters(host))}
    told: set[str] = set()
    families = iptables_families(site.filters) if off else {}
    for guest, nic in site.nics() if families else ():
        if nic.filterref is None or nic.filterref.filter not in families:
            continue
        for host in guest.hosts:
            if host in off and host not in told:
                told.add(host)
                yield Diagnostic(
                    rule=FILTERS_BYPASSED,
                    message=f"bridged frames pass by iptables on {host}, and with it by the rules of the filter "
                    f"{nic.filterref.filter!r} of {guest.name} ({nic.name})",
                    hint=_HINT,
                    origin=off[host],
                    related=((nic.origin, "the interface with the filter"),),
                )


def _off_for_filters(host: Node) -> Origin | None:
    return off_at(host, "ipv4") or off_at(host, "ipv6")


def drop_bypassed(site: Site) -> Iterator[Diagnostic]:
    """Frames between the ports of a bridge come to no chain unless bridge netfilter shows them: the drop drops nothing.

    What was to keep guests apart is loaded and listed, and every frame passes.

    Bad::

        # hosts/kvm01.yaml
        bridge-netfilter: false
        direct:
          - {family: both, table: mangle, chain: FORWARD, rule: "-i br11 -o br11 -j DROP"}

    Good::

        # hosts/kvm01.yaml
        bridge-netfilter: true
        direct:
          - {family: both, table: mangle, chain: FORWARD, rule: "-i br11 -o br11 -j DROP"}

    Source: bridge-nf-call-iptables in https://docs.kernel.org/networking/ip-sysctl.html.
    """
    for rule, read, place in _unseen(site):
        if read.target in DROPS:
            yield Diagnostic(
                rule=DROP_BYPASSED,
                message="the rule drops nothing: bridge netfilter is off, so that bridged frames come to no chain",
                hint=_HINT,
                origin=rule.origin.at("rule"),
                related=((place, "switches it off"),),
            )


def never_fits(site: Site) -> Iterator[Diagnostic]:
    """An accept for bridged frames beside bridge-nf-call at 0 is one of two ways to the same end, and never matches.

    With 0 no frame between the ports of a bridge comes to the chain; with 1 the accept is needed. Both together say
    that somebody wasn't sure which of them helped.

    Bad::

        # hosts/kvm01.yaml
        bridge-netfilter: false
        direct:
          - {family: both, chain: FORWARD, rule: "-m physdev --physdev-is-bridged -j ACCEPT"}

    Good::

        # hosts/kvm01.yaml
        bridge-netfilter: true
        direct:
          - {family: both, chain: FORWARD, rule: "-m physdev --physdev-is-bridged -j ACCEPT"}

    Source: bridge-nf-call-iptables in https://docs.kernel.org/networking/ip-sysctl.html; physdev in
    https://man7.org/linux/man-pages/man8/iptables-extensions.8.html.
    """
    for rule, read, place in _unseen(site):
        if read.target not in DROPS:
            yield Diagnostic(
                rule=NEVER_FITS,
                message="the rule fits nothing: bridge netfilter is off, so that bridged frames come to no chain",
                hint="Remove the rule, for bridged frames pass without it, or what switches bridge netfilter off.",
                origin=rule.origin.at("rule"),
                related=((place, "switches it off"),),
            )


def _unseen(site: Site) -> Iterator[tuple[DirectRule, Words, Origin]]:
    """The rules that wait for bridged frames on machines where none come, and where that is said."""
    for node, rule, read in written(site):
        if _waits_for_frames(site, node, rule, read):
            place = off_at(node, rule.family)
            if place is not None:
                yield rule, read, place


def _waits_for_frames(site: Site, node: Node, rule: DirectRule, read: Words) -> bool:
    if any(option.name.startswith("--physdev-") and not option.negated for option in read.options):
        return True
    if read.get("--physdev-is-bridged"):  # negated: about what is routed
        return False
    return rule.chain == "FORWARD" and is_bridge(site, node, read.bridge)


def two_words(site: Site) -> Iterator[Diagnostic]:
    """`bridge-netfilter` and the keys net.bridge.bridge-nf-call-* are two ways to say one thing, and disagree.

    kvmgen writes `bridge-netfilter` into a file that is read last, so that the key here has no effect.

    Bad::

        # hosts/kvm01.yaml
        sysctl:
          net.bridge.bridge-nf-call-iptables: 0
          net.bridge.bridge-nf-call-ip6tables: 1
          net.bridge.bridge-nf-call-arptables: 1
        firewall: {bridge-netfilter: true}

    Good::

        # hosts/kvm01.yaml
        sysctl:
          net.bridge.bridge-nf-call-iptables: 1
          net.bridge.bridge-nf-call-ip6tables: 1
          net.bridge.bridge-nf-call-arptables: 1
        firewall: {bridge-netfilter: true}

    Source: https://docs.kernel.org/networking/ip-sysctl.html; the order of files in
    https://www.freedesktop.org/software/systemd/man/latest/sysctl.d.html.
    """
    keys = (*SWITCHES.values(), "net.bridge.bridge-nf-call-arptables")
    for node in site.nodes():
        said = node.bridge_netfilter_at
        found = settings(node) if said and node.sysctl else {}
        for key in keys if found and said else ():
            setting = found.get(parts(key))
            if setting and said and (setting.value.strip() != "0") is not node.bridge_netfilter:
                yield Diagnostic(
                    rule=TWO_WORDS,
                    message=f"{key} is {setting.value} here, and `bridge-netfilter` says the opposite, which holds",
                    hint="Leave the three keys out: `bridge-netfilter` sets them.",
                    origin=setting.origin,
                    related=((said, "`bridge-netfilter`"),),
                )
