"""Many services between the same two ends: ports that meet the same rules with the same result are asked about once.

A port that notes what it is compared with tells afterwards whether another one would have gone the same way.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from kvmgen.reachability.answer import Answer, Question, Service, reach
from kvmgen.reachability.consumers import Consumers

_Test = Callable[[Any, Any], bool]


class WatchedPort(int):
    """A port, and the comparisons that it took part in; used otherwise, nothing is known of others."""

    compared: dict[tuple[_Test, int], bool]
    is_opaque: bool

    def __new__(cls, number: int) -> WatchedPort:
        """A port that nothing has been compared with."""
        made = super().__new__(cls, number)
        made.compared, made.is_opaque = {}, False
        return made

    def _compare(self, test: _Test, other: object) -> bool:
        if not isinstance(other, int):
            return bool(test(int(self), other))
        held = bool(test(int(self), int(other)))
        self.compared[test, int(other)] = held
        return held

    def fits(self, number: int) -> bool:
        """Whether another port would have fared alike in every comparison."""
        return not self.is_opaque and all(test(number, other) is held for (test, other), held in self.compared.items())

    def __lt__(self, other: int) -> bool:
        """Noted."""
        return self._compare(operator.lt, other)

    def __le__(self, other: int) -> bool:
        """Noted."""
        return self._compare(operator.le, other)

    def __gt__(self, other: int) -> bool:
        """Noted."""
        return self._compare(operator.gt, other)

    def __ge__(self, other: int) -> bool:
        """Noted."""
        return self._compare(operator.ge, other)

    def __eq__(self, other: object) -> bool:
        """Noted."""
        return self._compare(operator.eq, other)

    def __ne__(self, other: object) -> bool:
        """Noted."""
        return self._compare(operator.ne, other)

    def __hash__(self) -> int:
        """As of any number: who looks it up in a set compares with all that is in there."""
        self.is_opaque = True
        return hash(int(self))

    def __str__(self) -> str:
        """As of any number."""
        self.is_opaque = True
        return str(int(self))

    def __repr__(self) -> str:
        """As of any number."""
        return str(self)

    def __format__(self, spec: str) -> str:
        """As of any number."""
        self.is_opaque = True
        return format(int(self), spec)


def answers(
    consumers: Consumers, source: str, target: str, services: Iterable[Service], version: int
) -> Iterator[Answer]:
    """What `reach` answers for each of the services, in one IP version."""
    known: list[tuple[str, WatchedPort, Answer]] = []
    for service in services:
        question = Question(source=source, target=target, service=service, version=version)
        if service.port is None:
            yield reach(consumers, question)
            continue
        for protocol, watched, answer in known:
            if protocol == service.protocol and watched.fits(service.port):
                yield replace(answer, question=question)
                break
        else:
            port = WatchedPort(service.port)
            watching = replace(question, service=replace(service, port=port))
            answer = replace(reach(consumers, watching), question=question)
            known.append((service.protocol, port, answer))
            yield answer
