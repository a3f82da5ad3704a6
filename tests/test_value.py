"""Values: equal and hashed by what they hold, told by their fields, and never changed but by a copy."""

from __future__ import annotations

from dataclasses import field, replace

import pytest

from kvmgen.value import record, value


@value
class Link:
    name: str
    mtu: int | None = None
    note: str = field(default="", compare=False, repr=False)


@value
class Bond(Link):
    ports: tuple[str, ...] = ()


@record
class Pair:
    first: int
    second: int


def test_equality_and_hash_follow_what_is_compared() -> None:
    assert Link(name="a", note="x") == Link(name="a", note="y")
    assert hash(Link(name="a", note="x")) == hash(Link(name="a", note="y"))
    assert Link(name="a") != Link(name="b")
    assert Link(name="a") != Bond(name="a")
    assert {Pair(1, 2), Pair(1, 2)} == {Pair(1, 2)}


def test_a_copy_with_a_change() -> None:
    bond = Bond(name="bond0", ports=("a", "b"))
    assert replace(bond, mtu=9000) == Bond(name="bond0", mtu=9000, ports=("a", "b"))
    assert repr(bond) == "Bond(name='bond0', mtu=None, ports=('a', 'b'))"


def test_a_field_that_isnt_there() -> None:
    with pytest.raises(AttributeError):
        Link(name="a").speed = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        Link("a")  # type: ignore[call-arg]
