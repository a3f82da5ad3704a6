"""The pairs of ends that an expectation asks about: all of few, and of many one for all that fare alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from kvmgen.reachability.consumers import Consumers

if TYPE_CHECKING:
    from kvmgen.reachability.classes import End
    from kvmgen.reachability.matrix import Grouped

_FEW = 400
"""Up to so many are asked about one by one: finding out who fares alike costs more."""


@dataclass(slots=True)
class Pairs:
    """Ends are called as questions call them. What no single end is called (a machine of several NICs) is alone."""

    consumers: Consumers
    _known: dict[str, End] = field(default_factory=dict)

    def of(self, sources: Sequence[str], targets: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Every source with every target; of many, the first of each two classes on one host and on two."""
        if len(sources) * len(targets) <= _FEW:
            yield from product(sources, targets)
            return
        from kvmgen.reachability.matrix import representatives

        rows, columns = self._grouped(sources), self._grouped(targets)
        for _, group in rows:
            for _, other in columns:
                yield from ((one.name, two.name) for one, two in representatives(group, other).values())

    def each(self, names: Sequence[str]) -> Iterable[str]:
        """Every name; of many, the first of each class."""
        if len(names) <= _FEW:
            return names
        return [group.members[0].name for _, group in self._grouped(names)]

    def _grouped(self, names: Iterable[str]) -> Grouped[str]:
        from kvmgen.reachability.matrix import Grouped, Member

        known = self._ends()
        found = []
        for name in names:
            machine = name.partition(":")[0]
            end = known.get(name) or known.get(machine)
            member = Member(name, machine, ("" if end is None else end.host,))
            found.append((name if end is None else end.key, "guest", member))
        return Grouped(found)

    def _ends(self) -> Mapping[str, End]:
        from kvmgen.reachability.classes import ends

        if not self._known:
            self._known.update(ends(self.consumers).known)
        return self._known
