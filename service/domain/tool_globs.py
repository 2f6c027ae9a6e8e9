"""Which rules of a policy speak of a tool, by their globs.

Invariant: a rule without globs speaks of every tool, and of several rules that speak of one the first counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar


class Ruled(Protocol):
    """A rule that says which tools it speaks of."""

    @property
    def tools(self) -> Sequence[str]:
        """Globs of their names; none: all."""


RuleT = TypeVar("RuleT", bound=Ruled)


def fits(name: str, globs: Sequence[str]) -> bool:
    """Whether a name fits one of the globs, or there are none."""
    return not globs or any(fnmatchcase(name, glob) for glob in globs)


def first_that_fits(rules: Iterable[RuleT], tool: str) -> RuleT | None:
    """The first rule that speaks of a tool; None: none does."""
    return next((rule for rule in rules if fits(tool, rule.tools)), None)
