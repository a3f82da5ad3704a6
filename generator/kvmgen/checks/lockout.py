"""Packet filters that shut administrators out, or don't open what they seem to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvmgen.checks._firewalld import lets_ssh_in
from kvmgen.checks._iptables import chains
from kvmgen.checks._words import DROPS, Words, words
from kvmgen.checks.zones import administrators_zone
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.host import DEFAULT_ZONE, DirectRule, Host, Policy
from kvmgen.model.site import Site

LOCKED_OUT = Rule(code="KV628", title="A packet filter that locks administrators out")
NO_SSH = Rule(code="KV629", title="A management link in a zone without SSH", severity=Severity.WARNING)
STILL_JUDGED = Rule(code="KV630", title="A direct accept that firewalld still judges", severity=Severity.WARNING)


def locked_out(site: Site) -> Iterator[Diagnostic]:
    """INPUT drops by policy or by a rule for everything, and nothing before lets SSH in by the management link.

    The new rules are in force at once, and the way back is the console. An accept for port 22, for the link or for
    administrators' addresses lets them in; that of established connections doesn't. So with a firewalld policy to HOST
    that is asked before the zones.

    Bad::

        # hosts/kvm01.yaml
        chain-policies: {INPUT: DROP}
        direct:
          - {family: both, chain: INPUT, rule: "-m state --state ESTABLISHED,RELATED -j ACCEPT"}
          - {family: both, chain: INPUT, rule: "-p tcp --dport 80 -j ACCEPT"}

    Good::

        # hosts/kvm01.yaml
        chain-policies: {INPUT: DROP}
        direct:
          - {family: both, chain: INPUT, rule: "-m state --state ESTABLISHED,RELATED -j ACCEPT"}
          - {family: both, chain: INPUT, rule: "-p tcp --dport 22 -j ACCEPT"}

    Source: iptables(8), `--policy` (https://man7.org/linux/man-pages/man8/iptables.8.html).
    """
    for host in site.hosts.values():
        yield from _by_policy(host)
        if host.firewall is None or not (host.firewall.rules or host.firewall.chain_policies):
            continue
        shut = [(family, place) for family in _families(host) if (place := _shut(host, family))]
        if shut and len(shut) == len(_families(host)):
            yield Diagnostic(
                rule=LOCKED_OUT,
                message=f"everything for {host.name} is dropped here, and no rule before lets SSH in "
                f"by its management link {host.management!r}",
                hint="Accept it before: '-p tcp --dport 22 -j ACCEPT' in INPUT, or all that comes in by the link "
                f"('-i {host.management} -j ACCEPT').",
                origin=shut[0][1],
                related=((host.origin.at("management"), "the management link"),),
            )


def _by_policy(host: Host) -> Iterator[Diagnostic]:
    policy = _shut_by_policy(host) if host.management else None
    if policy is not None:
        yield Diagnostic(
            rule=LOCKED_OUT,
            message=f"the policy {policy.name!r} is asked before the zones and lets no SSH in to {host.name} "
            f"by its management link {host.management!r}",
            hint="Add `services: [ssh]` to the policy, or give it a positive `priority`.",
            origin=policy.origin.at("target"),
            related=((host.origin.at("management"), "the management link"),),
        )


def _shut_by_policy(host: Host) -> Policy | None:
    """The policy by which nobody comes in, or nothing."""
    firewall, zone = host.firewall, administrators_zone(host) or DEFAULT_ZONE
    to_host = [policy for policy in firewall.policies if "HOST" in policy.egress_zones] if firewall else []
    for policy in sorted(to_host, key=lambda policy: policy.priority):
        if policy.priority < 0 and {zone, "ANY"}.intersection(policy.ingress_zones):
            if lets_ssh_in(policy):
                return None
            if policy.target in DROPS:
                return policy
    return None


def _families(host: Host) -> Sequence[str]:
    """The IP versions by which administrators can come in."""
    link = next((link for link in host.links if link.name == host.management), None)
    if link is None:
        return ()
    versions = {address.version for address in link.addressing.addresses}
    has_ipv4 = 4 in versions or link.addressing.dhcp4
    has_ipv6 = 6 in versions or link.addressing.dhcp6 or link.addressing.accept_ra
    return (*(("ipv4",) if has_ipv4 else ()), *(("ipv6",) if has_ipv6 else ()))


def _shut(host: Host, family: str) -> Origin | None:
    """The rule or policy by which nobody comes in, or nothing."""
    for rule in chains(host).get((family, "filter", "INPUT"), ()):
        read = words(rule.rule)
        if read.target in DROPS:
            if read.decides_all:
                return rule.origin.at("rule")
        elif _may_let_in(read, host):
            return None
    firewall = host.firewall
    closes = firewall is not None and (family, "INPUT", "DROP") in firewall.chain_policies
    return firewall.origin.at("chain-policies", "INPUT") if firewall and closes else None


def _may_let_in(read: Words, host: Host) -> bool:
    """Whether a first packet to sshd might leave the chain by the rule; in doubt it does."""
    came_in = read.value("-i")
    elsewhere = came_in not in ("", host.management) and not came_in.endswith("+")
    return bool(read.target) and read.target != "LOG" and read.is_for_new_flows and not elsewhere and _may_be_ssh(read)


_OTHERS_PORTS = (range(1, 22), range(23, 1024), range(5900, 6924), range(16509, 16515), range(49152, 49216))
"""Where no sshd listens: the well-known ports, and those of VNC, libvirtd and migration."""


def _may_be_ssh(read: Words) -> bool:
    if read.protocol not in ("", "tcp", "6", "all"):
        return False
    ports = read.value("--dport") or read.value("--dports")
    return not ports or any(_may_be_sshs(part) for part in ports.split(","))


def _may_be_sshs(part: str) -> bool:
    if not part.isdigit():  # a range, or a name
        return part == "ssh" or ":" in part
    return not any(int(part) in some for some in _OTHERS_PORTS)


def no_ssh(site: Site) -> Iterator[Diagnostic]:
    """Administrators come in by the management link, and its zone lets no SSH in.

    firewalld's zones `drop` and `block` are such, and every zone of your own without the service `ssh` or its port.
    Where a zone for the administrators' addresses lets them in, nothing is told.

    Bad::

        # hosts/kvm01.yaml
        zone: lan
        lan: {services: [http]}

    Good::

        # hosts/kvm01.yaml
        zone: lan
        lan: {services: [http, ssh]}

    Source: https://firewalld.org/documentation/zone/predefined-zones.html.
    """
    for host in site.hosts.values():
        name = administrators_zone(host) if host.platform.firewalld is not None else None
        zones = host.firewall.zones if host.firewall else ()
        if name is None or any(zone.sources and lets_ssh_in(zone) for zone in zones) or _direct_accept(host):
            continue
        zone = next((zone for zone in zones if zone.name == name), None)
        if name in ("drop", "block") if zone is None else not lets_ssh_in(zone):
            link = next(link for link in host.links if link.name == host.management)
            yield Diagnostic(
                rule=NO_SSH,
                message=f"the management link {link.name!r} is in the zone {name!r}, which lets no SSH in",
                hint="Add `services: [ssh]` to the zone; or, if administrators come in by another port, silence this.",
                origin=link.origin.at("zone"),
                related=((zone.origin, "the zone"),) if zone else (),
            )


def _direct_accept(host: Host) -> bool:
    """Whether a direct rule lets SSH in, which is the last word with el7's iptables backend alone."""
    rules = chains(host).get(("ipv4", "filter", "INPUT"), ()) if host.platform.major == 7 else ()
    return any(words(rule.rule).target not in DROPS and _may_let_in(words(rule.rule), host) for rule in rules)


def still_judged(site: Site) -> Iterator[Diagnostic]:
    """On el8 firewalld's own rules are nftables', which are asked after the direct ones: a direct accept opens nothing.

    A direct drop is final there, an accept only ends the direct rules of its chain, so that it makes sense as an
    exception from a drop behind it. What shall be open belongs into a zone.

    Bad::

        # hosts/kvm01.yaml
        direct:
          - {family: both, chain: INPUT, rule: "-p tcp --dport 16514 -j ACCEPT"}

    Good::

        # hosts/kvm01.yaml
        zones:
          lan: {services: [ssh], ports: [16514/tcp]}

    Source: https://firewalld.org/2018/07/nftables-backend (direct rules).
    """
    for node in site.nodes():
        if node.platform.major == 8 and node.firewall and node.firewall.rules:
            for (_, table, chain), rules in chains(node).items():
                if table == "filter" and chain in ("INPUT", "FORWARD"):
                    yield from _only_accepts(rules)


def _only_accepts(rules: Sequence[DirectRule]) -> Iterator[Diagnostic]:
    """The accepts behind which nothing more is dropped."""
    last = max((at for at, rule in enumerate(rules) if words(rule.rule).target != "ACCEPT"), default=-1)
    for rule in rules[last + 1 :]:
        if rule.why is None:
            yield Diagnostic(
                rule=STILL_JUDGED,
                message=f"the accept opens nothing: firewalld's zones are asked after the direct rules of {rule.chain}",
                hint="Open it in a zone: `services`, `ports` or `forward`.",
                origin=rule.origin.at("rule"),
            )
