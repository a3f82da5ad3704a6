"""`kvmgen reach`: what was asked, as questions, and their answers as text: here of one packet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

from kvmgen.model.values import Address
from kvmgen.pipeline import Result
from kvmgen.proof import rendered
from kvmgen.reachability.answer import ICMP_TYPES, ICMPV6_TYPES, Nobody, Question, Service, reach, versions_of
from kvmgen.report import reached
from kvmgen.value import value


class Unanswerable(Exception):  # noqa: N818 it is what the caller did
    """A question that was put wrongly; its text says how."""


@value
class Asked:
    """The words of the command, but for the protocol."""

    source: str
    target: str
    versions: tuple[int, ...]
    spoof_ip: str | None = None
    spoof_mac: str | None = None
    arp: bool = False


def ask(
    result: Result, asked: Asked, ports: Mapping[str, int | str | None], *, as_json: bool = False
) -> tuple[str, set[str]]:
    """The answers as text or JSON, and their verdicts."""
    assert result.site is not None
    made, service = rendered(result.site), _service(asked, ports)
    try:
        known = versions_of(made.places, asked.source, asked.target, service)
    except Nobody as nobody:
        message = f"there is no guest, host or address {nobody}"
        raise Unanswerable(message) from None
    spoof_ip, spoof_mac = _forged(asked)
    versions = [version for version in known if version in asked.versions]
    versions = [version for version in versions if spoof_ip is None or spoof_ip.version == version]
    if not versions:
        message = f"{asked.source} and {asked.target} have no addresses of one IP version that this could go by"
        raise Unanswerable(message)
    question = Question(
        source=asked.source, target=asked.target, service=service, version=4, spoof_ip=spoof_ip, spoof_mac=spoof_mac
    )
    answers = [reach(made.consumers, replace(question, version=version)) for version in versions]
    told = (reached.as_json if as_json else reached.as_text)(answers, reached.Places(made, result.sources))
    return told, {str(answer.outcome) for answer in answers}


def _service(asked: Asked, ports: Mapping[str, int | str | None]) -> Service:
    said = {protocol: number for protocol, number in ports.items() if number is not None}
    if len(said) + asked.arp > 1:
        message = f"one packet has one protocol: {', '.join(said)}"
        raise Unanswerable(message)
    if asked.arp:
        return Service(protocol="arp")
    for protocol, number in said.items():
        if isinstance(number, int):
            return Service(protocol=protocol, port=number)
        return Service(protocol=protocol, type=type_named(protocol, number))
    return Service(protocol="ping")


def type_named(protocol: str, said: str) -> int:
    """The number of an ICMP or ICMPv6 type that is called by its name or number."""
    known = ICMP_TYPES if protocol == "icmp" else ICMPV6_TYPES
    if said in known:
        return known[said]
    if re.fullmatch(r"\d{1,3}", said) and int(said) < 256:
        return int(said)
    message = f"there is no {protocol} type {said!r}; there is: {', '.join(known)}"
    raise Unanswerable(message)


def _forged(asked: Asked) -> tuple[Address | None, str | None]:
    if asked.spoof_mac is not None and not re.fullmatch(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", asked.spoof_mac):
        message = f"{asked.spoof_mac!r} is no MAC"
        raise Unanswerable(message)
    try:
        address = None if asked.spoof_ip is None else ip_address(asked.spoof_ip)
    except ValueError as error:
        raise Unanswerable(str(error)) from None
    return address, None if asked.spoof_mac is None else asked.spoof_mac.lower()
