"""Kernel settings, and whether bridged frames pass iptables: sysctl, modules-load and udev files.

Sources: sysctl.d(5), modules-load.d(5); on el6 ``apply_sysctl`` of initscripts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial

from kvmgen.artifact import Artifact, Kind, Lines
from kvmgen.diagnostics import Origin
from kvmgen.model.host import Node, Sysctl
from kvmgen.render._header import hash_header

SETTINGS_FILE = "etc/sysctl.d/90-kvmgen.conf"

BRIDGE_FILE = "etc/sysctl.d/99-zz-kvmgen-bridge.conf"
"""A file of its own with a late name: of several files that set a key the lexically last wins, el7 ships zeros in
00-system.conf, and /etc/sysctl.conf is read as 99-sysctl.conf. Guests' isolation may hang on these three keys."""

_BRIDGE_KEYS = tuple(f"net.bridge.bridge-nf-call-{tables}" for tables in ("ip6tables", "iptables", "arptables"))

_RELOADED = (
    'ACTION=="add", SUBSYSTEM=="module", KERNEL=="br_netfilter", '
    'RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net/bridge"\n'
)

_EL6_SHIPS = (
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.conf.default.rp_filter", "1"),
    ("net.ipv4.conf.default.accept_source_route", "0"),
    ("kernel.sysrq", "0"),
    ("kernel.core_uses_pid", "1"),
    ("net.ipv4.tcp_syncookies", "1"),
    *((key, "0") for key in _BRIDGE_KEYS),
    ("kernel.msgmnb", "65536"),
    ("kernel.msgmax", "65536"),
    ("kernel.shmmax", "68719476736"),
    ("kernel.shmall", "4294967296"),
)
"""What el6's own /etc/sysctl.conf sets (x86_64). The file is replaced as a whole, and what it said must not get lost:
without its zeros for bridges the kernel would show guests' frames to the host's iptables."""


def files(node: Node) -> Iterator[Artifact]:
    """The files of a machine's settings; nothing where there are none."""
    if node.platform.major == 6:
        yield from _el6(node)
        return
    if node.sysctl:
        yield _artifact(node, SETTINGS_FILE, _settings(node), Kind.SYSCTL, _origins(node))
    if node.bridge_netfilter is not None:
        yield from _bridge(node, node.bridge_netfilter)


def _artifact(node: Node, path: str, text: str, kind: Kind, more: Iterable[Origin] = ()) -> Artifact:
    sources, text = tuple(dict.fromkeys((*more, node.origin))), hash_header(node.origin) + text
    return Artifact(path=path, text=text, kind=kind, sources=sources, lines=partial(_lines, node, kind, text))


def _lines(node: Node, kind: Kind, text: str) -> Lines:
    from kvmgen.render.origins.sysctl import bridging_lines, sysctl_lines

    return sysctl_lines(node, text, _BRIDGE_KEYS) if kind is Kind.SYSCTL else bridging_lines(node, text)


def _origins(node: Node) -> Iterable[Origin]:
    return (setting.origin for setting in node.sysctl)


def _settings(node: Node) -> str:
    """Derived settings first: of two lines for one key the last wins, and that is the inventory's own."""
    return "".join(map(_line, sorted(node.sysctl, key=lambda setting: setting.why is None)))


def _line(setting: Sysctl) -> str:
    why = "" if setting.why is None else f"# {setting.why}\n"
    return f"{why}{setting.key} = {setting.value}\n"


def _bridge(node: Node, on: bool) -> Iterator[Artifact]:
    """The module, the keys, and a rule that sets them again.

    The keys don't exist before br_netfilter is loaded, and then start as 1: the module is loaded at boot where it is
    needed, and whoever loads it later (firewalld, libvirt, Docker) triggers the rule. No key has the ``-`` that ignores
    errors before el9: systemd knows it since 243, and older ones would take it for a part of the name. They need none:
    a missing key is only logged.
    """
    if on:
        yield _artifact(node, "etc/modules-load.d/kvmgen-bridge.conf", "br_netfilter\n", Kind.MODULES)
    ignore_errors = "-" if node.platform.major >= 9 else ""
    yield _artifact(node, BRIDGE_FILE, _bridge_lines(on, ignore_errors), Kind.SYSCTL)
    yield _artifact(node, "etc/udev/rules.d/99-kvmgen-bridge.rules", _RELOADED, Kind.UDEV)


def _bridge_lines(on: bool, prefix: str = "") -> str:
    passes = "pass" if on else "don't pass"
    lines = "".join(f"{prefix}{key} = {int(on)}\n" for key in _BRIDGE_KEYS)
    return f"# Frames between the ports of a bridge {passes} this machine's packet filter.\n{lines}"


def _el6(node: Node) -> Iterator[Artifact]:
    """el6 has it all in one file; its bridge module brings the keys, and missing ones are ignored (``sysctl -e``)."""
    if not node.sysctl and node.bridge_netfilter is None:
        return
    bridge = () if node.bridge_netfilter is None else _BRIDGE_KEYS
    shipped = _shipped({setting.key.replace("/", ".") for setting in node.sysctl}.union(bridge))
    bridged = "" if node.bridge_netfilter is None else _bridge_lines(node.bridge_netfilter)
    yield _artifact(node, "etc/sysctl.conf", shipped + _settings(node) + bridged, Kind.SYSCTL, _origins(node))


def _shipped(replaced: Collection[str]) -> str:
    kept = (f"{key} = {value}\n" for key, value in _EL6_SHIPS if key not in replaced)
    return "".join(("# The distribution's own settings\n", *kept, "# This machine's\n"))
