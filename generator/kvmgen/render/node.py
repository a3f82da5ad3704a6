"""The files under /etc of a machine: a host, or the inside of a guest."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.artifact import Artifact
from kvmgen.model.host import Node
from kvmgen.model.site import HostView
from kvmgen.render import firewalld, ifcfg, iptables, keyfile, nftables, sysctl


def render(view: HostView) -> Iterator[Artifact]:
    """The host's own files."""
    yield from files(view.host)


def files(node: Node) -> Iterator[Artifact]:
    """What the machine's platform reads."""
    yield from ifcfg.files(node) if node.platform.uses_ifcfg else keyfile.files(node)
    yield from iptables.files(node) if node.platform.firewalld is None else firewalld.files(node)
    yield from nftables.files(node)
    yield from sysctl.files(node)
