"""The guard of arguments against the sanitizers that a tool's schema declares, and the check of such declarations.

What a sanitizer cleans is what the tool gets. No refusal holds the refused value: messages are recorded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import orjson

from podium.marks import SANITIZE
from podium.sanitizers.declaration import SpecificationRefused
from podium.sanitizers.registry import MissingLibrary
from podium.sanitizers.rejection import Rejected
from podium.sanitizers.schema import SchemaSanitizers, compile_schema_sanitizers
from podium.v1 import definition_pb2, value_pb2
from service.admission.content_patterns import TenantPatterns
from service.admission.tool_request import ToolRequest
from service.admission.verdicts import ALLOWED, Allowed, Denied
from service.domain.errors import INPUT_REJECTED, RejectedInput, Violation
from service.domain.permissions import Policy

_VERSIONS = 4096
"""How many versions of tools a guard keeps sanitizers for."""
_LIMIT_US = 40_000
"""How long about it may take to apply sanitizers to arguments once; those that are cleaned take twice as long."""
_NONE: Mapping[str, Any] = {}
_HOLE = object()
_ALTERNATIVES = ('"if"', '"anyOf"', '"oneOf"', "\\u")
"""Keywords whose effect depends on the value, or what might be one of them in disguise."""


class SanitizerGuard:
    """Denies a call whose arguments a sanitizer of the tool's version refuses, and puts cleaned ones in their place."""

    name = "sanitizer"

    def __init__(self, policy_of: Callable[[str], Policy]) -> None:
        """`policy_of` finds the policy of a tenant, whose content patterns texts are searched for."""
        self._policy_of = policy_of
        self._compiled: dict[tuple[str, str, int], SchemaSanitizers | None] = {}
        self._patterns: dict[str, TenantPatterns] = {}

    def check(self, request: ToolRequest, now_us: int) -> Allowed | Denied:  # noqa: ARG002 - a guard's signature
        """Decide from memory; see service.admission.pipeline.Guard."""
        key = (request.tenant, request.tool.name, request.tool_version)
        try:
            sanitizers = self._compiled[key]
        except KeyError:
            sanitizers = self._compile(key, request.tool)
        if sanitizers is None:
            return ALLOWED
        try:
            cleaned = cleaned_text(sanitizers, request.arguments, request.arguments_json, limit_us=_LIMIT_US)
        except Rejected as rejected:
            return _denied(rejected)
        return ALLOWED if cleaned is None else Allowed(arguments_json=cleaned)

    def _compile(self, key: tuple[str, str, int], tool: definition_pb2.ToolDefinition) -> SchemaSanitizers | None:
        if len(self._compiled) >= _VERSIONS:
            self._compiled.clear()
        patterns = self._patterns.get(key[0])
        if patterns is None:
            patterns = self._patterns[key[0]] = TenantPatterns(key[0], self._policy_of)
        compiled = self._compiled[key] = sanitizers_of(tool.input_schema_json, patterns)
        return compiled


def sanitizers_of(schema_json: str, patterns: Mapping[str, Any] = _NONE) -> SchemaSanitizers | None:
    """The sanitizers that a schema declares; None: it declares none. Raises SpecificationRefused and MissingLibrary."""
    # Most schemas declare none, and need not be parsed to know it. In JSON the mark may be written with escapes.
    if SANITIZE not in schema_json and "\\u" not in schema_json:
        return None
    return compile_schema_sanitizers(orjson.loads(schema_json), patterns=patterns)


def cleaned_text(
    sanitizers: SchemaSanitizers, value: object, text: str, root: str = "arguments", *, limit_us: int | None = None
) -> str | None:
    """The JSON text of a value with what is cleaned in it; None: nothing is. Raises Rejected."""
    cleaned = sanitizers.apply(value, root, limit_us=limit_us)
    if cleaned is value:
        return None
    # To orjson a large whole number is a float, and it would come back as another.
    exact = _with_numbers_of(json.loads(text), cleaned)
    return json.dumps(exact, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _with_numbers_of(given: object, cleaned: object) -> object:
    """What was cleaned, with the numbers that stand in the same places of what was given: those are never cleaned."""
    if isinstance(cleaned, dict) and isinstance(given, dict):
        return {name: _with_numbers_of(given[name], member) for name, member in cleaned.items()}
    if isinstance(cleaned, list) and isinstance(given, list):
        return [_with_numbers_of(*pair) for pair in zip(given, cleaned, strict=True)]
    return cleaned if isinstance(cleaned, str) else given


def clean_arguments(tool: definition_pb2.ToolDefinition, text: str) -> str:
    """The arguments of an attempt that was admitted as its tool gets them: what the guard made of them, made again."""
    sanitizers = _known(tool.input_schema_json)
    if sanitizers is None:
        return text
    return cleaned_text(sanitizers, orjson.loads(text), text) or text


def declaration_violations(field: str, schema_json: str) -> Iterator[Violation]:
    """What is wrong with the sanitizers of a schema that is a valid one, as (field, message)."""
    try:
        sanitizers_of(schema_json)
    except (SpecificationRefused, MissingLibrary) as error:
        yield field, f"declares a sanitizer that cannot be used: {error}"


def literal_violations(
    tool: definition_pb2.ToolDefinition, template: definition_pb2.Template, *, has_holes: bool
) -> Iterator[Violation]:
    """What a sanitizer refuses in a template that satisfies the schema, however its holes are filled.

    What has a hole is left out, and with it the array that it is an element of: a command is judged as a whole.
    """
    try:
        sanitizers = _known(tool.input_schema_json)
    except (SpecificationRefused, MissingLibrary) as error:
        yield "arguments", f"cannot be checked: the tool {error}"
        return
    if sanitizers is None or (has_holes and any(word in tool.input_schema_json for word in _ALTERNATIVES)):
        # Which alternative applies may depend on what fills a hole.
        return
    literal = _without_holes(template)
    if literal is _HOLE:
        return
    try:
        sanitizers.apply(literal, limit_us=_LIMIT_US)
    except Rejected as rejected:
        yield RejectedInput(rejected.field, rejected.message, rejected.sanitizer, rejected.reason)


def _without_holes(template: definition_pb2.Template) -> object:
    """The literal part of a template; _HOLE where there is none."""
    match template.WhichOneof("kind"):
        case "literal_json":
            return orjson.loads(template.literal_json)
        case "object":
            members = {each.name: _without_holes(each.value) for each in template.object.members}
            return {name: value for name, value in members.items() if value is not _HOLE}
        case "array":
            whole = all(each.WhichOneof("kind") == "literal_json" for each in template.array.elements)
            return [orjson.loads(each.literal_json) for each in template.array.elements] if whole else _HOLE
        case _:
            return _HOLE


_known = lru_cache(maxsize=512)(sanitizers_of)


def _denied(rejected: Rejected) -> Denied:
    message = f"{rejected.field} {rejected.message}"
    failure = value_pb2.Failure(reason=INPUT_REJECTED, message=message, field=rejected.field)
    return Denied(rejected.sanitizer, failure, rejected.field, reason=rejected.reason)
