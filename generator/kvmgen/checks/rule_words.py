"""The words of a direct rule, as iptables reads them."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.checks._iptables import what_follows, written
from kvmgen.checks._refusals import refusal
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.site import Site

REFUSED = Rule(code="KV602", title="A packet filter rule that iptables refuses")
NO_VERDICT = Rule(code="KV606", title="A rule that decides nothing", severity=Severity.WARNING)


def refused(site: Site) -> Iterator[Diagnostic]:
    """One rule that iptables can't read, and the machine comes up without any of its direct rules.

    firewalld hands all of them over at once and falls back to nothing where one is refused; its own `--check-config`
    looks at few of the words. iptables-restore stops at the line. So the words are read here.

    Bad::

        # hosts/kvm01.yaml
        - {family: both, chain: INPUT, rule: "-p tcp --dport -j DROP"}
        - {family: both, chain: INPUT, rule: "--dport 25 -j DROP"}
        - {family: both, chain: INPUT, rule: "-A INPUT -p tcp --dport 25 -j DROP"}

    Good::

        # hosts/kvm01.yaml
        - {family: both, chain: INPUT, rule: "-p tcp --dport 25 -j DROP"}

    Source: iptables(8) (https://man7.org/linux/man-pages/man8/iptables.8.html); firewalld.direct(5)
    (https://firewalld.org/documentation/man-pages/firewalld.direct.html).
    """
    for node in site.nodes():
        for rule in node.firewall.rules if node.firewall else ():
            problem = None if rule.why else refusal(rule.rule)
            if problem:
                yield Diagnostic(
                    rule=REFUSED,
                    message=f"iptables refuses the rule: {problem}; {what_follows(node)}",
                    hint="Write the words that iptables takes after the chain's name, such as "
                    "'-i br0 -p tcp --dport 25 -j DROP'.",
                    origin=rule.origin.at("rule"),
                )


def no_verdict(site: Site) -> Iterator[Diagnostic]:
    """A rule without `-j` only counts packets: it is loaded, and everything passes on to the next rule.

    Bad::

        # hosts/kvm01.yaml
        - {family: both, chain: INPUT, rule: "-p tcp --dport 25"}

    Good::

        # hosts/kvm01.yaml
        - {family: both, chain: INPUT, rule: "-p tcp --dport 25 -j DROP"}

    Source: iptables(8), `--jump` (https://man7.org/linux/man-pages/man8/iptables.8.html).
    """
    for _, rule, read in written(site):
        if not any(option.name in ("-j", "-g") for option in read.options):
            yield Diagnostic(
                rule=NO_VERDICT,
                message="the rule has no target: it counts packets and lets all of them pass on",
                hint="Say what happens to them: '-j ACCEPT', '-j DROP', '-j LOG'.",
                origin=rule.origin.at("rule"),
            )
