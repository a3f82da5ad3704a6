"""The services that the command names in a list."""

from __future__ import annotations

import re

from kvmgen.asking import Unanswerable, type_named
from kvmgen.reachability.answer import Service


def services_of(words: str | None) -> tuple[Service, ...]:
    """``tcp/22,ping`` as services; none where nothing was said."""
    return tuple(dict.fromkeys(_named_service(word.strip()) for word in (words or "").split(",") if word.strip()))


def _named_service(word: str) -> Service:
    protocol, slash, number = word.partition("/")
    if word in ("ping", "arp"):
        return Service(protocol=word)
    if protocol in ("tcp", "udp", "sctp") and re.fullmatch(r"\d{1,5}", number) and 0 < int(number) < 65536:
        return Service(protocol=protocol, port=int(number))
    if protocol in ("icmp", "icmpv6") and slash:
        return Service(protocol=protocol, type=type_named(protocol, number))
    message = f"{word!r} is no service: write tcp/22, udp/53, sctp/36412, icmp/echo-request, icmpv6/135, ping or arp"
    raise Unanswerable(message)
