"""nftables' own file: what keeps the guests of a bridge apart from el9 on, and what loads it.

Sources: nft(8); systemd.unit(5) for drop-ins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from kvmgen.artifact import Artifact, Kind, Lines
from kvmgen.model.host import Isolation, Node
from kvmgen.render._header import hash_header

PATH = "etc/nftables/kvmgen.nft"

_DAEMONS = ("libvirtd", "virtqemud")
"""Whoever starts guests: one daemon for everything, or one for QEMU."""

_WHY = """\
# A table of nftables' bridge family sees every frame, ARP as well, without br_netfilter; firewalld and libvirt leave it
# alone. It is added first so that there is one to delete: loaded at any time, the file takes effect as a whole.
"""

_DROP_IN = f"""\
# Isolation is there before the first guest, and where it can't be loaded no guest starts.
[Service]
ExecStartPre=/usr/sbin/nft -f /{PATH}
"""


def files(node: Node) -> Iterator[Artifact]:
    """The table, and a drop-in for each daemon that starts guests; nothing where it has nothing to say.

    A drop-in needs no enabling, and one for a daemon that the host hasn't got does nothing.
    """
    apart = [isolation for isolation in node.isolations if any(_forward(isolation)) or any(_input(isolation))]
    if not apart or not node.platform.isolates_by_nftables:
        return
    header, sources = hash_header(node.origin), tuple(isolation.origin for isolation in apart)
    text = header + _WHY + _table(apart)
    yield Artifact(path=PATH, text=text, kind=Kind.FIREWALL, sources=sources, lines=partial(_lines, node, apart, text))
    for daemon in _DAEMONS:
        yield Artifact(
            path=f"etc/systemd/system/{daemon}.service.d/kvmgen-nftables.conf",
            text=header + _DROP_IN,
            kind=Kind.UNIT,
            sources=sources,
            lines=partial(dict, ((1, (node.origin,)), (2, sources))),
        )


def _lines(node: Node, apart: Sequence[Isolation], text: str) -> Lines:
    from kvmgen.render.origins.firewall import nftables_origins
    from kvmgen.render.origins.walk import listed_lines

    rules = [line for line in text.splitlines() if not line.startswith("#")]
    return {**listed_lines(text, nftables_origins(apart, rules)), 1: (node.origin,)}


def _table(apart: Sequence[Isolation]) -> str:
    return "".join(
        (
            "table bridge kvmgen\n",
            "delete table bridge kvmgen\n",
            "table bridge kvmgen {\n",
            *_chain("forward", [rule for isolation in apart for rule in _forward(isolation)]),
            *_chain("input", [rule for isolation in apart for rule in _input(isolation)]),
            "}\n",
        )
    )


def _chain(hook: str, rules: Sequence[str]) -> Iterator[str]:
    if rules:
        yield f"\tchain {hook} {{\n"
        yield f"\t\ttype filter hook {hook} priority filter; policy accept;\n"
        yield from (f"\t\t{rule}\n" for rule in rules)
        yield "\t}\n"


def _forward(isolation: Isolation) -> Iterator[str]:
    """From port to port: what neither comes from the bridge's own ports nor goes to them is between guests."""
    if isolation.by_ports:
        return
    on_bridge, uplinks = f'meta ibrname "{isolation.bridge}"', _names(isolation.uplinks)
    for prefix in isolation.groups:
        yield f'{on_bridge} iifname "{prefix}*" oifname "{prefix}*" accept'
    if isolation.word == "all":  # between two uplinks the bridge stays a bridge
        several = len(isolation.uplinks) > 1
        yield from (f"{on_bridge}{condition} drop" for condition in _sides(uplinks) if several)
        yield from () if several else (f"{on_bridge} drop",)
    else:
        yield f"{on_bridge}{''.join(_sides(uplinks))} drop"


def _sides(uplinks: str) -> tuple[str, ...]:
    return (f" iifname != {uplinks}", f" oifname != {uplinks}") if uplinks else ()


def _names(ports: Sequence[str]) -> str:
    names = ", ".join(f'"{port}"' for port in ports)
    return f"{{ {names} }}" if len(ports) > 1 else names


def _input(isolation: Isolation) -> Iterator[str]:
    """To the host: what it would route back to where it came from. Its own address and broadcasts are meant for it."""
    for own in isolation.subnets:
        family = "ip" if own.version == 4 else "ip6"
        meant = [str(own.ip)]
        if own.version == 4 and own.network.prefixlen < 31:
            meant.append(str(own.network.broadcast_address))
        hosts = f"{{ {', '.join(meant)} }}" if len(meant) > 1 else meant[0]
        yield f'meta ibrname "{isolation.bridge}" {family} daddr {own.network} {family} daddr != {hosts} drop'
