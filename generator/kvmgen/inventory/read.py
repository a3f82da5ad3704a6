"""From the inventory's folder to valid plain data: finding the files, reading them, holding each to its schema."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Container, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from kvmgen.diagnostics import Diagnostic, Origin, Position, Rule
from kvmgen.inventory import docs
from kvmgen.inventory.context import Document
from kvmgen.inventory.schema import validate
from kvmgen.inventory.silence import Silence, find_silences
from kvmgen.inventory.source import MAX_BYTES, UNREADABLE, decode, parse
from kvmgen.parallel import mapped
from kvmgen.value import record

STRAY_FILE = Rule(code="KV005", title="A file that isn't part of an inventory", doc=docs.STRAY_FILE)
BAD_NAME = Rule(code="KV006", title="A file's name that can't be an object's", doc=docs.BAD_NAME)
NO_INVENTORY = Rule(code="KV007", title="No inventory", doc=docs.NO_INVENTORY)
RULES = (STRAY_FILE, BAD_NAME, NO_INVENTORY)

FOLDERS = {"hosts": "host", "networks": "network", "guests": "guest", "filters": "filter", "policies": "policy"}
SITE_FILE = "site.yaml"
_FILES_A_PROCESS = 250
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_FILTER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
"""libvirt's own schema wants an XML name."""
_POLICY_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,30}")
"""It becomes a part of filters' and parameters' names."""
_ANY_NAME = (_NAME, "letters, digits, dash, dot and underscore, 63 at most, a letter or digit first")
_NAME_FORMS = {
    "filter": (_FILTER_NAME, "letters, digits, dash, dot and underscore, 63 at most, a letter first"),
    "policy": (_POLICY_NAME, "letters, digits and dash, 31 at most, a letter first"),
}


@record
class Documents:
    """The valid documents by name, the names of those that aren't, and every diagnostic of reading them."""

    site: Document | None
    hosts: dict[str, Document]
    networks: dict[str, Document]
    guests: dict[str, Document]
    filters: dict[str, Document]
    policies: dict[str, Document]
    broken: frozenset[str]
    diagnostics: list[Diagnostic]
    silences: list[Silence]


@record
class _File:
    kind: str
    name: str
    file: str


def read(root: Path, only: Container[str] | None = None) -> Documents:
    """Read the whole inventory below ``root``, or ``only`` some of its files; networks then have no other hosts."""
    diagnostics: list[Diagnostic] = []
    files = list(_find(root, diagnostics))
    left_out = {file.name for file in files if only is not None and file.kind == "host" and file.file not in only}
    files = [file for file in files if only is None or file.file in only]
    broken: set[str] = set()
    found: dict[str, dict[str, Document]] = {kind: {} for kind in ("site", *FOLDERS.values())}
    silences: list[Silence] = []
    for file, (data, problems, own_silences) in zip(
        files, mapped(partial(_read_file, root), files, worth=_FILES_A_PROCESS), strict=True
    ):
        diagnostics += problems
        silences += own_silences
        if problems:
            broken.add(file.name)
        else:
            found[file.kind][file.name] = Document(Origin(file.file), data)
    return Documents(
        site=found["site"].get("site"),
        hosts=found["host"],
        networks={name: _without(document, left_out) for name, document in found["network"].items()},
        guests=found["guest"],
        filters=found["filter"],
        policies=found["policy"],
        broken=frozenset(broken),
        diagnostics=diagnostics,
        silences=silences,
    )


def _without(network: Document, hosts: Collection[str]) -> Document:
    """A network as if some hosts didn't carry it."""
    if not hosts:
        return network
    carried = {name: own for name, own in network.data["hosts"].items() if name not in hosts}
    return Document(network.origin, {**network.data, "hosts": carried})


def _read_file(root: Path, file: _File) -> tuple[Any, list[Diagnostic], list[Silence]]:
    try:
        content = _content(f"{root}/{file.file}")
    except OSError as error:
        message, hint = f"the file can't be read: {error.strerror}", "Mend its permissions."
        return None, [_stray(UNREADABLE, file.file, message, hint)], []
    source = decode(file.file, content)
    if isinstance(source, Diagnostic):
        return None, [source], []
    data, problems = parse(source)
    if not problems:
        problems = validate(file.kind, data, file.file)
    return data, problems, list(find_silences(file.file, source.text))


def _content(path: str) -> bytes:
    """A file's bytes; of one that is too large, no more than shows that it is."""
    with open(path, "rb", buffering=0) as stream:
        size = min(os.fstat(stream.fileno()).st_size, MAX_BYTES)
        return stream.read(size + 1) or b""


def inventory_files(root: Path) -> list[tuple[str, str]]:
    """The kind and the file of everything in an inventory."""
    return [(file.kind, file.file) for file in _find(root, [])]


def _find(root: Path, diagnostics: list[Diagnostic]) -> Iterator[_File]:
    """Every file of the inventory, sorted; what doesn't belong is told."""
    missing = _missing_site(root)
    if missing:
        hint = "Run kvmgen at the top of a site's repository, or name the folder with --inventory."
        diagnostics.append(Diagnostic(rule=NO_INVENTORY, message=missing, hint=hint))
        return
    for entry in _entries(root, "", diagnostics):
        if entry.name == SITE_FILE:
            yield _File("site", "site", SITE_FILE)
        elif entry.name in FOLDERS and os.path.isdir(entry.path):
            yield from _objects(root, entry.name, FOLDERS[entry.name], diagnostics)
        else:
            hint = f"An inventory holds {SITE_FILE} and the folders {', '.join(FOLDERS)}: move or remove it."
            diagnostics.append(_stray(STRAY_FILE, entry.name, "nothing reads this", hint))


def _missing_site(root: Path) -> str | None:
    """Why there is no inventory, if so."""
    try:
        mode = os.stat(root / SITE_FILE).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"there is no {SITE_FILE} in {root}"
    except OSError as error:
        return f"{SITE_FILE} in {root} can't be read: {error.strerror}"
    return None if stat.S_ISREG(mode) else f"{SITE_FILE} in {root} is not a file"


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or leads to one; a link may lead in a circle."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _objects(root: Path, folder: str, kind: str, diagnostics: list[Diagnostic]) -> Iterator[_File]:
    for entry in _entries(root, folder, diagnostics):
        file = f"{folder}/{entry.name}"
        stem, suffix = os.path.splitext(entry.name)
        if suffix != ".yaml" or not _is_file(entry):
            hint = f"Objects stand in {folder}/NAME.yaml: rename, move or remove it."
            diagnostics.append(_stray(STRAY_FILE, file, "nothing reads this", hint))
        elif not _NAME_FORMS.get(kind, _ANY_NAME)[0].fullmatch(stem):
            hint = f"Use {_NAME_FORMS.get(kind, _ANY_NAME)[1]}."
            diagnostics.append(_stray(BAD_NAME, file, f"{stem!r} can't be the name of a {kind}", hint))
        else:
            yield _File(kind, stem, file)


def _entries(root: Path, folder: str, diagnostics: list[Diagnostic]) -> list[os.DirEntry[str]]:
    """What a folder holds, sorted. A link out of the inventory isn't followed: messages show what they speak of."""
    try:
        with os.scandir(root / folder) as scanned:
            entries = sorted((entry for entry in scanned if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        message = f"the folder can't be read: {error.strerror}"
        diagnostics.append(_stray(UNREADABLE, folder or ".", message, "Mend its permissions."))
        return []
    leading_out = [entry for entry in entries if entry.is_symlink() and _leads_out(root, entry)]
    for entry in leading_out:
        file = f"{folder}/{entry.name}" if folder else entry.name
        message, hint = "the link leads out of the inventory", "Put the file itself here."
        diagnostics.append(_stray(STRAY_FILE, file, message, hint))
    return [entry for entry in entries if entry not in leading_out]


def _leads_out(root: Path, entry: os.DirEntry[str]) -> bool:
    inventory = os.path.realpath(root)
    return os.path.commonpath((inventory, os.path.realpath(entry.path))) != inventory


def _stray(rule: Rule, file: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=rule, message=message, hint=hint, origin=Origin(file), position=Position(1, 1))
