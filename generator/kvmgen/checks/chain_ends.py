"""What becomes of a frame that no rule of a filter's chain decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvmgen.checks._filters import (
    DROPS,
    EVERYTHING,
    PASSES,
    Placed,
    chain_kind,
    chain_priority,
    conditions,
    directions,
    family_of,
    kind_of,
    priority_of,
    tell_once,
    trees,
)
from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.filters import FilterRule
from kvmgen.model.site import Site

ENDS_OPEN = Rule(code="KV548", title="A chain whose end accepts", severity=Severity.WARNING)

_SAYS = {"in": "that is sent to the guest", "out": "that the guest sends"}
_FRAMES = {
    EVERYTHING: "a frame",
    "ipv4": "IPv4",
    "ipv6": "IPv6",
    "arp": "ARP",
    "rarp": "RARP",
    "vlan": "a tagged frame",
}


def chain_ends(site: Site) -> Iterator[Diagnostic]:
    """A frame that gets to the end of a chain beside root is accepted: no later chain and no drop of root's sees it.

    That holds for every chain, in each direction in which it has a rule. Only a rule that returns leaves a chain for
    what comes after it. So with one small chain for ARP, root's final drop drops no ARP any more. Of libvirt's own
    filters, allow-dhcp and no-mac-broadcast end so. Told where something after the chain would hold such frames.

    Bad::

        # filters/no-multicast.yaml
        chain: ipv4-mcast
        rules:
          - {priority: 500, action: drop, direction: out, ip: {dstipaddr: 224.0.0.0, dstipmask: 4}}

        # filters/lan.yaml
        rules:
          - filter: no-multicast
          - {priority: 500, action: accept, direction: out, ip: {dstipaddr: 192.0.2.0, dstipmask: 24}}
          - {priority: 1000, action: drop, direction: out, mac: {protocolid: ipv4}}

    Good::

        # filters/no-multicast.yaml
        chain: ipv4-mcast
        rules:
          - {priority: 500, action: drop, direction: out, ip: {dstipaddr: 224.0.0.0, dstipmask: 4}}
          - {priority: 1000, action: return, direction: out}

        # filters/lan.yaml
        rules:
          - filter: no-multicast
          - {priority: 500, action: accept, direction: out, ip: {dstipaddr: 192.0.2.0, dstipmask: 24}}
          - {priority: 1000, action: drop, direction: out, mac: {protocolid: ipv4}}

    Source: `return` in libvirt's "Filtering chains" (https://libvirt.org/formatnwfilter.html#filtering-chains); the
    policy of chains, `-P` and `-N`, in https://man7.org/linux/man-pages/man8/ebtables-nft.8.html.
    """
    found: dict[Origin, Diagnostic] = {}
    for tree in trees(site):
        frames = [placed for placed in tree if family_of(placed.rule) is None]
        for chain in dict.fromkeys(placed.filter.chain for placed in frames if placed.filter.chain != "root"):
            for direction in ("in", "out"):
                _tell_of(found, frames, chain, direction)
    yield from found.values()


def _tell_of(found: dict[Origin, Diagnostic], frames: Sequence[Placed], chain: str, direction: str) -> None:
    of_chain = _standing(frames, chain, direction)
    if not of_chain or any(_takes_all(placed.rule, chain_kind(chain)) for placed in of_chain):
        return
    if not _is_entered(frames, of_chain[0], direction):
        return  # another check tells so
    missed = _held_later(frames, of_chain[0], direction)
    if missed is not None and (missed.is_own or any(placed.is_own for placed in of_chain)):
        tell_once(found, _told(next((one for one in of_chain if one.is_own), of_chain[0]), direction, missed))


def _standing(frames: Sequence[Placed], chain: str, direction: str) -> list[Placed]:
    """A chain's rules of one direction, in order."""
    found = (one for one in frames if one.filter.chain == chain and direction in directions(one.rule))
    return sorted(found, key=lambda placed: priority_of(placed.rule))


def _is_entered(frames: Sequence[Placed], placed: Placed, direction: str) -> bool:
    """Whether no rule of root's takes all frames of a chain before it."""
    kind, priority = chain_kind(placed.filter.chain), chain_priority(placed.filter)
    before = (one.rule for one in _standing(frames, "root", direction) if priority_of(one.rule) < priority)
    return not any(_takes_all(rule, kind) for rule in before)


def _takes_all(rule: FilterRule, kind: str) -> bool:
    """Whether no frame of a kind gets past a rule."""
    if rule.action == "continue" or (rule.match is not None and rule.match.negated):
        return False
    said = conditions(rule)
    if rule.match is not None and rule.match.protocol == "mac":
        said.pop("protocolid", None)  # the kind says it
    return not said and kind_of(rule) in (kind, EVERYTHING)


def _held_later(frames: Sequence[Placed], ended: Placed, direction: str) -> Placed | None:
    """The first drop behind a chain that would hold some of its frames, unless they are all accepted before it."""
    kind = chain_kind(ended.filter.chain)
    for _, rules in sorted(_after(frames, ended, direction), key=lambda part: part[0]):
        for placed in rules:
            rule = placed.rule
            if rule.action in DROPS and (kind == EVERYTHING or kind_of(rule) in (kind, EVERYTHING)):
                return placed
            if rule.action in PASSES and _takes_all(rule, kind):
                if rule.action == "return" and placed.filter.chain != "root":
                    break
                return None
    return None


def _after(frames: Sequence[Placed], ended: Placed, direction: str) -> Iterator[tuple[int, list[Placed]]]:
    """What comes behind a chain, by priority: rules of root's, and whole chains that its frames enter as well."""
    kind, priority = chain_kind(ended.filter.chain), chain_priority(ended.filter)
    for placed in _standing(frames, "root", direction):
        if priority_of(placed.rule) >= priority:
            yield priority_of(placed.rule), [placed]
    others = {placed.filter.chain: chain_priority(placed.filter) for placed in frames}
    for chain, at in others.items():
        of_kind = EVERYTHING in (kind, chain_kind(chain)) or chain_kind(chain) == kind
        if chain not in ("root", ended.filter.chain) and at > priority and of_kind:
            yield at, _standing(frames, chain, direction)


def _told(ended: Placed, direction: str, missed: Placed) -> Diagnostic:
    chain = ended.filter.chain
    what = _FRAMES.get(chain_kind(chain), "a frame")
    whose = "" if missed.is_own else f" of {missed.filter.name}"
    return Diagnostic(
        rule=ENDS_OPEN,
        message=f"{what} {_SAYS[direction]} and no rule of chain {chain} decides is accepted at the chain's end: "
        f"the {missed.rule.action}{whose} behind it never sees it",
        hint=f"End the chain with `{{priority: 1000, action: return, direction: {direction}}}`, which goes on behind "
        "it, or with a drop.",
        origin=ended.filter.origin.at("chain") if ended.is_own else ended.place,
        related=((missed.place, f"the {missed.rule.action}"),),
    )
