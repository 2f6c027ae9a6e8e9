"""The options of a declared sanitizer, read once when the declaration is compiled.

What is unknown, missing or of another type is refused then, with the remedy: a misspelt option would else be a hole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


class SpecificationRefused(ValueError):
    """A declaration of a sanitizer that is wrong. The message names the option and the remedy."""


class Options:
    """Reads the options of one sanitizer by name. `close` refuses those that nothing asked for."""

    def __init__(self, kind: str, given: Mapping[str, object]) -> None:
        if not isinstance(given, Mapping):
            raise SpecificationRefused(f'{kind}: the options must be an object, for example {{"{kind}": {{}}}}')
        self._kind = kind
        self._given = given
        self._known: set[str] = set()

    def refuse(self, name: str, remedy: str) -> SpecificationRefused:
        """The error for an option, to be raised."""
        return SpecificationRefused(f"{self._kind}.{name}: {remedy}")

    def texts(self, name: str, default: Collection[str] | None = None) -> tuple[str, ...]:
        """A list of texts. Without a default it must be given and hold something."""
        value = self._take(name, default)
        if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(each, str) for each in value):
            raise self.refuse(name, "must be a list of texts")
        if default is None and not value:
            raise self.refuse(name, "must not be empty: name what is allowed")
        return tuple(value)

    def chosen(self, name: str, default: Collection[str], choices: Collection[str]) -> tuple[str, ...]:
        """A list of texts out of `choices`, at least one."""
        value = self.texts(name, default)
        if not value or not set(value) <= set(choices):
            raise self.refuse(name, f"must be one or more of {', '.join(sorted(choices))}")
        return value

    def choice(self, name: str, default: str | None, choices: Collection[str]) -> str:
        """One of `choices`. Without a default it must be given."""
        value = self._take(name, default)
        if not isinstance(value, str) or value not in choices:
            raise self.refuse(name, f"must be one of {', '.join(sorted(choices))}")
        return value

    def number(self, name: str, default: int, maximum: int) -> int:
        """A whole number from 1."""
        value = self._take(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= maximum:
            raise self.refuse(name, f"must be a whole number from 1 to {maximum}")
        return value

    def numbers(self, name: str, maximum: int) -> tuple[int, ...]:
        """A list of whole numbers from 1; empty when it is not given."""
        value = self._take(name, ())
        if not isinstance(value, list | tuple):
            raise self.refuse(name, "must be a list of whole numbers")
        for each in value:
            if not isinstance(each, int) or isinstance(each, bool) or not 1 <= each <= maximum:
                raise self.refuse(name, f"must hold whole numbers from 1 to {maximum}")
        return tuple(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "must be true or false")
        return value

    def lists(self, name: str, default: Mapping[str, Collection[str]] | None = None) -> dict[str, tuple[str, ...]]:
        """An object of lists of texts. Without a default it must be given and hold something."""
        value = self._take(name, default)
        if not isinstance(value, Mapping) or (default is None and not value):
            raise self.refuse(name, "must be an object of lists of texts")
        for each in value.values():
            if not isinstance(each, list | tuple | set | frozenset) or not all(isinstance(one, str) for one in each):
                raise self.refuse(name, "must be an object of lists of texts")
        return {str(key): tuple(each) for key, each in value.items()}

    def schema(self, name: str) -> Mapping[str, object] | None:
        """An object that is a JSON Schema; None when it is not given."""
        value = self._take(name, None)
        if value is not None and not isinstance(value, Mapping):
            raise self.refuse(name, "must be a JSON Schema as an object")
        return value

    def close(self) -> None:
        """Refuse options that nothing has asked for."""
        if unknown := sorted(set(self._given) - self._known):
            raise self.refuse(unknown[0], f"is unknown; there are {', '.join(sorted(self._known))}")

    def _take(self, name: str, default: object) -> object:
        self._known.add(name)
        return self._given.get(name, default)
