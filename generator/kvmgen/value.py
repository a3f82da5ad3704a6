"""Values and records: dataclasses that nothing changes once they are made; a record's fields also go by their order.

That nothing does is for the type checker to see. `dataclass(frozen=True)` would also stop it at run time, at the price
of three times the time to define a class (there are a hundred) and of a slower construction; equality, hash and
representation are likewise shared by all classes instead of being compiled for each, and how to make one of a class is
compiled when the first is made: most commands need few of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")

_compared: dict[type, Callable[[Any], Any]] = {}
"""What two of a class are compared by."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make a class a slotted dataclass with fields that are named, equal to and hashed as what they hold."""
    return _share_methods(dataclass(slots=True, kw_only=True, eq=False, repr=False, init=False)(cls), by_name=True)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a class the same with fields that may go by their order."""
    return _share_methods(dataclass(slots=True, eq=False, repr=False, init=False)(cls), by_name=False)


def _share_methods(made: type[T], *, by_name: bool) -> type[T]:
    def first(self: T, *args: Any, **values: Any) -> None:
        initialize = _initializer(made, by_name=by_name)
        setattr(made, "__init__", initialize)  # noqa: B010 mypy forbids to assign it
        initialize(self, *args, **values)

    for name, method in (("__eq__", _equal), ("__hash__", _hash), ("__repr__", _representation), ("__init__", first)):
        setattr(made, name, method)
    return made


def _initializer(made: type[Any], *, by_name: bool) -> Callable[..., None]:
    """What `dataclass` would have as ``__init__``."""
    scope: dict[str, Any] = {"_missing": MISSING}
    parameters, body = ["self", "*"] if by_name else ["self"], []
    for known in fields(made):
        name = value = known.name
        if known.default is not MISSING:
            scope[f"_default_{name}"] = known.default
            parameters.append(f"{name}=_default_{name}")
        elif known.default_factory is not MISSING:
            scope[f"_made_{name}"] = known.default_factory
            parameters.append(f"{name}=_missing")
            value = f"_made_{name}() if {name} is _missing else {name}"
        else:
            parameters.append(name)
        body.append(f"self.{name} = {value}")
    names = ", ".join(parameters).removesuffix(", *")
    exec(f"def __init__({names}):\n " + "\n ".join(body or ["pass"]), scope)  # noqa: S102 as `dataclass` does
    made_here: Callable[..., None] = scope["__init__"]
    made_here.__qualname__ = f"{made.__qualname__}.__init__"
    return made_here


def _held(one: Any) -> Any:
    """What a value's compared fields hold."""
    getter = _compared.get(type(one))
    if getter is None:
        names = [known.name for known in fields(one) if known.compare]
        getter = _compared[type(one)] = attrgetter(*names)
    return getter(one)


def _equal(one: Any, other: object) -> bool:
    return type(one) is type(other) and _held(one) == _held(other)


def _hash(one: Any) -> int:
    return hash(_held(one))


def _representation(one: Any) -> str:
    shown = (f"{known.name}={getattr(one, known.name)!r}" for known in fields(one) if known.repr)
    return f"{type(one).__qualname__}({', '.join(shown)})"
