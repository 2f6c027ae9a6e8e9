"""Calls to ask admission about."""

import json

from podium.v1 import definition_pb2, value_pb2
from service.admission.tool_request import ToolRequest

SCHEMA = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "minLength": 2},
        "items": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        },
    },
    "required": ["query"],
    "additionalProperties": False,
}


def a_tool(name="search", permissions=("network_access",), schema=SCHEMA, **more):
    return definition_pb2.ToolDefinition(
        name=name, permissions=permissions, input_schema_json=json.dumps(schema), **more
    )


def an_authority(*roles, scopes=None, **principal):
    return value_pb2.Authority(
        principal=value_pb2.Principal(**{"subject": "alice", **principal}),
        roles=roles,
        scopes=scopes or [],
        limited=scopes is not None,
    )


def a_request(arguments='{"query":"weather"}', tool=None, authority=None, **more):
    fields = {
        "tenant": "default",
        "workflow_id": "wf_1",
        "step_id": "look",
        "attempt": 1,
        "tool": tool or a_tool(),
        "tool_version": 1,
        "authority": authority or an_authority("agent"),
        "arguments_json": arguments,
    }
    return ToolRequest(**{**fields, **more})
