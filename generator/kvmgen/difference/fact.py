"""One thing that a file says."""

from __future__ import annotations

from kvmgen.value import record


@record
class Fact:
    """``name`` is whose value it is, ``line`` where it stands in the file, counted from 1.

    ``ordered`` is whether, among values of one name, it matters which comes first. ``element`` is the name of what
    comes and goes as a whole and has this among its attributes.
    """

    name: str
    value: str
    line: int
    ordered: bool = False
    element: str = ""
