"""Evaluates the conditions of policies: CEL over the facts of a call.

What runs for each call is one projection, one look at its size and one evaluation; everything else is done once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from service.admission.linear_regex import compile_expression, program_size
from service.domain.expression_scan import Read
from service.domain.policy_conditions import find_facts
from service.engine.guarded_cel import (
    ANYTHING,
    MEMBERS,
    TEXT,
    TIME,
    Language,
    Program,
    check_data,
    check_repeated,
    member_of,
    project,
    searched_limit,
    tree_of,
)

_VARIABLES = {
    "principal": MEMBERS,
    "claims": MEMBERS,
    "arguments": ANYTHING,
    "tool": TEXT,
    "address": TEXT,
    "time": TIME,
}
_CONTENT_PATTERN_SIZE_MAX = 300
"""Instructions of a content pattern, which is searched for in whole outputs."""
_FROM_OUTSIDE = frozenset({"claims", "arguments"})
"""Facts that may be of any size and depth."""


class PolicyExpressions:
    """Implements service.domain.policy_conditions.Conditions. Not thread-safe. For the limits see CelExpressions."""

    def __init__(
        self,
        text_limit_bytes: int = 4096,
        data_limit_bytes: int = 64 * 1024,
        repeated_limit_bytes: int = 256,
        programs: int = 4096,
    ) -> None:
        self._data_limit_bytes = data_limit_bytes
        self._repeated_limit_bytes = repeated_limit_bytes
        self._language = Language(_VARIABLES, text_limit_bytes)
        self.compile = lru_cache(maxsize=programs)(self._compile)

    def pattern_problem(self, text: str) -> str:
        """What keeps `text` from being a regular expression of linear time; empty: nothing does.

        It is asked of the engine that searches for patterns, so that what is applied can be used.
        """
        try:
            compile_expression(text)
        except ValueError as error:
            return str(error)
        return "it is too complex, use smaller counts" if program_size(text) > _CONTENT_PATTERN_SIZE_MAX else ""

    def _compile(self, text: str) -> FactCondition:
        """See service.domain.policy_conditions.Conditions."""
        self._language.check_size(text)
        reads = find_facts(text)
        limit = searched_limit(self._data_limit_bytes, has_patterns=self._language.check_patterns(text))
        program = self._language.compile(text)
        return FactCondition(program, reads, limit, self._repeated_limit_bytes)


class FactCondition:
    """Implements service.domain.policy_rules.Condition."""

    __slots__ = (
        "_data_limit_bytes",
        "_is_checked",
        "_program",
        "_repeated",
        "_repeated_limit_bytes",
        "_trees",
        "reads",
    )

    def __init__(self, program: Program, reads: list[Read], data_limit_bytes: int, repeated_limit_bytes: int) -> None:
        self.reads = frozenset(read.step for read in reads)
        self._program = program
        self._trees = [(fact, tree_of(read for read in reads if read.step == fact)) for fact in sorted(self.reads)]
        self._repeated = [read for read in reads if read.repeated and read.whole]
        self._is_checked = not self.reads.isdisjoint(_FROM_OUTSIDE)
        self._data_limit_bytes = data_limit_bytes
        self._repeated_limit_bytes = repeated_limit_bytes

    def holds(self, facts: Mapping[str, object]) -> bool:
        """Evaluate it. Raises KeyError for a fact that is not there, and ExpressionError."""
        data = {fact: project(facts[fact], tree) for fact, tree in self._trees}
        if self._is_checked:
            check_data(data, self._data_limit_bytes)
        for read in self._repeated:
            value = member_of(data[read.step], read.path)
            check_repeated(value, ".".join((read.step, *read.path)), self._repeated_limit_bytes)
        return self._program.evaluate(data)
