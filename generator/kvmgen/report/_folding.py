"""What of a text is left where a forge takes no more than so much of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """A part of a report with others in it; ``rank`` 0 is what matters most, ``what`` names one that is left out."""

    head: str
    tail: str = ""
    parts: Sequence[Block] = ()
    rank: int = 0
    what: str = ""

    @property
    def size(self) -> int:
        """What it takes by itself, in bytes: forges count characters, of which there are never more."""
        return len(self.head.encode()) + len(self.tail.encode())


def folded(blocks: Sequence[Block], most: int) -> tuple[str, Counter[str]]:
    """As much as fits, what matters most first and then from the top; and how many of what were left out.

    Where something of a rank is left out, nothing that matters less stands there instead of it.
    """
    every = list(_walk(blocks, None))
    every.sort(key=lambda pair: pair[0].rank)  # a stable sort: what is of one rank stays in its order
    kept: set[int] = set()
    left = most
    lost_rank: int | None = None
    lost: Counter[str] = Counter()
    for block, around in every:
        whole = around is None or id(around) in kept
        if whole and block.size <= left and (lost_rank is None or block.rank <= lost_rank):
            kept.add(id(block))
            left -= block.size
        else:
            lost_rank = block.rank if lost_rank is None else lost_rank
            lost[block.what] += 1
    return "".join(_written(blocks, kept)), lost


def _walk(blocks: Sequence[Block], around: Block | None) -> Iterator[tuple[Block, Block | None]]:
    for block in blocks:
        yield block, around
        yield from _walk(block.parts, block)


def _written(blocks: Sequence[Block], kept: set[int]) -> Iterator[str]:
    for block in blocks:
        if id(block) in kept:
            yield block.head
            yield from _written(block.parts, kept)
            yield block.tail
