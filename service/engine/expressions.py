"""Evaluates the conditions of workflows: CEL over a workflow's input and its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from service.domain.conditions import ExpressionError, StepView, find_reads
from service.domain.expression_scan import Read
from service.engine.guarded_cel import (
    ANYTHING,
    MEMBERS,
    Language,
    Program,
    Tree,
    check_data,
    check_repeated,
    member_of,
    project,
    searched_limit,
    tree_of,
)


@dataclass(frozen=True, slots=True)
class _Condition:
    """A compiled expression and what it reads."""

    program: Program
    input: Tree
    steps: Mapping[str, Tree]
    repeated: tuple[Read, ...]
    data_limit_bytes: int


class CelExpressions:
    """Implements service.domain.conditions.Expressions. Not thread-safe.

    `text_limit_bytes` bounds an expression; `data_limit_bytes` bounds what one evaluation converts, as JSON text;
    `repeated_limit_bytes` bounds a value outside of a list that is read again for each of the list's elements.
    """

    def __init__(
        self,
        text_limit_bytes: int = 4096,
        data_limit_bytes: int = 64 * 1024,
        repeated_limit_bytes: int = 256,
        programs: int = 1024,
    ) -> None:
        self._data_limit_bytes = data_limit_bytes
        self._repeated_limit_bytes = repeated_limit_bytes
        self._language = Language({"input": ANYTHING, "steps": MEMBERS}, text_limit_bytes)
        self._condition = lru_cache(maxsize=programs)(self._compile)

    def check(self, text: str) -> frozenset[str]:
        """Compile `text`, which must give a bool, and return the ids of the steps it names."""
        return frozenset(self._condition(text).steps)

    def evaluate(self, text: str, input: object, steps: Mapping[str, StepView]) -> bool:  # noqa: A002 - CEL's own name
        """Evaluate `text` over the workflow's input, as parsed JSON, and at least the steps that `text` names."""
        condition = self._condition(text)
        try:
            views = {step: project(steps[step], tree) for step, tree in condition.steps.items()}
        except KeyError as error:
            raise ExpressionError(f"the step {error} is not known") from None
        data = {"input": project(input, condition.input), "steps": views}
        check_data(data, condition.data_limit_bytes)
        for read in condition.repeated:
            value = member_of(views[read.step] if read.step else data["input"], read.path)
            name = ".".join((f"steps.{read.step}" if read.step else "input", *read.path))
            check_repeated(value, name, self._repeated_limit_bytes)
        return condition.program.evaluate(data)

    def _compile(self, text: str) -> _Condition:
        self._language.check_size(text)
        reads = find_reads(text)
        everything = (*reads.input, *chain.from_iterable(reads.steps.values()))
        return _Condition(
            program=self._language.compile(text),
            input=tree_of(reads.input),
            steps={step: tree_of(named) for step, named in reads.steps.items()},
            repeated=tuple(read for read in everything if read.repeated and read.whole),
            data_limit_bytes=searched_limit(self._data_limit_bytes, has_patterns=self._language.check_patterns(text)),
        )
