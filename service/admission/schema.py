"""The guard of arguments against the tool's schema, and the checks of tools and templates before they are recorded.

What a template's check reports is wrong however its holes are filled: a submission is never refused for a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson

from podium.v1 import definition_pb2, value_pb2
from service.admission.json_bounds import JsonBounds, separators
from service.admission.json_schema import (
    DEPTH_LIMIT,
    Path,
    SchemaRefused,
    compile_schema,
    explain,
    field_path,
    is_too_much,
)
from service.admission.nesting import nested_within
from service.admission.redacted_places import redacted_places, redaction_violations
from service.admission.sanitizing import declaration_violations, literal_violations, sanitizers_of
from service.admission.tool_request import ToolRequest
from service.admission.verdicts import ALLOWED, Allowed, Denied
from service.domain.caching import caching_violations
from service.domain.call_reading import TOOL_NAME
from service.domain.errors import Violation
from service.domain.templates import literals

_VALIDATORS = 4096
"""How many versions of tools a guard keeps validators for."""
_COMPILED = 512
"""How many compiled schemas are kept by their text."""
_PROBLEMS_MAX = 20
_EXPLAINED_ELEMENTS = 5_000
"""Elements and members of a value of which all is told that is wrong."""
_DESCRIPTION_LIMIT_BYTES = 16 * 1024
_PERMISSIONS_MAX = 64
_DURATION_MAX_MS = 30 * 24 * 60 * 60 * 1000
_PERMISSION = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*")
_PERMISSION_LENGTH = 128
SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""A name that is a file's: neither . nor .. nor a hidden file, and without a separator."""
_SECRETS_MAX = 16
_BATCH_CALLS = range(2, 1001)
_BATCH_WAIT_MAX_MS = 10_000

_TOO_MUCH = "has more elements than can be checked against the tool's schema"

_compiled = lru_cache(maxsize=_COMPILED)(compile_schema)


class SchemaGuard:
    """Denies a call whose arguments do not satisfy the input schema of the tool's version."""

    name = "schema"

    def __init__(self, bounds: JsonBounds = JsonBounds()) -> None:  # noqa: B008 - frozen
        self._bounds = bounds
        # By version: to look the schema's text up would cost more than to validate with it.
        self._validators: dict[tuple[str, str, int], jsonschema_rs.Validator] = {}

    def check(self, request: ToolRequest, now_us: int) -> Allowed | Denied:  # noqa: ARG002 - a guard's signature
        """Decide from memory; see service.admission.pipeline.Guard."""
        problem = self._bounds.problem(request.arguments_json)
        if problem:
            return self._denied((), problem)
        try:
            arguments: Any = request.arguments
        except ValueError:
            return self._denied((), "is not valid JSON")
        if is_too_much(request.tool.input_schema_json, separators(request.arguments_json)):
            return self._denied((), _TOO_MUCH)
        validator = self._validator(request)
        if validator.is_valid(arguments):
            return ALLOWED
        try:
            validator.validate(arguments)
        except jsonschema_rs.ValidationError as error:
            return self._denied(*explain(error)[0])
        raise RuntimeError("the validator contradicts itself")

    def _validator(self, request: ToolRequest) -> jsonschema_rs.Validator:
        key = (request.tenant, request.tool.name, request.tool_version)
        validator = self._validators.get(key)
        if validator is None:
            if len(self._validators) >= _VALIDATORS:
                self._validators.clear()
            validator = self._validators[key] = _compiled(request.tool.input_schema_json)
        return validator

    def _denied(self, path: Path, problem: str) -> Denied:
        field = field_path(path)
        failure = value_pb2.Failure(reason="INVALID_ARGUMENTS", message=f"{field} {problem}", field=field)
        return Denied(self.name, failure, field)


def check_definition(tool: definition_pb2.ToolDefinition) -> list[Violation]:
    """What is wrong with a tool that is to be registered, as (field, message)."""
    violations: list[Violation] = []
    if not TOOL_NAME.fullmatch(tool.name):
        violations.append(("name", "must be 1 to 64 of the characters A-Z a-z 0-9 _ -"))
    if len(tool.description.encode()) > _DESCRIPTION_LIMIT_BYTES:
        violations.append(("description", f"is larger than {_DESCRIPTION_LIMIT_BYTES} bytes"))
    violations += _schema_violations("input_schema_json", tool.input_schema_json, of_object=True)
    if tool.output_schema_json:
        violations += _schema_violations("output_schema_json", tool.output_schema_json, of_object=False)
    if tool.streams_output and not violations:
        violations += _streaming_violations(tool.output_schema_json)
    violations += _permission_violations(tool)
    violations += _secret_violations(tool)
    for field, duration_ms in (("timeout_ms", tool.timeout_ms), ("heartbeat_timeout_ms", tool.heartbeat_timeout_ms)):
        if duration_ms > _DURATION_MAX_MS:
            violations.append((field, "is longer than 30 days"))
    if tool.HasField("caching"):
        violations += caching_violations("caching", tool.caching)
        if not tool.read_only:
            problem = "is for tools that change nothing: declare read_only, or leave it out"
            violations.append(("caching", problem))
    violations += _batching_violations(tool)
    return violations


def check_template(tool: definition_pb2.ToolDefinition, template: definition_pb2.Template) -> list[Violation]:
    """What is wrong with a template as arguments of `tool`, whatever fills its holes, as (field, message)."""
    built = _Instance()
    instance: Any = built.build(template, ())
    if built.violations:
        return built.violations
    try:
        validator = _compiled(tool.input_schema_json)
    except SchemaRefused as refused:
        return [("arguments", f"cannot be checked: the tool's schema {refused}")]
    elements = sum(map(separators, literals(template)))
    if is_too_much(tool.input_schema_json, elements):
        return [("arguments", _TOO_MUCH)]
    violations: dict[Violation, None] = {}
    for error in _errors(validator, instance, elements):
        if _is_certain(error, built.holes):
            violations.update(((field_path(path), problem), None) for path, problem in explain(error))
        if len(violations) >= _PROBLEMS_MAX:
            break
    if not violations:
        violations.update(dict.fromkeys(literal_violations(tool, template, has_holes=bool(built.holes))))
    return list(violations)[:_PROBLEMS_MAX]


def _errors(
    validator: jsonschema_rs.Validator, instance: object, elements: int
) -> Iterable[jsonschema_rs.ValidationError]:
    """What is wrong with a value: everything, or of a large value what is found first.

    The validator makes an error of each element before it gives out the first, and each takes microseconds.
    """
    if validator.is_valid(instance):
        return ()
    if elements <= _EXPLAINED_ELEMENTS:
        return validator.iter_errors(instance)
    try:
        validator.validate(instance)
    except jsonschema_rs.ValidationError as error:
        return (error,)
    raise RuntimeError("the validator contradicts itself")


def _schema_violations(field: str, text: str, *, of_object: bool) -> Iterator[Violation]:
    try:
        _compiled(text)
    except SchemaRefused as error:
        yield field, str(error)
        return
    if of_object and orjson.loads(text).get("type") != "object":
        yield field, 'must describe an object: "type": "object"'
    yield from declaration_violations(field, text)
    if not of_object:
        yield from redaction_violations(field, text)


def _streaming_violations(output_schema_json: str) -> Iterator[Violation]:
    """Chunks are recorded and told as they come, before there is an output that a mark could apply to."""
    changed = sanitizers_of(output_schema_json) is not None or redacted_places(output_schema_json) is not None
    if changed:
        problem = "cannot go with x-podium-sanitize or x-podium-redact in the output schema, as chunks would keep what"
        yield "streams_output", f"{problem} is marked: let the tool return its output, or take the marks off"


def _batching_violations(tool: definition_pb2.ToolDefinition) -> Iterator[Violation]:
    if not tool.HasField("batching"):
        return
    if tool.batching.max_calls not in _BATCH_CALLS:
        yield "batching.max_calls", f"must be {_BATCH_CALLS[0]} to {_BATCH_CALLS[-1]}"
    if tool.batching.max_wait_ms > _BATCH_WAIT_MAX_MS:
        yield (
            "batching.max_wait_ms",
            f"is longer than {_BATCH_WAIT_MAX_MS // 1000} s, which every call would take longer",
        )


def _secret_violations(tool: definition_pb2.ToolDefinition) -> Iterator[Violation]:
    if len(tool.secrets) > _SECRETS_MAX:
        yield "secrets", f"are more than {_SECRETS_MAX}"
    for index, name in enumerate(tool.secrets):
        if not SECRET_NAME.fullmatch(name):
            yield f"secrets[{index}]", "must be 1 to 128 of the characters A-Z a-z 0-9 _ . - and not begin with . or -"
        if name in tool.secrets[:index]:
            yield f"secrets[{index}]", "is named twice"


def _permission_violations(tool: definition_pb2.ToolDefinition) -> Iterator[Violation]:
    if len(tool.permissions) > _PERMISSIONS_MAX:
        yield "permissions", f"are more than {_PERMISSIONS_MAX}"
    for index, permission in enumerate(tool.permissions):
        if len(permission) > _PERMISSION_LENGTH or not _PERMISSION.fullmatch(permission):
            yield f"permissions[{index}]", "must be words of a-z 0-9 _ joined by dots, for example email_send"
        if permission in tool.permissions[:index]:
            yield f"permissions[{index}]", "is named twice"


class _Instance:
    """A value made from a template, with something in the place of each hole."""

    def __init__(self) -> None:
        self.holes: dict[Path, bool] = {}
        """The paths of the holes, and whether each is filled with a string for certain."""
        self.violations: list[Violation] = []

    def build(self, template: definition_pb2.Template, path: Path) -> object:
        match template.WhichOneof("kind"):
            case "literal_json":
                return self._literal(template.literal_json, path)
            case "object":
                return {m.name: self.build(m.value, (*path, m.name)) for m in template.object.members}
            case "array":
                return [self.build(e, (*path, index)) for index, e in enumerate(template.array.elements)]
            case "interpolation":
                self.holes[path] = True
                return ""
            case "reference":
                self.holes[path] = False
            case _:
                self.violations.append((field_path(path), "has no value"))
        return None

    def _literal(self, text: str, path: Path) -> object:
        if not nested_within(text, DEPTH_LIMIT):
            self.violations.append((field_path(path), f"is nested more than {DEPTH_LIMIT} levels deep"))
            return None
        try:
            return orjson.loads(text)
        except ValueError:
            self.violations.append((field_path(path), "is not valid JSON"))
            return None


_CERTAIN_ABOVE_HOLES = frozenset(
    {
        "required",
        "additionalProperties",
        "propertyNames",
        "type",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "falseSchema",
    }
)
"""Keywords whose verdict on an object or an array does not depend on the values in it."""


def _is_certain(error: jsonschema_rs.ValidationError, holes: Mapping[Path, bool]) -> bool:
    """Whether the error stays, however the holes are filled."""
    if not holes:
        return True
    path = tuple(error.instance_path)
    kind: Any = error.kind
    if "then" in error.schema_path or "else" in error.schema_path:
        # Which branch applies may depend on a hole anywhere below the place of the `if`, which the error does not tell.
        return False
    if any(path[:length] in holes for length in range(len(path) + 1)):
        return kind.name == "type" and holes.get(path, False)
    if not any(hole[: len(path)] == path for hole in holes):
        return True
    if kind.name in ("anyOf", "oneOf"):
        if isinstance(kind, jsonschema_rs.ValidationErrorKind.OneOfMultipleValid):
            return False
        return all(any(_is_certain(inner, holes) for inner in branch) for branch in kind.context)
    return kind.name in _CERTAIN_ABOVE_HOLES
