"""Validating submitted steps and bringing them into their normal form, before anything is recorded.

The normal form has ids, pinned tool versions, parsed templates and all dependencies named; the log holds nothing
else. Everything that is wrong is reported at once, each with the path of its field and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from podium.v1 import definition_pb2 as pb
from service.domain import conditions
from service.domain.errors import INPUT_REJECTED, Basis, InvalidInput, RejectedInput, Violation
from service.domain.graph import STEP_ID, graph_violations
from service.domain.json_members import TWICE, is_given_twice
from service.domain.template_parsing import check_literal, parse_json
from service.domain.templates import (
    PARTS_LIMIT,
    TemplateError,
    check_parts,
    has_sealed,
    literals,
    referenced_steps,
    references,
)

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MULTIPLIER_MAX = 100
_ATTEMPTS_MAX = 1000
_REASONS_MAX = 100
_REASON_LENGTH_MAX = 64
"""As long as the reason of a failure is."""


class RegisteredTool(Protocol):
    """What validation needs to know of a tool."""

    @property
    def definition(self) -> pb.ToolDefinition:
        """Its newest definition."""

    @property
    def version(self) -> int:
        """The version of that definition."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on a workflow."""

    steps: int = 100_000
    json_depth: int = 64
    condition_bytes: int = 4096
    arguments_bytes: int = 8 * 1024 * 1024
    template_parts: int = PARTS_LIMIT
    request_dependencies: int = 200_000
    """Steps that the steps of one request depend on, all together."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What validation asks of the world."""

    tool: Callable[[str], RegisteredTool | None]
    """The tool of this name, or None."""
    check_arguments: Callable[[pb.ToolDefinition, pb.Template], Iterable[Violation]]
    """What is wrong with a template as arguments of a tool, as far as can be known before its holes are filled."""
    expressions: conditions.Expressions
    limits: Limits = Limits()
    bounds_problem: Callable[[str], str] = lambda _text: ""
    """What is wrong with JSON text before it is parsed; empty: nothing is."""


class Draft:
    """Submitted steps on their way into their normal form: each by itself, then all of them in their workflow.

    What is wrong with a step by itself does not depend on the workflow. So a long request can be read outside of its
    workflow's turn and in pieces, between which others have theirs.
    """

    def __init__(
        self,
        submitted: Sequence[pb.StepDefinition],
        validation: Validation,
        *,
        shorthand: bool = False,
        path: str = "steps[{}]",
    ) -> None:
        """`path` is the field of the request that holds a step, with {} for its index."""
        self._submitted = submitted
        self._validation = validation
        self._shorthand = shorthand
        self._path = path
        self._steps: list[pb.StepDefinition] = []
        self._needs: list[Mapping[str, str]] = []
        self._violations: list[Violation] = []
        self._dependencies = sum(len(step.depends_on) for step in submitted)

    def read(self) -> Iterator[int]:
        """Bring one step after the other into its normal form, and tell how many bytes each had.

        What will be refused for its size is not read any further.
        """
        limits = self._validation.limits
        if len(self._submitted) > limits.steps:
            return
        for index, original in enumerate(self._submitted):
            if self._dependencies > limits.request_dependencies:
                return
            step = pb.StepDefinition()
            step.CopyFrom(original)
            one = _Normaliser(step, self._path.format(index), self._validation, shorthand=self._shorthand)
            self._violations += one.run()
            self._dependencies += len(one.needed) - len(original.depends_on)
            self._steps.append(step)
            self._needs.append(one.needed)
            yield original.ByteSize()

    def finish(self, existing: Mapping[str, object] | None = None, first_number: int = 1) -> list[pb.StepDefinition]:
        """Return the steps in their normal form. Raises InvalidInput with every violation found.

        `existing` are the steps the workflow already has, `first_number` the N of step_N for the first without an id.
        """
        existing = existing or {}
        self._check_size(len(existing))
        for index, original in enumerate(self._submitted):
            if not original.id:
                self._steps[index].id = f"step_{first_number + index}"
        violations = [*self._violations, *graph_violations(self._steps, self._needs, existing, self._path)]
        if violations:
            raise _refusal(violations)
        return self._steps

    def _check_size(self, existing: int) -> None:
        limits = self._validation.limits
        if len(self._submitted) + existing > limits.steps:
            problem = f"{len(self._submitted)} steps are too many; split the work over several workflows"
            message = f"a workflow has at most {limits.steps} steps"
            raise InvalidInput("TOO_MANY_STEPS", message, violations=[("steps", problem)])
        if self._dependencies > limits.request_dependencies:
            problem = (
                f"depend on more than {limits.request_dependencies} steps, all together: let what many wait for be "
                "joined in one step, and depend on that"
            )
            field = self._path.partition("[")[0]
            raise InvalidInput("TOO_MANY_DEPENDENCIES", f"{field} {problem}", violations=[(field, problem)])


def normalise(
    submitted: Sequence[pb.StepDefinition],
    validation: Validation,
    *,
    shorthand: bool = False,
    existing: Mapping[str, object] | None = None,
    first_number: int = 1,
    path: str = "steps[{}]",
) -> list[pb.StepDefinition]:
    """Return the steps in their normal form, read at once; see Draft. Raises InvalidInput with what is wrong."""
    draft = Draft(submitted, validation, shorthand=shorthand, path=path)
    for _ in draft.read():
        pass
    return draft.finish(existing, first_number)


def _refusal(violations: list[Violation]) -> InvalidInput:
    # What a sanitizer refused goes first: no mistake beside it keeps an attack from its record.
    violations.sort(key=lambda violation: not isinstance(violation, RejectedInput))
    first = violations[0]
    if not isinstance(first, RejectedInput):
        return InvalidInput("INVALID_WORKFLOW", _sentence(violations), violations=violations)
    basis = Basis(rule=first.guard, sanitizer_reason=first.reason)
    return InvalidInput(INPUT_REJECTED, _sentence(violations), violations=violations, basis=basis)


def _sentence(violations: list[Violation]) -> str:
    field, problem = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return f"{field} {problem}{more}"


class _Normaliser:
    """Normalises one step in place and collects what is wrong with it."""

    def __init__(self, step: pb.StepDefinition, path: str, validation: Validation, *, shorthand: bool) -> None:
        self._step = step
        self._path = path
        self._validation = validation
        self._shorthand = shorthand
        self._violations: list[Violation] = []
        self.needed: dict[str, str] = dict.fromkeys(step.depends_on, "depends_on")
        """The steps it depends on, each with the field that names it first."""

    def run(self) -> list[Violation]:
        step = self._step
        if step.id and not STEP_ID.fullmatch(step.id):
            self._wrong("id", f"{step.id[:80]!r} is no step id: use [a-z_][a-z0-9_]*, at most 64 characters")
        self._arguments()
        self._for_each()
        self._condition()
        self._join_and_numbers()
        self._tool()
        del step.depends_on[:]
        step.depends_on.extend(self.needed)
        return self._violations

    def _need(self, names: Iterable[str], field: str) -> None:
        for name in names:
            self.needed.setdefault(name, field)

    def _wrong(self, field: str, problem: str) -> None:
        self._violations.append((f"{self._path}.{field}", problem))

    def _parse(self, text: str, field: str) -> pb.Template | None:
        limits = self._validation.limits
        if len(text) > limits.arguments_bytes or len(text.encode()) > limits.arguments_bytes:
            self._wrong(field, f"is larger than {limits.arguments_bytes} bytes")
            return None
        if problem := self._validation.bounds_problem(text):
            self._wrong(field, problem)
            return None
        try:
            return parse_json(
                text, shorthand=self._shorthand, depth_limit=limits.json_depth, parts_limit=limits.template_parts
            )
        except TemplateError as error:
            self._wrong(field, str(error))
            return None

    def _arguments(self) -> None:
        step = self._step
        if step.arguments_json and step.HasField("arguments"):
            self._wrong("arguments_json", "cannot be given together with arguments")
        if step.arguments_json:
            parsed = self._parse(step.arguments_json, "arguments_json")
            if parsed is None:
                return
            step.arguments.CopyFrom(parsed)
            step.arguments_json = ""
        elif not step.HasField("arguments"):
            step.arguments.literal_json = "{}"
        elif not self._check_typed(step.arguments, "arguments"):
            return
        self._check_references(step.arguments, "arguments")
        self._need(referenced_steps(step.arguments), "arguments")

    def _check_typed(self, template: pb.Template, field: str) -> bool:
        """Check a template that was not parsed here; whether it may be looked at any further."""
        limits = self._validation.limits
        try:
            check_parts(template, limits.template_parts)
        except TemplateError as error:
            self._wrong(field, str(error))
            return False
        if sum(len(literal.encode()) for literal in literals(template)) > limits.arguments_bytes:
            self._wrong(field, f"is larger than {limits.arguments_bytes} bytes")
            return False
        for literal in literals(template):
            if problem := self._validation.bounds_problem(literal):
                self._wrong(field, problem)
                continue
            try:
                check_literal(literal, depth_limit=limits.json_depth)
            except TemplateError as error:
                self._wrong(field, str(error))
        if is_given_twice(template):
            self._wrong(field, TWICE)
        if has_sealed(template):
            # The service alone seals: a sealed value that somebody copied from the log must not be opened for them.
            self._wrong(field, "is sealed: give it as JSON, the service seals what the tool's schema marks")
        return True

    def _check_references(self, template: pb.Template, field: str) -> None:
        in_item = self._step.HasField("for_each") and field == "arguments"
        for reference in references(template):
            root = reference.WhichOneof("root")
            if root is None:
                self._wrong(field, "has a reference without a root")
            elif root in ("item", "index") and not in_item:
                self._wrong(field, f"refers to {root}, which only the arguments of a step with for_each may")

    def _for_each(self) -> None:
        step = self._step
        if not step.HasField("for_each"):
            return
        if step.for_each.items_json and step.for_each.HasField("items"):
            self._wrong("for_each.items_json", "cannot be given together with items")
        if step.for_each.items_json:
            parsed = self._parse(step.for_each.items_json, "for_each.items_json")
            if parsed is None:
                return
            step.for_each.items.CopyFrom(parsed)
            step.for_each.items_json = ""
        elif not self._check_typed(step.for_each.items, "for_each.items"):
            return
        items = step.for_each.items
        kind = items.WhichOneof("kind")
        if kind is None:
            self._wrong("for_each.items", "is missing: give the list to run over")
        elif kind in ("interpolation", "object") or (kind == "literal_json" and items.literal_json.lstrip()[:1] != "["):
            self._wrong("for_each.items", "is not a list")
        self._check_references(items, "for_each.items")
        self._need(referenced_steps(items), "for_each.items")

    def _condition(self) -> None:
        step = self._step
        if not step.condition:
            return
        if len(step.condition.encode()) > self._validation.limits.condition_bytes:
            self._wrong("condition", f"is larger than {self._validation.limits.condition_bytes} bytes")
            return
        try:
            if self._shorthand:
                step.condition = conditions.from_shorthand(step.condition)
            self._need(sorted(self._validation.expressions.check(step.condition)), "condition")
        except conditions.ExpressionError as error:
            self._wrong("condition", f"is no valid condition: {error}")

    def _join_and_numbers(self) -> None:
        step = self._step
        if step.join not in pb.Join.values():
            self._wrong("join", "is not known")
        if step.join == pb.JOIN_N_OF and not 1 <= step.join_count <= len(self.needed):
            self._wrong("join_count", f"must be between 1 and the number of dependencies, {len(self.needed)}")
        if step.join != pb.JOIN_N_OF and step.join_count:
            self._wrong("join_count", "has a meaning only with JOIN_N_OF")
        if step.on_failure not in pb.OnFailure.values():
            self._wrong("on_failure", "is not known")
        retry = step.retry
        if retry.multiplier and not 1 <= retry.multiplier <= _MULTIPLIER_MAX:
            self._wrong("retry.multiplier", f"must be between 1 and {_MULTIPLIER_MAX}")
        if retry.HasField("jitter") and not 0 <= retry.jitter <= 1:
            self._wrong("retry.jitter", "must be between 0 and 1")
        if retry.max_attempts > _ATTEMPTS_MAX:
            self._wrong("retry.max_attempts", f"must be at most {_ATTEMPTS_MAX}")
        for field, reasons in (("retry_on", retry.retry_on), ("never_retry_on", retry.never_retry_on)):
            if len(reasons) > _REASONS_MAX or any(len(reason) > _REASON_LENGTH_MAX for reason in reasons):
                problem = f"must be at most {_REASONS_MAX} reasons of at most {_REASON_LENGTH_MAX} characters"
                self._wrong(f"retry.{field}", problem)

    def _tool(self) -> None:
        step = self._step
        if not _TOOL_NAME.fullmatch(step.tool):
            self._wrong("tool", f"{step.tool[:80]!r} is no tool name: use [A-Za-z0-9_-], 1 to 64 characters")
            return
        tool = self._validation.tool(step.tool)
        if tool is None:
            self._wrong("tool", f"{step.tool} is not registered: start an executor that serves it, or check the name")
            return
        step.tool_version = tool.version
        step.repeatable = tool.definition.read_only or tool.definition.idempotent
        if not any(path.startswith(f"{self._path}.arguments") for path, _ in self._violations):
            for violation in self._validation.check_arguments(tool.definition, step.arguments):
                if isinstance(violation, RejectedInput):
                    self._violations.append(violation.below(self._path))
                else:
                    self._wrong(*violation)
