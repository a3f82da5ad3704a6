"""A packet filter rule's words, as far as the checks must understand them.

Source: iptables(8) and iptables-extensions(8).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from kvmgen.value import record

DROPS = frozenset(("DROP", "REJECT"))
_ENDS = DROPS | {"ACCEPT", "RETURN", "QUEUE", "MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP"}

_LONG: Mapping[str, str] = MappingProxyType(
    {
        "--protocol": "-p",
        "--proto": "-p",
        "--source": "-s",
        "--src": "-s",
        "--destination": "-d",
        "--dst": "-d",
        "--in-interface": "-i",
        "--out-interface": "-o",
        "--jump": "-j",
        "--goto": "-g",
        "--match": "-m",
        "--fragment": "-f",
        "--destination-port": "--dport",
        "--source-port": "--sport",
        "--destination-ports": "--dports",
        "--source-ports": "--sports",
    }
)
_TAKES_ANYTHING = frozenset(
    ("--comment", "--log-prefix", "--nflog-prefix", "--ulog-prefix", "--string", "--hex-string")
)
"""Options whose value may start with a dash."""

_OF_TARGETS = frozenset(
    (
        *("-j", "-g", "--reject-with", "--to-destination", "--to-source", "--to-ports", "--to-port", "--to"),
        *("--random", "--random-fully", "--persistent", "--log-prefix", "--log-level", "--set-mark", "--set-xmark"),
    )
)
_SAY_BY_THEIR_OPTIONS = frozenset(
    ("comment", "conntrack", "icmp", "icmp6", "icmpv6", "iprange", "mac", "multiport", "physdev", "state", "tcp", "udp")
)
"""Matches that do nothing but bring options along."""

_ANYWHERE = frozenset(("0/0", "0.0.0.0/0", "::/0", "any/0", "all", "any", "0"))


@record
class Option:
    """An option with its values; ``name`` is the short spelling where there are several."""

    name: str
    values: tuple[str, ...] = ()
    negated: bool = False

    @property
    def value(self) -> str:
        """Its first value, or nothing."""
        return self.values[0] if self.values else ""


@record
class Words:
    """A rule's options in their order; ``unreadable`` says why they can't be told apart."""

    options: tuple[Option, ...]
    unreadable: str | None = None

    def get(self, name: str) -> Option | None:
        """The first option of that name."""
        return next((option for option in self.options if option.name == name), None)

    def value(self, name: str) -> str:
        """The value of an option that is given and not negated, or nothing."""
        option = self.get(name)
        return option.value if option and not option.negated else ""

    @property
    def target(self) -> str:
        """What the rule jumps or goes to, or nothing."""
        return self.value("-j") or self.value("-g")

    @property
    def protocol(self) -> str:
        """The protocol in lower case, or nothing."""
        return self.value("-p").lower()

    @property
    def conditions(self) -> frozenset[Option]:
        """What a packet must be like."""
        return frozenset(option for option in self.options if _is_condition(option))

    @property
    def decides_all(self) -> bool:
        """Whether no packet comes past the rule."""
        return self.target in _ENDS and not self.get("-g") and not self.conditions

    @property
    def bridge(self) -> str:
        """The interface that packets both come in and go out by, or nothing."""
        came_in = self.value("-i")
        return came_in if came_in == self.value("-o") else ""

    @property
    def is_for_new_flows(self) -> bool:
        """Whether the rule fits the first packet of a flow."""
        states = self.value("--state") or self.value("--ctstate")
        return not states or "NEW" in states.upper().split(",")


def _is_condition(option: Option) -> bool:
    if option.name in _OF_TARGETS or option.name == "--comment":
        return False
    if option.name == "-m":
        return option.value not in _SAY_BY_THEIR_OPTIONS
    return not (option.name in ("-s", "-d", "-p") and option.value in _ANYWHERE and not option.negated)


@cache
def words(rule: str) -> Words:
    """A rule's words."""
    try:
        return _read(shlex.split(rule))
    except ValueError:
        return Words((), "its quotes don't pair")


def _read(parts: list[str]) -> Words:
    options: list[Option] = []
    negated = False
    for part in parts:
        last = options[-1] if options else None
        wants_more = last is not None and not last.values and last.name in _TAKES_ANYTHING
        if part == "!":
            negated = True
        elif part.startswith("-") and len(part) > 1 and not part[1].isdigit() and not wants_more:
            options.append(_option(part, negated))
            negated = False
        elif last is None:
            return Words((), f"the word {part!r} belongs to no option")
        else:  # a negation between an option and its value is an older spelling
            options[-1] = Option(last.name, (*last.values, part), last.negated or negated)
            negated = False
    return Words(tuple(options))


def _option(part: str, negated: bool) -> Option:
    if not part.startswith("--"):
        return Option(part[:2], (part[2:],) if part[2:] else (), negated)
    name, equals, value = part.partition("=")
    return Option(_LONG.get(name, name), (value,) if equals else (), negated)
