"""What a tool's output must be before it is recorded: within the bounds, of its schema, and without secrets.

In this order: it is checked against the schema as the tool gave it, what the schema says is cleaned or left out, and
secrets are taken out of all that is left. No message holds a value: what is wrong is named by its place.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jsonschema_rs
import orjson

from podium.sanitizers.rejection import Rejected
from podium.sanitizers.schema import SchemaSanitizers
from podium.v1 import definition_pb2
from service.admission.json_bounds import JsonBounds
from service.admission.json_schema import SchemaRefused, compile_schema, explain, field_path
from service.admission.redacted_places import RedactedPlaces, redacted_places
from service.admission.redaction import Redactor, texts_of
from service.admission.sanitizing import sanitizers_of
from service.domain.json_members import TWICE, has_member_twice
from service.domain.permissions import Policy
from service.engine.keys import ToolVersion

logger = logging.getLogger(__name__)

NAMES_MAX = 50
"""So many changes of one output are named."""
_ROOT = "output"
_NAME_LENGTH = 80
_MEMBER = re.compile(r'\.([A-Za-z_][A-Za-z0-9_-]*+)|\["(?:[^"\\]++|\\.)*+(?:"\]|.*\Z)', re.DOTALL)
"""A member in a place, the last of which may have been cut."""
_NO_SHAPES = Redactor()
_ALL_SHAPES = Redactor.of()


class OutputRule(NamedTuple):
    """What the schema of a tool's outputs asks for."""

    validator: jsonschema_rs.Validator | None
    sanitizers: SchemaSanitizers | None
    places: RedactedPlaces | None
    names: frozenset[str]
    """The members that the schema names. Any other name is the tool's, may be a secret, and is told as `*`."""


_ANYTHING = OutputRule(None, None, None, frozenset())


class OutputRules:
    """The rules of all versions of tools, and the redactors of all tenants."""

    def __init__(
        self,
        definition: Callable[[str, str, int], definition_pb2.ToolDefinition | None],
        policy_of: Callable[[str], Policy],
        bounds: JsonBounds,
        *,
        redact: bool = True,
    ) -> None:
        """`redact`: take out what looks like a secret. What is marked or found by a policy is taken out in any case."""
        self._definition = definition
        self._policy_of = policy_of
        self._bounds = bounds
        self._shapes = _ALL_SHAPES if redact else _NO_SHAPES
        self._redactors: dict[str, tuple[Policy, Redactor]] = {}

    def changes(self, tool: ToolVersion) -> bool:
        """Whether the schema itself asks for changes, so that an output must not be stored before they are made."""
        rule = self._rule(tool)
        return rule.sanitizers is not None or rule.places is not None

    def redactor(self, tenant: str, secrets: Mapping[str, bytes]) -> Redactor:
        """What takes secrets out of what the tenant's tools say; `secrets` are those that the attempt was given."""
        policy = self._policy_of(tenant)
        known = self._redactors.get(tenant)
        if known is None or known[0] is not policy:
            own = [each for each in policy.patterns if each.redact_output]
            made = self._shapes.with_patterns(own) if own else self._shapes
            known = self._redactors[tenant] = policy, made
        return known[1].with_values(secrets) if secrets else known[1]

    def clean(self, tool: ToolVersion, text: str, secrets: Mapping[str, bytes], names: dict[str, None]) -> str:
        """The output as it may be recorded; what was changed is added to `names`. Raises ValueError.

        For a tool without a name nothing is known of its schema.
        """
        if problem := self._bounds.problem(text):
            raise ValueError(f"the output {problem}")
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"the output is not valid JSON: {error}") from None
        if has_member_twice(text, orjson.dumps(value)):
            raise ValueError(f"the output {TWICE}")
        rule = self._rule(tool)
        if rule.validator is not None:
            _check(rule.validator, value, rule.names)
        redactor = self.redactor(tool.tenant, secrets)
        if rule.sanitizers is None and rule.places is None and not _may_hold(redactor, text, value):
            return text
        # As Python reads it: orjson makes floats of large whole numbers, and they would be recorded as others.
        changed: dict[str, None] = {}
        cleaned = redactor.value(_by_schema(rule, json.loads(text), changed), changed)
        if not changed:
            return text
        names.update(dict.fromkeys(list(changed)[:NAMES_MAX]))
        return json.dumps(cleaned, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def _rule(self, tool: ToolVersion) -> OutputRule:
        if not tool.tool:
            return _ANYTHING
        definition = self._definition(tool.tenant, tool.tool, tool.version)
        if definition is None:
            raise ValueError("the output cannot be checked: its tool is unknown")
        return _compiled(definition.output_schema_json) if definition.output_schema_json else _ANYTHING


@lru_cache(maxsize=512)
def _compiled(schema_json: str) -> OutputRule:
    try:
        validator = compile_schema(schema_json)
    except SchemaRefused as refused:
        raise ValueError(f"the output cannot be checked: the tool's output schema {refused}") from None
    names = frozenset(_member_names(orjson.loads(schema_json)))
    return OutputRule(validator, sanitizers_of(schema_json), redacted_places(schema_json), names)


def _member_names(schema: object) -> Iterator[str]:
    below = [schema]
    while below:
        each = below.pop()
        if isinstance(each, dict):
            for keyword in ("properties", "required"):
                if isinstance(found := each.get(keyword), dict | list):
                    yield from (name for name in found if isinstance(name, str))
            below += each.values()
        elif isinstance(each, list):
            below += each


def _told(place: str, names: frozenset[str]) -> str:
    return _MEMBER.sub(lambda member: member[0] if member[1] in names else ".*", place)


def _check(validator: jsonschema_rs.Validator, value: Any, names: frozenset[str]) -> None:  # noqa: ANN401 - any JSON value
    if validator.is_valid(value):
        return
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        path, problem = explain(error)[0]
        raise ValueError(f"{_told(field_path(path, _ROOT), names)} {problem}") from None


def _by_schema(rule: OutputRule, value: object, names: dict[str, None]) -> object:
    """The value as the marks of its schema make it."""
    if rule.sanitizers is not None:
        try:
            cleaned = rule.sanitizers.apply(value, _ROOT)
        except Rejected as rejected:
            raise ValueError(f"{_told(rejected.field, rule.names)} {rejected.message}") from None
        except Exception as error:  # noqa: BLE001 - fail closed, whatever a sanitizer does
            # Its type alone: what the exception says may hold the value.
            logger.error("a sanitizer raised %s for an output", type(error).__name__)  # noqa: TRY400 - as above
            raise ValueError("the output could not be looked at by a sanitizer") from None
        if cleaned is not value:
            places = _changed_places(value, cleaned, _ROOT, rule.names)
            names.update((f"cleaned:{place}", None) for place in places)
            value = cleaned
    return value if rule.places is None else rule.places.apply(value, names)


def _changed_places(before: object, after: object, place: str, names: frozenset[str]) -> list[str]:
    """Where two values differ that have the same members and elements."""
    if before is after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for name in before:
            told = name[:_NAME_LENGTH] if name in names else "*"
            found += _changed_places(before[name], after[name], f"{place}.{told}", names)
        return found
    if isinstance(before, list) and isinstance(after, list):
        pairs = zip(before, after, strict=True)
        return [each for old, new in pairs for each in _changed_places(old, new, f"{place}[]", names)]
    return [place]


def _may_hold(redactor: Redactor, text: str, value: object) -> bool:
    """Whether anything may be found in a value. Most outputs are short, without escapes and without secrets."""
    if redactor.reads_each_value:
        return True
    if "\\" not in text:
        return redactor.finds(text.encode())
    return redactor.finds("\0".join(texts_of(value)).encode(errors="surrogatepass"))
