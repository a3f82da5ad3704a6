"""Why iptables refuses a rule, as far as its words alone show it.

Source: iptables(8), iptables-extensions(8), and what iptables-restore says.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from kvmgen.checks._words import Option, Words, words

_COMMANDS = frozenset(
    (
        *("-A", "-I", "-D", "-R", "-C", "-L", "-S", "-F", "-Z", "-N", "-X", "-P", "-E", "-t"),
        *("--append", "--insert", "--delete", "--replace", "--check", "--table", "--policy", "--flush", "--new-chain"),
    )
)
_ONE_VALUE = frozenset(
    (
        *("-p", "-s", "-d", "-i", "-o", "-j", "-g", "-m", "--dport", "--sport", "--dports", "--sports"),
        *("--state", "--ctstate", "--physdev-in", "--physdev-out", "--reject-with", "--comment", "--icmp-type"),
        *("--icmpv6-type", "--mac-source", "--to-destination", "--to-source"),
    )
)
_NO_VALUE = frozenset(("--syn", "-f", "--physdev-is-bridged", "--physdev-is-in", "--physdev-is-out"))
_ONCE = frozenset(("-p", "-s", "-d", "-i", "-o", "-j", "-g"))
_BROUGHT_BY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "--physdev-in": ("physdev",),
        "--physdev-out": ("physdev",),
        "--physdev-is-bridged": ("physdev",),
        "--physdev-is-in": ("physdev",),
        "--physdev-is-out": ("physdev",),
        "--state": ("state", "conntrack"),
        "--ctstate": ("conntrack", "state"),
        "--dports": ("multiport",),
        "--sports": ("multiport",),
        "--comment": ("comment",),
        "--mac-source": ("mac",),
    }
)
"""The matches that bring an option along, the usual one first."""

_WITH_PORTS = frozenset(("tcp", "udp", "udplite", "sctp", "dccp", "6", "17", "33", "132", "136"))
_STATES = frozenset(("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "SNAT", "DNAT"))
_NEEDS: Mapping[str, str] = MappingProxyType({"DNAT": "--to-destination", "SNAT": "--to-source"})
"""Targets with an option that they can't be without; iptables also takes its beginning, `--to`."""


@cache
def refusal(rule: str) -> str | None:
    """What is wrong with a rule, or nothing."""
    read = words(rule)
    if read.unreadable:
        return read.unreadable
    problems = (_option_problem(option, read) for option in read.options)
    return next((problem for problem in problems if problem), None) or _whole_problem(read)


def _option_problem(option: Option, read: Words) -> str | None:
    name, values = option.name, option.values
    if name in _COMMANDS:
        return f"{name} has no place in it, for chain and table are keys of their own"
    if name in _ONE_VALUE and not values:
        return f"{name} lacks its value"
    if (name in _ONE_VALUE and len(values) > 1) or (name in _NO_VALUE and values):
        return f"the word {values[-1]!r} after {name} belongs to no option"
    if name in _BROUGHT_BY and not any(load.name == "-m" and load.value in _BROUGHT_BY[name] for load in read.options):
        return f"{name} needs '-m {_BROUGHT_BY[name][0]}'"
    if name in ("--dport", "--sport", "--dports", "--sports"):
        return _port_problem(option, read)
    return _value_problem(option)


def _port_problem(option: Option, read: Words) -> str | None:
    if read.protocol not in _WITH_PORTS:
        return f"{option.name} needs a protocol with ports, such as '-p tcp'"
    for part in re.split(",", option.value):
        ends = [int(end) if end else None for end in part.split(":") if end.isdigit() or not end]
        known = [end for end in ends if end is not None]
        if option.name.endswith("ports") and None in ends:
            return f"the range {part!r} lacks an end, which multiport wants"
        if any(end > 65535 for end in known):
            return f"{part!r} is no port"
        if len(known) == 2 and known[0] > known[1]:
            return f"the range {part!r} is reversed"
    return None


def _value_problem(option: Option) -> str | None:
    if option.name in ("--state", "--ctstate"):
        unknown = [state for state in option.value.upper().split(",") if state not in _STATES]
        return f"{unknown[0]!r} is no connection state" if unknown else None
    if option.name in ("-i", "-o") and len(option.value) > 15:  # the kernel's IFNAMSIZ - 1
        return f"the interface name {option.value!r} has more than 15 characters"
    if option.name in ("-s", "-d"):
        return next((f"{part!r} is no address" for part in option.value.split(",") if _is_wrong(part)), None)
    if option.name in ("-j", "-g") and option.negated:
        return f"{option.name} can't be negated"
    return None


def _is_wrong(text: str) -> bool:
    """Whether what looks like a whole address isn't one; names and shortened addresses are left to iptables."""
    if re.fullmatch(r"[0-9.]+-[0-9.]+", text):  # a range, which only -m iprange takes
        return True
    if ":" not in text and not re.fullmatch(r"\d+\.\d+\.\d+\.\d+(/[0-9.]+)?", text):
        return False
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return True
    return False


def _whole_problem(read: Words) -> str | None:
    names = [option.name for option in read.options if option.name in _ONCE]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        return f"{twice} is given twice"
    needed = _NEEDS.get(read.target)
    if needed is None or any(option.name in (needed, "--to") for option in read.options):
        return None
    return f"{read.target} needs {needed}"
