"""A row of the fault table: one fault, so many cases of it, what was wrong in them, and its negative control.

A row's module has `TARGETS`, the cases of each scale, and `run(scale, seed, progress)`, which returns a Row. It runs
in a process of its own, so it may fork, load a library or fail as it likes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

SCALES = ("make", "faults", "nightly")
"""Two minutes in all, within `make test`; the full targets of `make faults`; one round of `make faults-nightly`."""

Progress = Callable[[int], None]
"""Told from time to time how many cases are done."""


class Violation(NamedTuple):
    """Something that must not be."""

    what: str
    replay: str = ""
    """The command that shows it again; empty: the row with its seed."""


@dataclass(frozen=True)
class Row:
    """What came out of a row."""

    name: str
    seed: int
    cases: int
    target: int
    violations: tuple[Violation, ...]
    control_found: bool
    """Whether the check found what was broken on purpose."""
    notes: str = ""

    @property
    def is_good(self):
        return self.cases >= self.target and not self.violations and self.control_found
