"""Which part of a large site a change can matter to: the rest need not be read.

Told by words: what a file mentions, whatever it means by that, it may depend on. So too much is taken, and never too
little.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping

from kvmgen.inventory.read import SITE_FILE
from kvmgen.value import value

Texts = Mapping[str, bytes]
"""Files of an inventory by their ways in it."""

FEW = 400
"""A site of so many guests is read as a whole: that takes less than a second."""

_MOST = 0.5
"""Where the change is near to more than this share of the hosts, all is read."""

_WORD = re.compile(rb"[A-Za-z0-9_.-]+")
_ADDRESS = re.compile(rb"[0-9A-Fa-f.:]*[.:][0-9A-Fa-f.:]*[0-9A-Fa-f]")
_TOO_COMMON = 100
"""An address that more guests mention is a gateway or a resolver."""


@value
class Near:
    """The files to be read, and the hosts that may get anything else than before.

    ``own`` are the files that these hosts are made of: what is wrong elsewhere may be so only because the rest isn't
    read.
    """

    files: frozenset[str]
    own: frozenset[str]
    hosts: frozenset[str]


def near(texts: Texts, older: Texts, changed: Collection[str]) -> Near | None:
    """What a change is near to; ``None`` where that is too much or can't be told.

    ``texts`` are all files of the newer side, ``older`` the changed ones of the older side.
    """
    guests = {file: text for file, text in texts.items() if file.startswith("guests/")}
    if len(guests) < FEW or SITE_FILE in changed:
        return None
    if not changed:
        return Near(files=frozenset({SITE_FILE}), own=frozenset(), hosts=frozenset())
    search = _Search(texts, older, changed, guests)
    hosts = search.hosts()
    if len(hosts) > _MOST * len(search.names("hosts")):
        return None
    own = search.own(hosts)
    return Near(
        files=frozenset((*own, *search.beside(own))),
        own=frozenset(own),
        hosts=frozenset(map(os.fsdecode, hosts)),
    )


class _Search:
    """From the changed files to those that mention them, step by step."""

    def __init__(self, texts: Texts, older: Texts, changed: Collection[str], guests: Texts) -> None:
        self._guests = guests
        self._others = {file: text for file, text in texts.items() if file not in guests}
        self._changed = {file: texts.get(file, b"") + b"\n" + older.get(file, b"") for file in changed}
        self._known = {folder: self._names(folder) for folder in ("hosts", "networks", "guests", "filters", "policies")}

    def _names(self, folder: str) -> frozenset[bytes]:
        files = (*self._guests, *self._others, *self._changed)
        return frozenset(_stem(file) for file in files if file.startswith(f"{folder}/"))

    def names(self, folder: str) -> frozenset[bytes]:
        """The objects of a kind, on either side."""
        return self._known[folder]

    def hosts(self) -> set[bytes]:
        """The hosts whose files may differ: changed ones, those of changed networks, and of affected guests."""
        found = {_stem(file) for file in self._changed if file.startswith("hosts/")}
        said = [text for file, text in self._changed.items() if file.startswith(("networks/", "guests/"))]
        said += self._mentioning({*self._policies(), *self._filters(), *found}).values()
        return found | _words(said) & self.names("hosts")

    def _policies(self) -> set[bytes]:
        """Changed policies, and those that may name a changed object, or a policy that a changed guest chose."""
        stems = {_stem(file) for file in self._changed}
        chosen = _words(text for file, text in self._changed.items() if file.startswith("guests/"))
        naming = _mentions(self._of("policies"), {*stems, *(chosen & self.names("policies"))})
        return {_stem(file) for file in self._changed if file.startswith("policies/")} | set(map(_stem, naming))

    def _filters(self) -> set[bytes]:
        """Changed filters and those that include them, however deep."""
        found = {_stem(file) for file in self._changed if file.startswith("filters/")}
        while more := set(map(_stem, _mentions(self._of("filters"), found))) - found:
            found |= more
        return found

    def _of(self, folder: str) -> dict[str, bytes]:
        return {file: text for file, text in self._others.items() if file.startswith(f"{folder}/")}

    def _mentioning(self, names: Collection[bytes]) -> dict[str, bytes]:
        return _mentions(self._guests, names)

    def own(self, hosts: Collection[bytes]) -> dict[str, bytes]:
        """What these hosts' files are made of: the hosts, every guest that may run there, and their policies."""
        guests = {**self._mentioning(hosts), **self._changed}
        chosen = _words(guests.values()) & self.names("policies")
        policies = {file: text for file, text in self._of("policies").items() if _stem(file) in chosen}
        return guests | policies | {file: text for file, text in self._of("hosts").items() if _stem(file) in hosts}

    def beside(self, own: Texts) -> set[str]:
        """What these refer to: guests that something names or a policy means, the hosts of these, all filters, ..."""
        policies = [text for file, text in own.items() if file.startswith("policies/")]
        meant = _words(policies)
        named = _words(self._others.values()) & self.names("guests")
        guests = {*self._mentioning(meant & self.names("policies")), *self._neighbours()}
        guests |= {file for file in self._guests if _stem(file) in named}
        texts = [*own.values(), *(self._guests[file] for file in guests)]
        texts += [text for file, text in self._others.items() if file == SITE_FILE or file.startswith("policies/")]
        texts += [text for file, text in self._of("networks").items() if _stem(file) in meant]
        hosts = _words(texts) & self.names("hosts")
        return guests | {file for file in self._others if not file.startswith("hosts/") or _stem(file) in hosts}

    def _neighbours(self) -> Iterable[str]:
        """Guests that mention an address which a changed one has: they may clash."""
        addresses = {
            word
            for file, text in self._changed.items()
            if file.startswith("guests/")
            for word in _ADDRESS.findall(text)
            if len(word) > _SHORTEST
        }
        for address in sorted(addresses):
            found = [file for file, text in self._guests.items() if address in text]
            if len(found) <= _TOO_COMMON:
                yield from found


_SHORTEST = 6


def _stem(file: str) -> bytes:
    return os.fsencode(os.path.splitext(file.rpartition("/")[2])[0])


def _words(texts: Iterable[bytes]) -> set[bytes]:
    return {word for text in texts for word in _WORD.findall(text)}


def _mentions(texts: Texts, names: Collection[bytes]) -> dict[str, bytes]:
    """The files that mention one of the names, or might in another spelling."""
    if not names:
        return {}
    either = b"|".join(re.escape(name) for name in sorted(names))
    search = re.compile(rb"(?<![A-Za-z0-9_.-])(?:%s)(?![A-Za-z0-9_.-])|\\" % either).search
    return {file: text for file, text in texts.items() if search(text)}
