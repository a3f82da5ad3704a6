"""What made a line of the output, and why it has the form that it has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from kvmgen.artifact import Artifact, Lines
from kvmgen.diagnostics import Origin
from kvmgen.explain.places import Place, places
from kvmgen.inventory.sources import Sources
from kvmgen.model.site import HostView, Site, views
from kvmgen.output.manifest import NAME as MANIFEST
from kvmgen.output.manifest import manifest
from kvmgen.render import render
from kvmgen.render.facts import facts_of
from kvmgen.render.facts.fact import Fact
from kvmgen.render.origins.walk import CHOICE
from kvmgen.value import value

_WANTED = re.compile(r"(.+?):([0-9]{1,9})(?:-([0-9]{1,9})|:[0-9]+)?:?")

_SAYS_NOTHING = re.compile(r"\s*(</[\w-]+>)?")
"""What a reader of several lines needs no explanation of: blank lines, and the ends of elements."""


@value
class Wanted:
    """Lines of a file of the output, the first and the last."""

    path: str
    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> Wanted | None:
        """Read ``PATH:LINE``, ``PATH:FIRST-LAST``, or ``PATH:LINE:COLUMN`` as other programs write it."""
        found = _WANTED.fullmatch(text)
        if found is None:
            return None
        path, first, last = found.groups()
        return cls(path=path, first=int(first), last=int(last or first))


@value
class Line:
    """One line of a file with what made it."""

    number: int
    text: str
    places: tuple[Place, ...]
    facts: tuple[Fact, ...]


@value
class Explained:
    """Lines of ``path``, which is in ``host``'s folder. ``note`` is said where the output holds another file."""

    host: str
    path: str
    lines: tuple[Line, ...]
    note: str = ""


@value
class _File:
    """A file as a build makes it."""

    view: HostView
    path: str
    text: str
    origins: Lines
    artifact: Artifact | None = None


def explain_lines(wanted: Wanted, output: Path, site: Site, sources: Sources) -> Explained | str:
    """What made these lines; a text where there are none to explain."""
    file = _found(wanted.path, output, site)
    if file is None:
        return f"{wanted.path} is not a file that `kvmgen build` makes from {sources.root}."
    if file.artifact is not None and file.artifact.binary is not None:
        return f"{wanted.path} is an image, and has no lines.{_texts_of(file)}"
    lines = file.text.splitlines()
    if not 1 <= wanted.first <= min(wanted.last, len(lines)):
        return f"{wanted.path} has no line {_range(wanted)}: a build makes it with {len(lines)} lines."
    chosen = list(enumerate(lines[wanted.first - 1 : wanted.last], wanted.first))
    if len(chosen) > 1:
        chosen = [(number, text) for number, text in chosen if not _SAYS_NOTHING.fullmatch(text)]
    return Explained(
        host=file.view.host.name,
        path=file.path,
        lines=tuple(_line(file, number, text, sources) for number, text in chosen),
        note=_stale(file, output),
    )


def _range(wanted: Wanted) -> str:
    return str(wanted.first) if wanted.first == wanted.last else f"{wanted.first}-{wanted.last}"


def _found(path: str, output: Path, site: Site) -> _File | None:
    """The file of this path, as it is seen from here or from the output's folder."""
    for way in (os.path.relpath(path, output), path):
        host, _, rest = way.partition(os.sep)
        for view in views(site):
            if view.host.name == host:
                return next(_files(view, rest), None)
    return None


def _files(view: HostView, path: str) -> Iterator[_File]:
    artifacts = render(view)
    if path == MANIFEST:
        text = manifest(view.site.name, view.host.name, str(view.host.platform), artifacts)
        yield _File(view=view, path=path, text=text, origins=_of_manifest(view, artifacts, text))
    for artifact in artifacts:
        if artifact.path == path:
            origins = artifact.lines() if artifact.lines is not None else {1: artifact.sources[:1]}
            yield _File(view=view, path=path, text=artifact.text, origins=origins, artifact=artifact)


def _of_manifest(view: HostView, artifacts: list[Artifact], text: str) -> Lines:
    """A line for each file, as it stands there."""
    by_path = {f'"path": "{artifact.path}"': artifact.sources[:1] for artifact in artifacts}
    heads = {
        ' "site": ': (Origin("site.yaml", ("name",)),),
        ' "host": ': (view.host.origin,),
        ' "platform": ': (view.host.origin.at("platform"),),
    }
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        head = next((origins for start, origins in heads.items() if line.startswith(start)), CHOICE)
        found[number] = by_path.get(line.strip(" {").partition(",")[0], head)
    return found


def _line(file: _File, number: int, text: str, sources: Sources) -> Line:
    before = max((first for first in file.origins if first <= number), default=0)
    path = re.sub("^guests/[^/]+/", "", file.path)
    return Line(
        number=number,
        text=text,
        places=places(file.origins.get(before, CHOICE), sources),
        facts=facts_of(path, text, _platform(file)),
    )


def _platform(file: _File) -> int:
    """The major release of whoever reads the file: the host, or a guest whose inside it is."""
    guests = {guest.name: guest for guest in file.view.guests}
    _, _, rest = file.path.partition("guests/")
    guest = guests.get(rest.partition("/")[0]) if file.path.startswith("guests/") else None
    inside = guest.inside if guest is not None else None
    return file.view.host.platform.major if inside is None else inside.platform.major


def _stale(file: _File, output: Path) -> str:
    path = output / file.view.host.name / file.path
    try:
        same = path.read_bytes() == file.text.encode()
    except OSError:
        return f"{path} isn't there yet: these are lines of what `kvmgen build` makes."
    if same:
        return ""
    return f"{path} isn't what the inventory says: these are lines of what `kvmgen build` makes of it now."


def _texts_of(file: _File) -> str:
    """Where the content of a seed's image can be read."""
    for guest in file.view.site.guests.values():
        if guest.cloud_init is not None and file.path.endswith(f"kvmgen-{guest.name}-seed.iso"):
            return f" What is in it stands in {guest.home}/guests/{guest.name}/seed."
    return ""
