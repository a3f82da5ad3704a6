"""Kernel settings by what they set, however their keys are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kvmgen.model.host import Node, Sysctl

Key = tuple[str, ...]


def parts(key: str) -> Key:
    """A key's parts: whichever of ``.`` and ``/`` comes first separates them, and the other one is part of a name."""
    if "/" in key and "." not in key.partition("/")[0]:
        return tuple(key.split("/"))
    return tuple(part.replace("/", ".") for part in key.split("."))


def settings(node: Node) -> Mapping[Key, Sysctl]:
    """A machine's settings by their keys' parts: of several for one key the inventory's last, which is what holds."""
    derived_first = sorted(node.sysctl, key=lambda setting: setting.why is None)
    return {parts(setting.key): setting for setting in derived_first}


def is_on(found: Mapping[Key, Sysctl], *keys: str) -> bool:
    """Whether one of some keys is set, and to anything but 0."""
    chosen = (found.get(parts(key)) for key in keys)
    return any(setting is not None and setting.value.strip() != "0" for setting in chosen)


def switched_off(found: Mapping[Key, Sysctl], *keys: str) -> Iterator[Sysctl]:
    """The settings of some keys that say 0."""
    for key in keys:
        setting = found.get(parts(key))
        if setting is not None and setting.value.strip() == "0":
            yield setting
