"""Reads what a submitted step or a link of its fallback chain calls: the tool, its arguments, its retry policy.

Everything is brought into its normal form in place. What is wrong is collected, each with the path of its field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from podium.v1 import definition_pb2 as pb
from service.domain.errors import RejectedInput, Violation
from service.domain.fallback import ANY
from service.domain.json_members import TWICE, is_given_twice
from service.domain.reasons import reason_problem
from service.domain.retry import MULTIPLIER_MAX
from service.domain.template_parsing import check_literal, parse_compact, parse_json
from service.domain.templates import (
    TemplateError,
    check_parts,
    has_sealed,
    literals,
    referenced_steps,
    references,
)
from service.domain.validation import Validation

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a tool may be called."""
_ATTEMPTS_MAX = 1000
REASONS_MAX = 100


class CallReading:
    """Reads the calls of one step. `prefix` is everywhere the path from the step to the call, "" for its own."""

    def __init__(self, path: str, validation: Validation, *, shorthand: bool, in_item: bool) -> None:
        """`path` is the field of the request that holds the step; `in_item` says that it has a for_each."""
        self._path = path
        self._validation = validation
        self._shorthand = shorthand
        self._in_item = in_item
        self.violations: list[Violation] = []
        self.needed: dict[str, str] = {}
        """The steps that are referred to, each with the field that names it first."""

    def need(self, names: Iterable[str], field: str) -> None:
        """The step depends on these."""
        for name in names:
            self.needed.setdefault(name, field)

    def wrong(self, field: str, problem: str) -> None:
        """Note what is wrong with a field of the step."""
        self.violations.append((f"{self._path}.{field}", problem))

    def is_wrong(self, field: str) -> bool:
        """Whether anything is wrong with a field, or below it."""
        return any(path.startswith(f"{self._path}.{field}") for path, _ in self.violations)

    def parse(self, text: str, field: str, *, shorthand: bool | None = None) -> pb.Template | None:
        """The template that JSON text makes; None: it is wrong. `shorthand` is the request's unless it is given."""
        limits = self._validation.limits
        if len(text) > limits.arguments_bytes or len(text.encode()) > limits.arguments_bytes:
            self.wrong(field, f"is larger than {limits.arguments_bytes} bytes")
            return None
        if problem := self._validation.bounds_problem(text):
            self.wrong(field, problem)
            return None
        shorthand = self._shorthand if shorthand is None else shorthand
        try:
            compact = self._validation.compact(text)
            template = None if compact is None else parse_compact(compact, shorthand=shorthand)
            return template or parse_json(
                text,
                shorthand=shorthand,
                depth_limit=limits.json_depth,
                parts_limit=limits.template_parts,
                elements_limit=limits.template_elements,
                compact=compact,
            )
        except TemplateError as error:
            self.wrong(field, str(error))
            return None

    def check_typed(self, template: pb.Template, field: str) -> bool:
        """Check a template that was not parsed here; whether it may be looked at any further."""
        limits = self._validation.limits
        try:
            check_parts(template, limits.template_parts)
        except TemplateError as error:
            self.wrong(field, str(error))
            return False
        if sum(len(literal.encode()) for literal in literals(template)) > limits.arguments_bytes:
            self.wrong(field, f"is larger than {limits.arguments_bytes} bytes")
            return False
        for literal in literals(template):
            self.check_json(literal, field)
        if is_given_twice(template):
            self.wrong(field, TWICE)
        if has_sealed(template):
            # The service alone seals: a sealed value that somebody copied from the log must not be opened for them.
            self.wrong(field, "is sealed: give it as JSON, the service seals what the tool's schema marks")
        return True

    def check_json(self, literal: str, field: str) -> None:
        """Check JSON text without holes."""
        if problem := self._validation.bounds_problem(literal):
            self.wrong(field, problem)
            return
        try:
            if self._validation.compact(literal) is None:
                check_literal(literal, depth_limit=self._validation.limits.json_depth)
        except TemplateError as error:
            self.wrong(field, str(error))

    def read_references(self, template: pb.Template, field: str, *, in_item: bool) -> None:
        """Check what a template refers to, and depend on it."""
        for reference in references(template):
            root = reference.WhichOneof("root")
            if root is None:
                self.wrong(field, "has a reference without a root")
            elif root in ("item", "index") and not in_item:
                self.wrong(field, f"refers to {root}, which only the arguments of a step with for_each may")
        self.need(referenced_steps(template), field)

    def read_arguments(self, call: pb.StepDefinition | pb.ToolFallback, prefix: str, absent: str = "") -> None:
        """Read a call's arguments; where there are none they are `absent`, if that is anything."""
        if call.arguments_json and call.HasField("arguments"):
            self.wrong(f"{prefix}arguments_json", "cannot be given together with arguments")
        if call.arguments_json:
            parsed = self.parse(call.arguments_json, f"{prefix}arguments_json")
            if parsed is None:
                return
            call.arguments.CopyFrom(parsed)
            call.arguments_json = ""
        elif not call.HasField("arguments"):
            if not absent:
                return
            call.arguments.literal_json = absent
        elif not self.check_typed(call.arguments, f"{prefix}arguments"):
            return
        self.read_references(call.arguments, f"{prefix}arguments", in_item=self._in_item)

    def read_tool(self, call: pb.StepDefinition | pb.ToolFallback, prefix: str, arguments: pb.Template) -> None:
        """Pin a call to the version of its tool, and check the arguments it will have against that."""
        if not TOOL_NAME.fullmatch(call.tool):
            self.wrong(f"{prefix}tool", f"{call.tool[:80]!r} is no tool name: use [A-Za-z0-9_-], 1 to 64 characters")
            return
        tool = self._validation.tool(call.tool)
        if tool is None:
            problem = f"{call.tool} is not registered: start an executor that serves it, or check the name"
            self.wrong(f"{prefix}tool", problem)
            return
        call.tool_version = tool.version
        call.repeatable = tool.definition.read_only or tool.definition.idempotent
        whose = prefix if call.HasField("arguments") else ""
        if self.is_wrong(f"{prefix}arguments") or self.is_wrong(f"{whose}arguments"):
            return
        below = f"{self._path}.{prefix}".rstrip(".")
        for violation in self._validation.check_arguments(tool.definition, arguments):
            if isinstance(violation, RejectedInput):
                self.violations.append(violation.below(below))
            else:
                field, problem = violation
                self.wrong(f"{prefix}{field}", problem)

    def read_retry(self, retry: pb.RetryPolicy, field: str) -> None:
        """Check a retry policy."""
        if retry.multiplier and not 1 <= retry.multiplier <= MULTIPLIER_MAX:
            self.wrong(f"{field}.multiplier", f"must be between 1 and {MULTIPLIER_MAX}")
        if retry.HasField("jitter") and not 0 <= retry.jitter <= 1:
            self.wrong(f"{field}.jitter", "must be between 0 and 1")
        if retry.max_attempts > _ATTEMPTS_MAX:
            self.wrong(f"{field}.max_attempts", f"must be at most {_ATTEMPTS_MAX}")
        for name, reasons in (("retry_on", retry.retry_on), ("never_retry_on", retry.never_retry_on)):
            if len(reasons) > REASONS_MAX:
                self.wrong(f"{field}.{name}", f"must be at most {REASONS_MAX} reasons")
                continue
            for number, reason in enumerate(reasons):
                if reason == ANY and name == "retry_on":
                    continue
                if reason == ANY:
                    self.wrong(f"{field}.{name}[{number}]", "is no reason: to repeat nothing, set max_attempts to 1")
                elif problem := reason_problem(reason):
                    self.wrong(f"{field}.{name}[{number}]", problem)
