"""Questions about two revisions: what a change opens and closes."""

from __future__ import annotations

from kvmgen.asking import Unanswerable
from kvmgen.asking.services import services_of
from kvmgen.difference.model import Difference
from kvmgen.difference.packets import ways
from kvmgen.difference.reading import Compared
from kvmgen.report import difference_json, difference_text


def ask_before(sides: Compared, services: str | None, *, as_json: bool = False) -> str:
    """What the newer side opens and closes, as text or JSON."""
    before, after = sides.before.side, sides.after.side
    if before is None or after is None:
        message = f"{sides.before.label if before is None else sides.after.label} has no inventory to compare with"
        raise Unanswerable(message)
    found = ways(before, after, services_of(services))
    difference = Difference(
        before=sides.before.label,
        after=sides.after.label,
        notes=sides.notes,
        opens=found.opens,
        closes=found.closes,
        other=found.other,
    )
    if as_json:
        return difference_json.flows_as_json(difference)
    told = difference_text.flows_as_text(difference)
    return told or f"Every packet fares as it did in {difference.before}."
