"""What a registered tool says of itself, read from its schema: parameters, sanitizers, examples.

Reading never fails: of a schema that holds something odd, what can be read is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podium.marks import SANITIZE, SENSITIVE
from service.domain.permissions import grants

if TYPE_CHECKING:
    from podium.v1 import definition_pb2, tool_service_pb2

_RISKY_WORDS = {
    "path": {"path", "file", "filename", "filepath", "dir", "directory", "folder"},
    "url": {"url", "uri", "href", "link", "endpoint", "webhook"},
    "command": {"command", "cmd", "shell", "argv"},
    "sql": {"sql", "statement"},
    "html": {"html"},
}
"""Words in a parameter's name, by the sanitizer that it wants."""
_SECRET_WORDS = {"password", "passwd", "secret", "token", "credential", "credentials", "apikey"}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_DEPTH_MAX = 20
_IN_PLACE = ("allOf", "anyOf", "oneOf")
_DEFINITIONS = "#/$defs/"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A member of the arguments, at any depth: `options.path`, `files[].name`."""

    name: str
    schema: Mapping[str, Any]
    required: bool

    @property
    def description(self) -> str:
        """What it is, in the schema's words."""
        return str(self.schema.get("description", ""))

    @property
    def sanitizers(self) -> Mapping[str, Mapping[str, Any]]:
        """The options of the sanitizers that are declared for its value, by kind."""
        found: dict[str, Mapping[str, Any]] = {}
        pending: list[object] = [self.schema]
        while pending:
            schema = pending.pop()
            if isinstance(schema, Mapping):
                declared = schema.get(SANITIZE)
                found |= declared if isinstance(declared, Mapping) else {}
                # What stands in these applies to the same value.
                pending += [each for keyword in _IN_PLACE for each in _listed(schema.get(keyword))]
        return found

    @property
    def words(self) -> set[str]:
        """The words of its own name, in lower case."""
        return {word.lower() for word in _WORD.findall(self.name.rpartition(".")[2])}


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """A tool, for those who judge or describe it."""

    name: str
    version: int
    description: str
    permissions: tuple[str, ...]
    read_only: bool
    idempotent: bool
    timeout_ms: int
    heartbeat_timeout_ms: int
    streams_output: bool
    secrets: tuple[str, ...]
    caching: definition_pb2.Caching | None
    """How it says that its results are cached; None: not at all."""
    parameters: tuple[Parameter, ...]
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]

    @property
    def examples(self) -> Sequence[object]:
        """Arguments that the schema gives as examples."""
        examples = self.input_schema.get("examples", ())
        return examples if isinstance(examples, list) else ()


def tool_facts(tool: tool_service_pb2.Tool) -> ToolFacts:
    """Read a tool."""
    definition = tool.definition
    schema = _schema(definition.input_schema_json)
    return ToolFacts(
        name=definition.name,
        version=tool.version,
        description=definition.description,
        permissions=tuple(definition.permissions),
        read_only=definition.read_only,
        idempotent=definition.idempotent,
        timeout_ms=definition.timeout_ms,
        heartbeat_timeout_ms=definition.heartbeat_timeout_ms,
        streams_output=definition.streams_output,
        secrets=tuple(definition.secrets),
        caching=definition.caching if definition.HasField("caching") else None,
        parameters=tuple(_parameters(schema, schema, "", 0)),
        input_schema=schema,
        output_schema=_schema(definition.output_schema_json),
    )


def granted_by(grant: str, tools: Sequence[ToolFacts]) -> set[tuple[str, str]]:
    """The tools and their permissions that a grant covers."""
    return {(tool.name, each) for tool in tools for each in tool.permissions if grants(grant, each, tool.name)}


def risky_parameters(tool: ToolFacts) -> Iterator[tuple[str, str]]:
    """Yield the parameters whose names say path, URL, command, SQL or HTML, and the sanitizer that they lack."""
    for parameter in tool.parameters:
        words, declared = parameter.words, parameter.sanitizers
        wanted = next((kind for kind, risky in _RISKY_WORDS.items() if words & risky), "")
        if wanted and wanted not in declared and _is_free(parameter.schema):
            yield parameter.name, wanted


def unsealed_secrets(tool: ToolFacts) -> list[str]:
    """The parameters whose names say secret and whose values are recorded in the open."""
    if is_marked(tool.input_schema):
        return []
    return [each.name for each in tool.parameters if each.words & _SECRET_WORDS and _is_free(each.schema)]


def _is_free(schema: Mapping[str, Any]) -> bool:
    """Whether any text may stand there, alone or in a list."""
    if "enum" in schema or "const" in schema:
        return False
    kinds = schema.get("type", "string")
    named = kinds if isinstance(kinds, list) else [kinds]
    items = schema.get("items")
    return "string" in named or ("array" in named and (not isinstance(items, Mapping) or _is_free(items)))


def is_marked(schema: object) -> bool:
    """Whether anything in a schema is marked sensitive, so that the whole value is sealed."""
    pending = [schema]
    while pending:
        each = pending.pop()
        if isinstance(each, Mapping):
            if each.get(SENSITIVE) is True:
                return True
            pending.extend(each.values())
        elif isinstance(each, list):
            pending.extend(each)
    return False


def _parameters(schema: Mapping[str, Any], root: Mapping[str, Any], prefix: str, depth: int) -> Iterator[Parameter]:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    if not isinstance(properties, Mapping) or depth > _DEPTH_MAX:
        return
    for name, stated in properties.items():
        below = _resolved(stated, root)
        yield Parameter(prefix + name, below, isinstance(required, list) and name in required)
        yield from _parameters(below, root, f"{prefix}{name}.", depth + 1)
        if "items" in below:
            yield from _parameters(_resolved(below["items"], root), root, f"{prefix}{name}[].", depth + 1)


def _resolved(schema: object, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema, with what it refers to in the definitions beside it."""
    if not isinstance(schema, Mapping):
        return {}
    target, definitions = schema.get("$ref", ""), root.get("$defs", {})
    if not isinstance(target, str) or not target.startswith(_DEFINITIONS) or not isinstance(definitions, Mapping):
        return schema
    referred = definitions.get(target.removeprefix(_DEFINITIONS), {})
    return {**referred, **schema} if isinstance(referred, Mapping) else schema


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _schema(text: str) -> Mapping[str, Any]:
    from podium.json_text import from_json

    schema = from_json(text) if text else {}
    return schema if isinstance(schema, Mapping) else {}
