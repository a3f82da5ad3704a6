"""The inventory's user data as the YAML 1.1 that cloud-init reads: there, `yes` and `12:30` are no strings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

_HIDDEN = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Characters that nobody sees, or that turn round the direction of writing."""

_OTHER_BREAKS = frozenset("\x85\u2028\u2029")


class _Dumper(yaml.SafeDumper):
    """PyYAML's own, whatever libyaml there is: it quotes each string that YAML 1.1 would take for something else."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Lines as lines: scripts and files are read by people first. YAML 1.1 has more line breaks than that one."""
    style = '"' if _OTHER_BREAKS.intersection(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def as_yaml(data: Mapping[str, object]) -> str:
    """The data in its own order."""
    return _dumped(json.dumps(data, ensure_ascii=False))


@lru_cache(maxsize=256)
def _dumped(data: str) -> str:
    """What many guests share by a profile is written once."""
    as_it_is = not _HIDDEN.search(data)
    return yaml.dump(
        json.loads(data), Dumper=_Dumper, sort_keys=False, width=2**16, default_flow_style=False, allow_unicode=as_it_is
    )


def ways(text: str) -> dict[int, tuple[str | int, ...]]:
    """By each line where a value of a YAML text starts, the way to the outermost of them."""
    found: dict[int, tuple[str | int, ...]] = {}

    def walk(node: yaml.Node, way: tuple[str | int, ...], line: int) -> None:
        found.setdefault(line, way)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                walk(value, (*way, key.value), key.start_mark.line + 1)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                walk(value, (*way, index), value.start_mark.line + 1)

    root = yaml.compose(text, Loader=yaml.CBaseLoader)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        walk(value, (key.value,), key.start_mark.line + 1)
    return found
