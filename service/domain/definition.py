"""Validating submitted steps and bringing them into their normal form, before anything is recorded.

The normal form has ids, pinned tool versions, parsed templates and all dependencies named; the log holds nothing
else. Everything that is wrong is reported at once, each with the path of its field and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from podium.v1 import definition_pb2 as pb
from service.domain import conditions
from service.domain.call_reading import CallReading
from service.domain.errors import INPUT_REJECTED, Basis, InvalidInput, RejectedInput, Violation
from service.domain.fallback_reading import read_chain
from service.domain.graph import STEP_ID, graph_violations
from service.domain.validation import Validation

_LONG_BYTES = 64 * 1024
"""A longer step is read in two pieces."""


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
        """Bring one step after the other into its normal form, and tell how many bytes each had, a long one twice.

        Each link of a fallback chain is a piece as well: its arguments take as long to check as a step's.
        What will be refused for its size is not read any further.
        """
        limits = self._validation.limits
        if len(self._submitted) > min(limits.steps, limits.request_steps):
            return
        for index, original in enumerate(self._submitted):
            if self._dependencies > limits.request_dependencies:
                return
            step = pb.StepDefinition()
            step.CopyFrom(original)
            one = _Normaliser(step, self._path.format(index), self._validation, shorthand=self._shorthand)
            size_bytes = original.ByteSize()
            one.read()
            if size_bytes > _LONG_BYTES:
                # What has been read is checked in a turn of its own.
                yield size_bytes
            for _ in one.check():
                yield 0
            self._violations += one.violations
            self._dependencies += len(one.needed) - len(original.depends_on)
            self._steps.append(step)
            self._needs.append(one.needed)
            yield size_bytes

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
        if len(self._submitted) > limits.request_steps:
            problem = (
                f"{len(self._submitted)} at once are too many: start the workflow open, with {limits.request_steps} "
                "at most, and add the others by AddSteps"
            )
            field = self._path.partition("[")[0]
            message = f"a request has at most {limits.request_steps} steps"
            raise InvalidInput("TOO_MANY_STEPS", message, violations=[(field, problem)])
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
        self._validation = validation
        self._shorthand = shorthand
        self._reading = CallReading(path, validation, shorthand=shorthand, in_item=step.HasField("for_each"))
        self.needed: dict[str, str] = self._reading.needed
        """The steps it depends on, each with the field that names it first."""
        self.violations = self._reading.violations

    def read(self) -> None:
        """Read what the step is called with."""
        step, reading = self._step, self._reading
        reading.need(step.depends_on, "depends_on")
        if step.id and not STEP_ID.fullmatch(step.id):
            reading.wrong("id", f"{step.id[:80]!r} is no step id: use [a-z_][a-z0-9_]*, at most 64 characters")
        reading.read_arguments(step, "", absent="{}")
        self._for_each()

    def check(self) -> Iterator[None]:
        """Read the rest, one link of the chain after the other; then all that is wrong is known."""
        step, reading = self._step, self._reading
        self._condition()
        # Before the join, because what its links refer to is a dependency too.
        yield from read_chain(step, reading, self._validation)
        self._join_and_numbers()
        reading.read_retry(step.retry, "retry")
        reading.read_tool(step, "", step.arguments)
        del step.depends_on[:]
        step.depends_on.extend(self.needed)

    def _for_each(self) -> None:
        step, reading = self._step, self._reading
        if not step.HasField("for_each"):
            return
        if step.for_each.items_json and step.for_each.HasField("items"):
            reading.wrong("for_each.items_json", "cannot be given together with items")
        if step.for_each.items_json:
            parsed = reading.parse(step.for_each.items_json, "for_each.items_json")
            if parsed is None:
                return
            step.for_each.items.CopyFrom(parsed)
            step.for_each.items_json = ""
        elif not reading.check_typed(step.for_each.items, "for_each.items"):
            return
        items = step.for_each.items
        kind = items.WhichOneof("kind")
        if kind is None:
            reading.wrong("for_each.items", "is missing: give the list to run over")
        elif kind in ("interpolation", "object") or (kind == "literal_json" and items.literal_json.lstrip()[:1] != "["):
            reading.wrong("for_each.items", "is not a list")
        reading.read_references(items, "for_each.items", in_item=False)

    def _condition(self) -> None:
        step, reading = self._step, self._reading
        if not step.condition:
            return
        if len(step.condition.encode()) > self._validation.limits.condition_bytes:
            reading.wrong("condition", f"is larger than {self._validation.limits.condition_bytes} bytes")
            return
        try:
            if self._shorthand:
                step.condition = conditions.from_shorthand(step.condition)
            reading.need(sorted(self._validation.expressions.check(step.condition)), "condition")
        except conditions.ExpressionError as error:
            reading.wrong("condition", f"is no valid condition: {error}")

    def _join_and_numbers(self) -> None:
        step, reading = self._step, self._reading
        if step.join not in pb.Join.values():
            reading.wrong("join", "is not known")
        if step.join == pb.JOIN_N_OF and not 1 <= step.join_count <= len(self.needed):
            reading.wrong("join_count", f"must be between 1 and the number of dependencies, {len(self.needed)}")
        if step.join != pb.JOIN_N_OF and step.join_count:
            reading.wrong("join_count", "has a meaning only with JOIN_N_OF")
        if step.on_failure not in pb.OnFailure.values():
            reading.wrong("on_failure", "is not known")
