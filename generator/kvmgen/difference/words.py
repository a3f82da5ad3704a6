"""What a change does to those who use a host, in words: every report says it in these."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from kvmgen.difference.model import Effect, HostChange, Impact, ObjectChange
from kvmgen.difference.summary import listed

ASSUMED = (
    "Restarts and losses are told of hosts that run what the older revision says, with all networks and guests on and "
    "nothing changed by hand: `kvmgen-apply plan` on a host has the last word."
)
"""What only the host knows, and an impact takes for granted."""

GENTLE = (Effect.LIVE, Effect.NET_UPDATE)
"""What nobody notices."""

IN_THE_PLAN = {
    Effect.LIVE: ("live",),
    Effect.NET_UPDATE: ("live",),
    Effect.WAITS: ("waits",),
    Effect.RESTART: ("later", "network restart"),
    Effect.NETWORK_RESTART: ("later", "network restart"),
    Effect.GUEST_RESTART: ("guest restart",),
    Effect.MANAGEMENT: ("management",),
}
"""The applier's own words for each effect. A link's restart is ``later`` until the link is named."""

_MOST = 5


def words_of(impact: Impact, shown: Callable[[str], str] = str) -> str:
    """An impact in a few words; ``shown`` makes of a name what can stand in the report."""
    restarts = _restarts(impact, shown)
    match impact.effect:
        case Effect.LIVE:
            return "live"
        case Effect.NET_UPDATE:
            return "live, by net-update"
        case Effect.WAITS:
            return f"goes once {_named(impact.guests, shown)} {_have(impact.guests)} stopped"
        case Effect.GUEST_RESTART:
            return f"waits until {_named(impact.guests, shown)} {_are(impact.guests)} shut down and started again"
        case Effect.MANAGEMENT:
            told = "on the way that administrators come in by (--confirm-within)"
            return f"{told}; {restarts}" if restarts else told
        case Effect.RESTART | Effect.NETWORK_RESTART:
            return restarts or str(impact.effect)


def _restarts(impact: Impact, shown: Callable[[str], str]) -> str:
    """What waits for a restart that somebody asks for by name, and who feels that."""
    names = re.findall(r"--disruptive (\S+)", impact.needs)
    if not names:
        return ""
    told = f"waits until {_named(names, shown)} {_are(names)} restarted (--disruptive)"
    if not impact.guests:
        return told
    lose = "loses its link" if len(impact.guests) == 1 else "lose their link"
    return f"{told}: {_named(impact.guests, shown)} {lose} meanwhile"


def assumed(hosts: Iterable[HostChange]) -> Iterator[str]:
    """What is to be told of impacts where any of them is felt."""
    impacts = (change.impact for host in hosts for change in host.objects)
    if any(impact is not None and impact.effect not in GENTLE for impact in impacts):
        yield ASSUMED


def heaviest(changes: Iterable[ObjectChange]) -> Impact | None:
    """What matters most of what is done to a host; ``None`` where nothing is done."""
    return joined(change.impact for change in changes if change.impact is not None)


def heaviest_first(hosts: Iterable[HostChange]) -> list[HostChange]:
    """The hosts that a reviewer should look at first, before those to which nothing happens."""

    def weight(host: HostChange) -> tuple[int, str]:
        impact = heaviest(host.objects)
        return (-list(Effect).index(impact.effect) if impact else 1), host.host

    return sorted(hosts, key=weight)


def joined(impacts: Iterable[Impact]) -> Impact | None:
    """Several as one: the heaviest effect, all who feel it, and what the applier is to be told for it."""
    found = list(impacts)
    if not found:
        return None
    worst = max((impact.effect for impact in found), key=tuple(Effect).index)
    heaviest_ones = [impact for impact in found if impact.effect is worst]
    guests = sorted({guest for impact in heaviest_ones for guest in impact.guests})
    words = dict.fromkeys(word for impact in heaviest_ones for word in re.findall(r"--\S+ \S+", impact.needs))
    whys = dict.fromkeys(impact.why for impact in heaviest_ones if impact.why)
    return Impact(effect=worst, guests=tuple(guests), needs=" ".join(words), why="; ".join(whys))


def _named(names: Sequence[str], shown: Callable[[str], str]) -> str:
    """Names in a sentence, the first few of many."""
    if len(names) <= _MOST:
        return listed([*map(shown, names)]) or "nobody"
    return listed([*map(shown, names[: _MOST - 1]), f"{len(names) - _MOST + 1} more"])


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _have(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"
