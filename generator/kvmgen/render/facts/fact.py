"""A reason why a line of the output has the form that it has."""

from __future__ import annotations

import re

from kvmgen.value import value


@value
class Fact:
    """Something that is true of the programs that read a file, and that a renderer obeys.

    ``file`` fits the path in the host's folder (of a guest's inside: behind ``guests/NAME/``) as a whole, ``line`` a
    part of the line; ``majors`` are the platforms it is true of, all where it is empty. ``source`` is where it is
    documented, or which program it was measured on; ``rules`` guard what the inventory can say against it.
    """

    file: str
    line: str
    reason: str
    source: str
    rules: tuple[str, ...] = ()
    majors: tuple[int, ...] = ()

    def is_about(self, path: str, major: int) -> bool:
        """Whether this holds for lines of a file on a platform of this major release."""
        return (not self.majors or major in self.majors) and re.fullmatch(self.file, path) is not None
