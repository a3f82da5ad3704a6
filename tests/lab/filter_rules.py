"""The rules that libvirt makes of an nwfilter, beside those that it is believed to make, both as the kernel shows them.

What is believed is loaded into the same kernel for a tap that isn't there, whose name is as long, so that ebtables and
iptables write both in their own words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kvmgen.reachability.nwfilter import TapFilter
from tests.lab.guest import LabGuest
from tests.lab.host import LabError, LabHost

LAYERS = ("ebtables", "iptables", "ip6tables")
BELIEVED = "believed"
"""The tap that isn't there; the real one has a name of as many characters."""

Chains = dict[str, list[str]]
"""The rules of each chain, by layer and name."""


def kernel_rules(host: LabHost, tap: str) -> Chains:
    """The rules of a tap's chains, in order, with ``TAP`` for its name."""
    found: Chains = {}
    for layer in LAYERS:
        for line in host.run(f"{layer}-save").stdout.splitlines():
            words = re.match(r"-A (\S+) (.*)", line)
            if words and _is_of(words[1], tap):
                chain = f"{layer} {words[1].replace(tap, 'TAP')}"
                found.setdefault(chain, []).append(words[2].replace(tap, "TAP"))
    return found


def _is_of(chain: str, tap: str) -> bool:
    return chain.endswith(f"-{tap}") or f"-{tap}-" in chain


def believed_rules(host: LabHost, filter_: TapFilter) -> Chains:
    """The same of what a filter is believed to become; it must be for the tap `BELIEVED`."""
    assert filter_.tap == BELIEVED
    for layer in LAYERS:
        rules = [line.split(" -A ", 1)[1] for line in filter_.rules() if line.startswith(f"{layer} ")]
        if rules:
            table = "nat" if layer == "ebtables" else "filter"
            script = [f"*{table}", *_declared(layer, rules), *(f"-A {rule}" for rule in rules), "COMMIT", ""]
            host.run(f"{layer}-restore", "--noflush", input="\n".join(script))
    try:
        return kernel_rules(host, BELIEVED)
    finally:
        _forget(host)


def _declared(layer: str, rules: Iterable[str]) -> Iterator[str]:
    """Every chain that a rule stands in or calls."""
    names = {word for rule in rules for word in (rule.split()[0], rule.split()[-1]) if _is_of(word, BELIEVED)}
    return (f":{name} {'ACCEPT' if layer == 'ebtables' else '-'}" for name in sorted(names))


def _forget(host: LabHost) -> None:
    """Take the believed chains away, all of a layer in one transaction."""
    for layer in LAYERS:
        names = sorted(re.findall(rf"(?m)^:(\S*-{BELIEVED}\S*) ", host.run(f"{layer}-save").stdout))
        if names:
            table = "nat" if layer == "ebtables" else "filter"
            script = [f"*{table}", *(f"{action} {name}" for action in ("-F", "-X") for name in names), "COMMIT", ""]
            host.run(f"{layer}-restore", "--noflush", input="\n".join(script))


def differences(guest: LabGuest, filter_: TapFilter, name: str, parameters: Mapping[str, Sequence[str]]) -> list[str]:
    """Bind the named filter and say, chain by chain, where the kernel's rules aren't the believed ones.

    Where libvirt or the kernel refuses the filter, the belief must say that nothing is known of it, or be refused too.
    """
    bound = guest.bind_filter(name, parameters, check=False)
    try:
        if bound.returncode != 0:
            return refusal(guest.host, filter_, bound.stderr)
        return differences_of_bound(guest, filter_)
    finally:
        guest.unbind_filter()


def differences_of_bound(guest: LabGuest, filter_: TapFilter) -> list[str]:
    """The same for a filter that is bound already."""
    if filter_.problem:
        return [f"libvirt makes rules, and here it's believed that it can't: {filter_.problem}"]
    made, believed = kernel_rules(guest.host, guest.tap), believed_rules(guest.host, filter_)
    chains = sorted({*made, *believed})
    return [_difference(chain, made, believed) for chain in chains if _differ(chain, made, believed)]


def _differ(chain: str, made: Chains, believed: Chains) -> bool:
    return made.get(chain, []) != believed.get(chain, [])


def _difference(chain: str, made: Chains, believed: Chains) -> str:
    real, ours = ("\n  ".join(rules.get(chain, ["(nothing)"])) for rules in (made, believed))
    return f"{chain}: libvirt made\n  {real}\nand here it's believed\n  {ours}"


def refusal(host: LabHost, filter_: TapFilter, why: str) -> list[str]:
    """What to say of a filter that libvirt refuses: nothing where the belief is refused as well."""
    if filter_.problem:
        return []
    try:
        believed_rules(host, filter_)
    except LabError:
        _forget(host)
        return []
    return [f"libvirt makes no rules: {why}\nand here it's believed that it does:\n" + "\n".join(filter_.rules())]
