"""Generated files as their readers get them, each with the document that made it, and what a reader refuses."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kvmgen.artifact import Artifact, Kind
from kvmgen.model.host import Node
from kvmgen.model.site import HostView
from tests.real.harvest import Sample


@dataclass(frozen=True, slots=True)
class Item:
    """A file, or several, that a consumer reads at once, and the document that made it."""

    sample: Sample
    view: HostView
    artifact: Artifact

    @property
    def node(self) -> Node:
        """The machine whose file it is: the host, or the inside of a guest."""
        folder, _, rest = self.artifact.path.partition("/")
        inside = self.sample.site.guests[rest.split("/")[0]].inside if folder == "guests" else self.view.host
        assert inside is not None
        return inside

    @property
    def path(self) -> str:
        """The file's path on its machine."""
        folder, _, rest = self.artifact.path.partition("/")
        return rest.partition("/")[2] if folder == "guests" else self.artifact.path

    @property
    def name(self) -> str:
        """The name of the libvirt object."""
        assert self.artifact.defines is not None
        return self.artifact.defines.name


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a consumer says of a file that kvmgen wrote."""

    item: Item
    said: str

    def __str__(self) -> str:
        return f"{self.said.strip()}\n  {self.item.artifact.path} of {self.item.sample}"


def items(samples: Iterable[Sample], wanted: Callable[[Item], bool]) -> list[Item]:
    """The different files that a consumer reads: one that several documents compile to is judged once."""
    found: dict[str, Item] = {}
    for sample in samples:
        for view, artifact in sample.artifacts:
            item = Item(sample, view, artifact)
            if wanted(item):
                found.setdefault(artifact.text, item)
    return list(found.values())


def of_kind(kind: Kind) -> Callable[[Item], bool]:
    return lambda item: item.artifact.kind is kind


def below(*paths: str) -> Callable[[Item], bool]:
    return lambda item: item.path.startswith(paths)


def grouped(refusals: Iterable[Refusal]) -> str:
    """Refusals by what was said, names and numbers left out: how many there are, and the shortest document of each."""
    groups: defaultdict[str, list[Refusal]] = defaultdict(list)
    for refusal in refusals:
        groups[re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*|\d+", "_", refusal.said)].append(refusal)
    ordered = sorted(groups.values(), key=len, reverse=True)
    return "\n\n".join(f"{len(group)} x {min(group, key=lambda one: len(str(one.item.sample)))}" for group in ordered)
