"""nftables' own file: what keeps the guests of a bridge apart from el9 on, and what loads it.

Sources: nft(8); systemd.unit(5) for drop-ins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvmgen.artifact import Artifact, Kind
from kvmgen.model.host import Bridge, Node
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
    """The table, and a drop-in for each daemon that starts guests; nothing where no bridge asks for isolation.

    A drop-in needs no enabling, and one for a daemon that the host hasn't got does nothing.
    """
    bridges = [bridge for bridge in node.bridges if bridge.isolation]
    if not bridges or not node.platform.isolates_by_nftables:
        return
    header, sources = hash_header(node.origin), tuple(bridge.origin.at("isolation") for bridge in bridges)
    yield Artifact(path=PATH, text=header + _WHY + _table(bridges), kind=Kind.FIREWALL, sources=sources)
    for daemon in _DAEMONS:
        yield Artifact(
            path=f"etc/systemd/system/{daemon}.service.d/kvmgen-nftables.conf",
            text=header + _DROP_IN,
            kind=Kind.UNIT,
            sources=sources,
        )


def _table(bridges: Sequence[Bridge]) -> str:
    return "".join(
        (
            "table bridge kvmgen\n",
            "delete table bridge kvmgen\n",
            "table bridge kvmgen {\n",
            "\tchain forward {\n",
            "\t\ttype filter hook forward priority filter; policy accept;\n",
            *map(_rule, bridges),
            "\t}\n",
            "}\n",
        )
    )


def _rule(bridge: Bridge) -> str:
    """What neither comes from the bridge's own ports nor goes to them is between guests."""
    ports = ", ".join(f'"{port}"' for port in bridge.ports)
    if len(bridge.ports) > 1:
        ports = f"{{ {ports} }}"
    guests_only = f" iifname != {ports} oifname != {ports}" if ports else ""
    return f'\t\tmeta ibrname "{bridge.name}"{guests_only} drop\n'
