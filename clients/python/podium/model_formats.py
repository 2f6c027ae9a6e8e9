"""How model vendors write tools, calls and results. One class a format; nothing here knows Podium's API.

Replies are read by their shape, as the vendors' own objects or as plain dictionaries, so that no vendor's library is
needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from podium.json_text import from_json, to_json
from podium.v1 import definition_pb2

FormatName: TypeAlias = Literal["anthropic", "openai", "mcp"]
JsonObject: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A call that a model asks for."""

    id: str
    name: str
    arguments_json: str
    problem: str = ""
    """Why the arguments cannot be sent; empty: they can."""


class ModelFormat(Protocol):
    """One vendor's way to write things."""

    def tool(self, tool: definition_pb2.ToolDefinition) -> JsonObject:
        """Returns a tool's description for the model."""

    def calls(self, reply: object) -> list[ModelCall] | None:
        """Returns the calls in a model's reply, in order; None when the reply is not in this format."""

    def result(self, call: ModelCall, output_json: str, error: str) -> JsonObject:
        """Returns what the model is told; `error` is empty for a success."""


class Anthropic:
    """The Messages API: tool_use blocks in, tool_result blocks out."""

    def tool(self, tool: definition_pb2.ToolDefinition) -> JsonObject:
        """Returns an entry of `tools`."""
        return {"name": tool.name, "description": tool.description, "input_schema": _schema(tool)}

    def calls(self, reply: object) -> list[ModelCall] | None:
        """Reads a message, or the list of its content blocks."""
        blocks = reply if isinstance(reply, list | tuple) else _part(reply, "content")
        if isinstance(blocks, str) and _part(reply, "role") == "assistant":
            return []
        if not isinstance(blocks, list | tuple) or not all(_part(block, "type") for block in blocks):
            return None
        return [
            _call(_part(block, "id"), _part(block, "name"), _part(block, "input"))
            for block in blocks
            if _part(block, "type") == "tool_use"
        ]

    def result(self, call: ModelCall, output_json: str, error: str) -> JsonObject:
        """Returns a tool_result block."""
        block = {"type": "tool_result", "tool_use_id": call.id, "content": error or _readable(output_json)}
        return {**block, "is_error": True} if error else block


class OpenAI:
    """Chat completions: tool_calls in, tool messages out."""

    def tool(self, tool: definition_pb2.ToolDefinition) -> JsonObject:
        """Returns an entry of `tools`."""
        function = {"name": tool.name, "description": tool.description, "parameters": _schema(tool)}
        return {"type": "function", "function": function}

    def calls(self, reply: object) -> list[ModelCall] | None:
        """Reads a completion, its message, or the message's list of tool calls."""
        choices = _part(reply, "choices")
        message = _part(choices[0], "message") if isinstance(choices, Sequence) and choices else reply
        calls = message if isinstance(message, list | tuple) else _part(message, "tool_calls", missing=NotImplemented)
        if calls is NotImplemented or (isinstance(calls, list | tuple) and not all(map(_function, calls))):
            return None
        return [
            _call(_part(call, "id"), _part(_function(call), "name"), _part(_function(call), "arguments"))
            for call in calls or ()
        ]

    def result(self, call: ModelCall, output_json: str, error: str) -> JsonObject:
        """Returns a message with the role "tool"."""
        return {"role": "tool", "tool_call_id": call.id, "content": error or _readable(output_json)}


class Mcp:
    """The Model Context Protocol's words, for programs that speak to no model themselves: plain calls and results."""

    def tool(self, tool: definition_pb2.ToolDefinition) -> JsonObject:
        """Returns an entry of tools/list."""
        annotations = {"readOnlyHint": tool.read_only, "idempotentHint": tool.idempotent or tool.read_only}
        described = {"name": tool.name, "description": tool.description, "inputSchema": _schema(tool)}
        return {**described, "annotations": annotations}

    def calls(self, reply: object) -> list[ModelCall] | None:
        """Reads a list of {id, name, arguments}."""
        if not isinstance(reply, list | tuple) or not all(isinstance(_part(call, "name"), str) for call in reply):
            return None
        return [_call(_part(call, "id"), _part(call, "name"), _part(call, "arguments")) for call in reply]

    def result(self, call: ModelCall, output_json: str, error: str) -> JsonObject:
        """Returns a result of tools/call, with the call's id and name."""
        content = [{"type": "text", "text": error or _readable(output_json)}]
        named: JsonObject = {"id": call.id, "name": call.name, "content": content, "isError": bool(error)}
        return named if error else {**named, "output": from_json(output_json)}


FORMATS: dict[FormatName, ModelFormat] = {"openai": OpenAI(), "anthropic": Anthropic(), "mcp": Mcp()}


def read_reply(reply: object) -> tuple[ModelFormat, list[ModelCall]]:
    """Returns the format of a model's reply and the calls in it.

    Raises:
        TypeError: The reply is in none of the formats.
    """
    for each in FORMATS.values():
        calls = each.calls(reply)
        if calls is not None:
            return each, calls
    raise TypeError(
        f"a reply of type {type(reply).__name__} is no Anthropic message, no OpenAI completion or message, "
        "and no list of {id, name, arguments}"
    )


def _part(whole: object, name: str, missing: Any = None) -> Any:  # noqa: ANN401 -- vendors' objects have any type
    if isinstance(whole, Mapping):
        return whole.get(name, missing)
    return getattr(whole, name, missing)


def _function(call: object) -> Any:  # noqa: ANN401 -- as above
    return _part(call, "function")


def _call(call_id: object, name: object, arguments: object) -> ModelCall:
    """Models write arguments as text or as an object, and sometimes neither."""
    called = (str(call_id or ""), str(name or ""))
    try:
        value = json.loads(arguments or "{}") if isinstance(arguments, str) else (arguments or {})
        if not isinstance(value, Mapping):
            return ModelCall(*called, "", f"the arguments must be an object, not {type(value).__name__}")
        return ModelCall(*called, to_json(value))
    except (ValueError, RecursionError) as error:
        return ModelCall(*called, "", f"the arguments are not JSON: {error}")


def _schema(tool: definition_pb2.ToolDefinition) -> Any:  # noqa: ANN401 -- any JSON Schema
    """The dialect is of no use to a model."""
    schema = from_json(tool.input_schema_json) or {"type": "object"}
    schema.pop("$schema", None)
    return schema


def _readable(output_json: str) -> str:
    """A model reads text as it is, and everything else as JSON."""
    value = from_json(output_json)
    return value if isinstance(value, str) else output_json or "null"
