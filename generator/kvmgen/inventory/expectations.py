"""Lowering what the site and its policies expect of packets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvmgen.diagnostics import Origin
from kvmgen.inventory.context import NOT_TOGETHER, Context, Data
from kvmgen.model.expectation import GUESTS, HOST, NAMED, OUTSIDE, POLICY, End, Expectation

_TYPES = {"icmp": {"echo-request": 8, "timestamp-request": 13}, "icmpv6": {"echo-request": 128}}


_ONE_OF = ("tcp", "udp", "icmp", "icmpv6")


def expectations(context: Context, data: Data, origin: Origin, policy: str | None = None) -> tuple[Expectation, ...]:
    """A document's expectations; in a policy, an end that isn't said is the policy's members."""
    found = []
    for index, said in enumerate(_said(data)):
        at = origin.at("expect", index)
        if not _contradicts_itself(context, said, at):
            found.append(_expectation(said, at, policy))
    return tuple(found)


def _contradicts_itself(context: Context, said: Data, origin: Origin) -> bool:
    """Whether an expectation has words that don't go together, which is told."""
    protocols = [word for word in _ONE_OF if word in said]
    pairs = [(protocols[0], word) for word in protocols[1:]]
    pairs += [
        ("only-from", word) for word in ("from", "except", "spoof", "verdict") if "only-from" in said and word in said
    ]
    pairs += [("spoof", word) for word in ("to", *_ONE_OF) if "spoof" in said and word in said]
    for one, other in pairs[:1]:
        message = f"an expectation says {one} or {other}, never both"
        hint = "Write two expectations: each asks for one packet, and `only-from` and `spoof` say the rest themselves."
        context.error(NOT_TOGETHER, origin.at(other), message, hint, on_key=True)
    return bool(pairs)


def _said(data: Data) -> list[Data]:
    said: list[Data] = data.get("expect", [])
    return said


def _expectation(said: Data, origin: Origin, policy: str | None) -> Expectation:
    members = (End(GUESTS),) if policy is None else (End(POLICY, policy),)
    spoof = tuple(said.get("spoof", ()))
    sources = tuple(_ends(said["from"])) if "from" in said else ()
    targets = tuple(_ends(said["to"])) if "to" in said else ()
    if not sources and not targets:
        sources, targets = (members, ()) if spoof else ((End(OUTSIDE),), members)
    return Expectation(
        origin=origin,
        verdict=said.get("verdict", "blocked" if spoof else "delivered"),
        sources=sources or members,
        targets=targets or (() if spoof else members),
        excepted=tuple(_ends(said.get("except", []))),
        only_from=tuple(_ends(said["only-from"])) if "only-from" in said else None,
        service=_service(said),
        versions={"ipv4": (4,), "ipv6": (6,)}.get(said.get("family", ""), (4, 6)),
        spoof=spoof,
    )


def _ends(said: Any) -> Iterator[End]:
    for one in said if isinstance(said, list) else [said]:
        if isinstance(one, dict):
            ((kind, name),) = one.items()
            yield End(kind, name)
        else:
            yield End(one) if one in (OUTSIDE, GUESTS, HOST) else End(NAMED, one)


def _service(said: Data) -> tuple[str, int | None]:
    for protocol in ("tcp", "udp"):
        if protocol in said:
            return protocol, said[protocol]
    for protocol, types in _TYPES.items():
        if protocol in said:
            return protocol, types[said[protocol]]
    return "ping", None
