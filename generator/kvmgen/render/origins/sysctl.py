"""Where the lines of kernel settings come from: sysctl, modules-load and udev files."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kvmgen.artifact import Lines
from kvmgen.model.host import Node
from kvmgen.render.origins.walk import CHOICE, Origins, listed_lines


def sysctl_lines(node: Node, text: str, bridge_keys: Collection[str]) -> Lines:
    """Each setting: where it is said, what it was derived from, or what makes bridged frames pass the packet filter."""
    said: Mapping[str, Origins] = {setting.key: (setting.origin,) for setting in node.sysctl}
    bridged = dict.fromkeys(bridge_keys, bridging_origins(node)) if node.bridge_netfilter is not None else {}
    known = bridged | dict(said)
    keys = [line.partition(" = ")[0].lstrip("-") for line in text.splitlines() if line and not line.startswith("#")]
    return {**listed_lines(text, [known.get(key, CHOICE) for key in keys]), 1: (node.origin,)}


def bridging_lines(node: Node, text: str) -> Lines:
    """The module and the rule that sets the keys again."""
    return {**listed_lines(text, (), bridging_origins(node)), 1: (node.origin,)}


def bridging_origins(node: Node) -> Origins:
    """What makes bridged frames pass the machine's packet filter: its own word, else what depends on it."""
    if node.bridge_netfilter_at is not None:
        return (node.bridge_netfilter_at,)
    return node.bridge_netfilter_for or (node.origin,)
