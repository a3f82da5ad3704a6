"""What kvmgen makes of generated documents: refused with codes and places, or compiled to files."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from zlib import crc32

from hypothesis import HealthCheck, Phase, given, seed, settings

from kvmgen import pipeline
from kvmgen.artifact import Artifact, Kind
from kvmgen.inventory import schema
from kvmgen.model.site import HostView, Site, views
from kvmgen.render import render
from tests.hostile import as_yaml
from tests.real.driven_site import SUBJECTS, Files, site

EXAMPLES = int(os.environ.get("KVMGEN_EXAMPLES", "100"))
"""How many documents are generated of each subject; a long run by hand asks for thousands."""

SEED = os.environ.get("KVMGEN_SEED", "2")
"""Another one gives other documents."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A document that compiled, the codes of its warnings, its site, and the files that are there because of it."""

    subject: str
    files: Files
    warned: frozenset[str]
    site: Site
    artifacts: tuple[tuple[HostView, Artifact], ...]

    def __str__(self) -> str:
        return f"{self.subject}: {json.dumps(self.files)}"

    def of_kind(self, *kinds: Kind) -> Iterator[tuple[HostView, Artifact]]:
        return ((view, artifact) for view, artifact in self.artifacts if artifact.kind in kinds)


@dataclass(slots=True)
class Harvest:
    """All that came of a subject's documents."""

    samples: list[Sample] = field(default_factory=list)
    refused: int = 0
    codes: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        """How many of all documents compiled."""
        return len(self.samples) / max(1, len(self.samples) + self.refused)


@cache
def harvest(name: str) -> Harvest:
    """Generate a subject's documents, and do with each what kvmgen does."""
    subject, found = SUBJECTS[name], Harvest()
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        inventory = site(Path(folder))
        before = {path: path.read_text() for path in inventory.rglob("*.yaml")}
        known = frozenset(artifact.text for _, artifact in _rendered(inventory))

        def one(files: Files) -> None:
            assert schema.validate(subject.kind, next(iter(files.values())), "new") == [], "the strategy is right"
            for file, data in files.items():
                (inventory / file).write_text(as_yaml(data))
            try:
                _reap(found, name, files, pipeline.load(inventory), known)
            finally:
                for file in files:
                    _restore(inventory / file, before)

        options = settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        seed(crc32(f"{SEED}/{name}".encode()))(options(given(subject.files)(one)))()
        for files in subject.always:
            one(files)
    return found


def _restore(path: Path, before: dict[Path, str]) -> None:
    if path in before:
        path.write_text(before[path])
    else:
        path.unlink()


def _reap(found: Harvest, name: str, files: Files, result: pipeline.Result, known: frozenset[str]) -> None:
    for diagnostic in result.diagnostics:
        assert diagnostic.hint
        assert result.sources.position(diagnostic), f"{diagnostic.rule.code} has no place"
    if result.is_good:
        assert result.site is not None
        warned = frozenset(diagnostic.rule.code for diagnostic in result.diagnostics)
        found.samples.append(Sample(name, files, warned, result.site, tuple(_new(result.site, known))))
    else:
        found.refused += 1
        found.codes.update({diagnostic.rule.code for diagnostic in result.diagnostics if diagnostic.is_error})


def _new(site: Site, known: frozenset[str]) -> Iterator[tuple[HostView, Artifact]]:
    for view in views(site):
        yield from ((view, artifact) for artifact in render(view) if artifact.text not in known)


def around(host: str, kind: Kind) -> list[Artifact]:
    """A host's files of a kind in the site that documents are put into."""
    with tempfile.TemporaryDirectory() as folder:
        rendered = list(_rendered(site(Path(folder))))
    return [artifact for view, artifact in rendered if view.host.name == host and artifact.kind is kind]


def _rendered(inventory: Path) -> Iterator[tuple[HostView, Artifact]]:
    result = pipeline.load(inventory)
    assert result.site is not None
    assert result.is_good, "the site that documents are put into has no fault"
    for view in views(result.site):
        yield from ((view, artifact) for artifact in render(view))
