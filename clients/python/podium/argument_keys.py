"""What makes two calls of a function the same: its arguments, bound to its parameters, in a form that can be compared.

Arguments are the same when they are equal and of the same type, all the way down: 1, 1.0 and True are three calls. What
Python calls equal although it can be told apart, such as 0.0 and -0.0 or a moment in two time zones, is not the same.
The object that a method belongs to is told apart by what it is, not by what it equals, and is not kept alive.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any, NamedTuple

from podium.context import Context

_OWNERS = ("self", "cls")
_PLAIN = frozenset({str, int, bool, bytes, type(None)})


class Owner:
    """An object that a cached method belongs to, for as long as it lives."""

    __slots__ = ("identity", "keys", "reference")

    def __init__(self, instance: object, ended: Callable[[Owner], None]) -> None:
        self.identity = id(instance)
        self.keys: set[Key] = set()
        """What is kept of its calls."""
        self.reference = weakref.ref(instance, lambda _: ended(self))


class Key(NamedTuple):
    """One call."""

    owner: Owner | None
    arguments: Hashable


class ArgumentKeys:
    """The keys of the calls of one function."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._signature = inspect.signature(function)
        self._name = str(getattr(function, "__qualname__", function))
        self._owner_name = next((name for name in self._signature.parameters if name in _OWNERS), "")
        if next(iter(self._signature.parameters), "") != self._owner_name:
            self._owner_name = ""
        self._owners: dict[int, Owner] = {}
        self._lock = threading.RLock()
        self.ended: deque[Owner] = deque()
        """Owners that live no more. Their end comes in any thread, in the middle of anything: it is only noted."""

    def of(self, arguments: Sequence[object], keywords: Mapping[str, object]) -> Key:
        """Returns the key of a call; raises TypeError for one that the function would refuse, or that has no key."""
        bound = self._signature.bind(*arguments, **keywords)
        bound.apply_defaults()
        owner: Owner | None = None
        parts: list[Hashable] = []
        for name, value in bound.arguments.items():
            if name == self._owner_name:
                owner = self._owner(value)
                continue
            try:
                parts.append((name, canonical(value)))
            except (TypeError, RecursionError) as error:
                reason = error if isinstance(error, TypeError) else "it is nested too deeply"
                raise TypeError(f"{self._name} cannot be cached by its argument {name}: {reason}") from None
        return Key(owner, tuple(parts))

    def forget(self, owner: Owner) -> None:
        """The owner lives no more."""
        with self._lock:
            # Another object may have its place in memory by now.
            if self._owners.get(owner.identity) is owner:
                del self._owners[owner.identity]

    def _owner(self, instance: object) -> Owner:
        with self._lock:
            owner = self._owners.get(id(instance))
            if owner is None or owner.reference() is not instance:
                try:
                    owner = Owner(instance, self.ended.append)
                except TypeError:
                    raise TypeError(
                        f"{self._name} cannot be cached: a {type(instance).__name__} would be kept alive for ever; "
                        'let its class have "__weakref__" in its __slots__'
                    ) from None
                self._owners[id(instance)] = owner
            return owner


def canonical(value: Any) -> Hashable:  # noqa: ANN401 -- any argument
    """Returns what stands for a value in a key. Raises TypeError for what cannot be compared."""
    kind = type(value)
    if kind in _PLAIN:
        return kind, value
    if isinstance(value, Context):
        raise TypeError("a podium.Context is another for each call; declare the tool's caching instead")
    parts = _parts(value)
    if parts is not None:
        return kind, parts
    try:
        hash(value)
    except TypeError:
        raise TypeError(f"a {kind.__name__} can be neither hashed nor taken apart") from None
    return kind, value, _spelling(value)


def _parts(value: Any) -> Hashable | None:  # noqa: ANN401 -- any argument
    """Returns what a value consists of; None: it is compared as a whole."""
    if isinstance(value, tuple | list | deque):
        return tuple(canonical(each) for each in value)
    if isinstance(value, OrderedDict):
        # The only mapping whose order counts when it is compared.
        return tuple((canonical(name), canonical(each)) for name, each in value.items())
    if isinstance(value, Mapping):
        return frozenset((canonical(name), canonical(each)) for name, each in value.items())
    if isinstance(value, AbstractSet):
        return frozenset(canonical(each) for each in value)
    if isinstance(value, bytearray):
        return bytes(value)
    if _is_compared_by_fields(value):
        return tuple(canonical(getattr(value, each.name)) for each in dataclasses.fields(value) if each.compare)
    return None


def _is_compared_by_fields(value: object) -> bool:
    # A frozen one has a hash, by which 1 and True in a field are the same.
    return dataclasses.is_dataclass(value) and not isinstance(value, type) and type(value).__eq__ is not object.__eq__


def _spelling(value: object) -> Hashable:
    """Returns what tells a value from those that equal it and are of its type; None: nothing is known to."""
    if isinstance(value, float | complex | Decimal):
        return repr(value)
    if isinstance(value, dt.datetime | dt.time):
        return value.isoformat(), value.fold, canonical(value.tzinfo)
    if isinstance(value, dt.timezone):
        return repr(value)
    if isinstance(value, range):
        return value.start, value.stop, value.step
    return None
