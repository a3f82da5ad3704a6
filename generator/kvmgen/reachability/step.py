"""What one filter on the way says of a packet, and which line says so."""

from __future__ import annotations

from enum import StrEnum

from kvmgen.value import value


class Verdict(StrEnum):
    """What becomes of a packet at one place; ``PASS`` where nothing there matches it, and no policy decides either."""

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    PASS = "pass"  # noqa: S105 not a password
    UNKNOWN = "unknown"

    @property
    def stops(self) -> bool:
        """Whether the packet ends here."""
        return self in (Verdict.DROP, Verdict.REJECT)


@value
class Cause:
    """The line that decided.

    ``file`` is relative to the host's folder (``libvirt/nwfilters/web.xml``), or names what no file of ours holds:
    ``libvirt:clean-traffic`` (a built-in filter), ``libvirt:network default`` (rules that libvirt makes for a network),
    ``firewalld:zone public``, ``kernel``. ``line`` counts from 1, 0 where there is none. ``text`` is the rule as its
    file has it, or as the program shows it.
    """

    file: str
    text: str
    line: int = 0


@value
class Step:
    """One place on the way: ``where`` says which (``ebtables, from web01 eth0``), ``verdict`` what it does there.

    ``why`` is the reason of an `Verdict.UNKNOWN`, or what else should be told of the step.
    """

    where: str
    verdict: Verdict
    cause: Cause | None = None
    why: str = ""
