"""A NIC's ``ethtool`` options as the settings of a NetworkManager profile.

initscripts run the words as they stand; NetworkManager has a key for most of them and nothing for the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from kvmgen.model.platform import Version
from kvmgen.value import value

Pairs = tuple[tuple[str, str], ...]

CHANNELS_SINCE: Version = (1, 46)
"""NetworkManager's first version with keys for ``ethtool -L``."""


@value
class Ethtool:
    """``link`` are keys of a profile's section ``ethernet``, ``options`` of its section ``ethtool``.

    ``problem`` is what of the words no profile can say, or nothing; ``since`` is the first NetworkManager that has the
    keys, where not every one does.
    """

    link: Pairs = ()
    options: Pairs = ()
    problem: str | None = None
    since: Version | None = None


_FEATURES = frozenset(
    (
        *("esp-hw-offload", "esp-tx-csum-hw-offload", "fcoe-mtu", "gro", "gso", "highdma", "hw-tc-offload"),
        *("l2-fwd-offload", "loopback", "lro", "macsec-hw-offload", "ntuple", "rx", "rx-all", "rx-fcs", "rx-gro-hw"),
        *("rx-gro-list", "rx-udp-gro-forwarding", "rx-udp_tunnel-port-offload", "rx-vlan-filter"),
        *("rx-vlan-stag-filter", "rx-vlan-stag-hw-parse", "rxhash", "rxvlan", "sg", "tls-hw-record"),
        *("tls-hw-rx-offload", "tls-hw-tx-offload", "tso", "tx", "tx-checksum-fcoe-crc", "tx-checksum-ip-generic"),
        *("tx-checksum-ipv4", "tx-checksum-ipv6", "tx-checksum-sctp", "tx-esp-segmentation", "tx-fcoe-segmentation"),
        *("tx-gre-csum-segmentation", "tx-gre-segmentation", "tx-gso-list", "tx-gso-partial", "tx-gso-robust"),
        *("tx-ipxip4-segmentation", "tx-ipxip6-segmentation", "tx-nocache-copy", "tx-scatter-gather"),
        *("tx-scatter-gather-fraglist", "tx-sctp-segmentation", "tx-tcp-ecn-segmentation"),
        *("tx-tcp-mangleid-segmentation", "tx-tcp-segmentation", "tx-tcp6-segmentation"),
        *("tx-tunnel-remcsum-segmentation", "tx-udp-segmentation", "tx-udp_tnl-csum-segmentation"),
        *("tx-udp_tnl-segmentation", "tx-vlan-stag-hw-insert", "txvlan"),
    )
)
"""Offloads by the names that both ethtool and NetworkManager use."""

_COALESCE = re.compile(
    r"adaptive-[rt]x|[rt]x-(usecs|frames)(-(irq|low|high))?|pkt-rate-(low|high)|sample-interval|stats-block-usecs"
)
_SWITCH = MappingProxyType({"on": "true", "off": "false"})
_NUMBERED_SWITCH = MappingProxyType({"on": "1", "off": "0"})
_WAKE_ON_LAN = MappingProxyType({"p": 2, "u": 4, "m": 8, "b": 16, "a": 32, "g": 64, "d": 0})
"""ethtool's letters, and the bits that NetworkManager has for them; none of them is off."""


def ethtool(words: str, device: str) -> Ethtool:
    """Read the options of one NIC: ``speed 1000 duplex full autoneg off``, or a command, ``-K eno1 gro off``."""
    said = words.split()
    if not said or not said[0].startswith("-"):
        return _of_link(said)
    command, *rest = said
    if command in ("-s", "--change") and rest[:1] == [device]:
        return _of_link(rest[1:])
    reader = _COMMANDS.get(command)
    if reader is None:
        return Ethtool(problem=f"the command {command!r}")
    if rest[:1] != [device]:
        return Ethtool(problem=f"options of {rest[0]!r}, not {device!r}" if rest else "a command without a device")
    return reader(rest[1:])


def _of_link(said: list[str]) -> Ethtool:
    pairs, problem = _pairs(said, _link_key)
    found = dict(pairs)
    fixed = found.keys() & {"speed", "duplex"}
    if problem is None and found.get("auto-negotiate") == "false" and len(fixed) < 2:
        problem = "`autoneg off` without both `speed` and `duplex`"
    if problem is None and fixed and (len(fixed) < 2 or "auto-negotiate" not in found):
        problem = "one of `speed`, `duplex` and `autoneg` without the other two"
    return Ethtool(link=pairs, problem=problem)


def _link_key(word: str, given: str) -> tuple[str, str | None]:
    match word:
        case "autoneg":
            return "auto-negotiate", _SWITCH.get(given)
        case "duplex":
            return "duplex", given if given in ("half", "full") else None
        case "speed":
            return "speed", _number(given)
        case "wol":
            bits = [_WAKE_ON_LAN.get(letter) for letter in given]
            return "wake-on-lan", None if None in bits else str(sum(bit or 0 for bit in set(bits)))
    return "", None


def _feature(word: str, given: str) -> tuple[str, str | None]:
    return f"feature-{word}", _SWITCH.get(given) if word in _FEATURES else None


def _coalesce(word: str, given: str) -> tuple[str, str | None]:
    name = word.replace("-frame-", "-frames-")  # how ethtool spells some of them
    fitting = _NUMBERED_SWITCH.get(given) if word.startswith("adaptive") else _number(given)
    return f"coalesce-{name}", fitting if _COALESCE.fullmatch(name) else None


def _ring(word: str, given: str) -> tuple[str, str | None]:
    return f"ring-{word}", _number(given) if word in ("rx", "rx-mini", "rx-jumbo", "tx") else None


def _pause(word: str, given: str) -> tuple[str, str | None]:
    return f"pause-{word}", _SWITCH.get(given) if word in ("autoneg", "rx", "tx") else None


def _channels(word: str, given: str) -> tuple[str, str | None]:
    return f"channels-{word}", _number(given) if word in ("rx", "tx", "other", "combined") else None


def _number(text: str) -> str | None:
    return str(int(text)) if re.fullmatch(r"[0-9]{1,9}", text) else None


Key = Callable[[str, str], tuple[str, str | None]]


def _options(key: Key, since: Version | None = None) -> Callable[[list[str]], Ethtool]:
    def read(said: list[str]) -> Ethtool:
        pairs, problem = _pairs(said, key)
        found = dict(pairs)
        if problem is None and found.get("pause-autoneg") == "true" and len(found) > 1:
            problem = "`autoneg on` beside pause options of its own"
        return Ethtool(options=pairs, problem=problem, since=since)

    return read


_COMMANDS: Mapping[str, Callable[[list[str]], Ethtool]] = MappingProxyType(
    {
        **dict.fromkeys(("-K", "--features", "--offload"), _options(_feature)),
        **dict.fromkeys(("-C", "--coalesce"), _options(_coalesce)),
        **dict.fromkeys(("-G", "--set-ring"), _options(_ring)),
        **dict.fromkeys(("-A", "--pause"), _options(_pause)),
        **dict.fromkeys(("-L", "--set-channels"), _options(_channels, CHANNELS_SINCE)),
    }
)


def _pairs(said: list[str], key: Key) -> tuple[Pairs, str | None]:
    """The keys of words in pairs, and the first pair that has none."""
    found: dict[str, str] = {}
    for word, given in _two_by_two(said):
        name, fitting = key(word, given)
        if fitting is None:
            return (), f"{word} {given}".strip()
        found[name] = fitting
    return tuple(sorted(found.items())), None if found else "a command without options"


def _two_by_two(said: list[str]) -> Iterator[tuple[str, str]]:
    for index in range(0, len(said), 2):
        yield said[index], said[index + 1] if index + 1 < len(said) else ""
