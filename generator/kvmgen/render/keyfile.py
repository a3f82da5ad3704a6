"""Links as el9 and el10 describe them: NetworkManager's profiles, a key file each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from kvmgen.artifact import Artifact, Kind, Lines
from kvmgen.model.host import Link, Node
from kvmgen.render._header import hash_header
from kvmgen.render._keyfile_keys import Keys, Sections, escaped, sections
from kvmgen.render._keyfile_ovs import behind, switch_of
from kvmgen.render._machine import Machine

FOLDER = "etc/NetworkManager/system-connections"
MODE = 0o600
"""NetworkManager leaves a profile alone that anybody but root can read: it may hold secrets, though these don't."""


def files(node: Node) -> Iterator[Artifact]:
    """The profile of every link, named as the link is; where Open vSwitch is in between, also what it needs."""
    machine = Machine.of(node)
    for link in node.links:
        switch = switch_of(link, node)
        more = () if switch is None else behind(link, switch)
        for name, parts in ((link.name, sections(link, machine)), *more):
            text = hash_header(link.origin) + written(parts)
            yield Artifact(
                path=f"{FOLDER}/{name}.nmconnection",
                text=text,
                kind=Kind.LINK,
                sources=(link.origin,),
                mode=MODE,
                lines=partial(_lines, link, machine, text),
            )


def _lines(link: Link, machine: Machine, text: str) -> Lines:
    from kvmgen.render.origins.links import keyfile_places
    from kvmgen.render.origins.walk import key_lines

    return key_lines(text, keyfile_places(link, machine))


def profile(link: Link, machine: Machine) -> str:
    """A link's profile."""
    return written(sections(link, machine))


def written(parts: Sections) -> str:
    """A profile's sections, without those that say nothing."""
    texts = ((name, _keys(keys)) for name, keys in parts)
    return "".join(f"\n[{name}]\n{keys}" for name, keys in texts if keys)


def _keys(keys: Keys) -> str:
    return "".join(f"{key}={escaped(value)}\n" for key, value in keys)
