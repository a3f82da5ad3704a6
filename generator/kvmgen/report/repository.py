"""Files as a forge names them: from the top of their repository, wherever kvmgen was started."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvmgen.report.located import Located


def from_top(file: str) -> str:
    """A file's way from its repository's top, or else from the current folder; absolute where it is beyond that."""
    real = os.path.realpath(file)
    way = os.path.relpath(real, _top(os.path.dirname(real)) or os.getcwd())
    return real if way.split(os.sep)[0] == os.pardir else way


@cache
def _top(folder: str) -> str | None:
    """The nearest folder around that is a git work tree's; ``.git`` is a file in linked ones."""
    while not os.path.exists(os.path.join(folder, ".git")):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return None
    return folder


def fingerprints(found: Sequence[Located]) -> Iterator[str]:
    """One for each, no two the same: they stay while other lines of the file come and go.

    Of findings that agree in all that is looked at, the second and later ones also have their number: who is given one
    fingerprint twice tells the first finding only.
    """
    seen: Counter[str] = Counter()
    for one in found:
        file = from_top(one.place.file) if one.place else ""
        said = "\0".join((one.rule.code, file, one.pointer, one.message))
        seen[said] += 1
        if seen[said] > 1:
            said += f"\0{seen[said]}"
        yield sha256(said.encode(errors="surrogatepass")).hexdigest()[:32]
