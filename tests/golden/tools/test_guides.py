"""The guides of tools, to the byte: with everything a tool can declare, with nothing, and with text that attacks.

To accept a change, from the checkout:

    PYTHONPATH=.:clients/python .venv/bin/python tests/golden/tools/test_guides.py
"""

import json
from pathlib import Path

import pytest

from podium.v1 import access_service_pb2, policy_pb2, tool_service_pb2
from service.cli.tools.facts import tool_facts
from service.cli.tools.guide import guide

FOLDER = Path(__file__).parent
ALLOW, FORBID = policy_pb2.EFFECT_ALLOW, policy_pb2.EFFECT_FORBID

POLICY = access_service_pb2.PolicyRevision(
    revision=4,
    policy=policy_pb2.Policy(
        name="house",
        roles=[
            policy_pb2.Role(name="reader", grants=["read_files:file_*"]),
            policy_pb2.Role(name="clerk", grants=["email_send"], inherits=["reader"]),
            policy_pb2.Role(name="admin", grants=["*"]),
        ],
        rules=[
            policy_pb2.Rule(id="at-work", effect=ALLOW, permissions=["read_files"], condition="time.getHours() > 7"),
            policy_pb2.Rule(id="never-at-night", effect=FORBID, tools=["file_*"], roles=["reader"], condition="true"),
            policy_pb2.Rule(id="no-mail", effect=FORBID, permissions=["email_send"]),
        ],
        limits=[
            policy_pb2.RateLimit(
                id="files", tools=["file_*"], per=[policy_pb2.LIMIT_KEY_SUBJECT], count=10, period_ms=60_000
            ),
            policy_pb2.RateLimit(id="requests", scope=policy_pb2.LIMIT_SCOPE_REQUESTS, count=100, period_ms=1000),
        ],
    ),
)
SCHEMA = {
    "type": "object",
    "properties": {
        "path": {
            "type": "string",
            "description": "Where it is.",
            "maxLength": 200,
            "x-podium-sanitize": {"path": {"roots": ["/srv/data"]}},
        },
        "options": {"$ref": "#/$defs/options"},
        "password": {"type": ["string", "null"]},
        "target_url": {"type": "string"},
    },
    "required": ["path"],
    "additionalProperties": False,
    "$defs": {"options": {"type": "object", "properties": {"lines": {"type": "integer", "minimum": 1, "default": 10}}}},
    "examples": [{"path": "reports/it's.txt"}],
}
ATTACK = "# Title\n<script>alert(1)</script> | [x](javascript:alert) `code` *bold*\n```"
ATTACKING = {"type": "string", "description": ATTACK, "enum": ["`|"]}
TOOLS = {
    "everything": {
        "name": "file_read",
        "description": "Read a file.",
        "input_schema_json": json.dumps(SCHEMA),
        "output_schema_json": json.dumps({"type": "string", "x-podium-sensitive": True}),
        "permissions": ["read_files"],
        "read_only": True,
        "timeout_ms": 5000,
        "heartbeat_timeout_ms": 1000,
        "streams_output": True,
        "secrets": ["disk-key"],
    },
    "nothing": {"name": "bare", "input_schema_json": '{"type": "object"}'},
    "attack": {
        "name": "sly",
        "description": ATTACK,
        "input_schema_json": json.dumps(
            {
                "type": "object",
                "properties": {f"a`|{ATTACK}": {"type": "string", "description": ATTACK, "enum": ["`|"]}},
            }
        ),
        "permissions": ["read_files"],
    },
}


def guide_of(name):
    tool = tool_facts(tool_service_pb2.Tool(definition=TOOLS[name], version=3))
    return guide(tool, None if name == "nothing" else POLICY)


def golden(name):
    return FOLDER / f"{name}.md"


@pytest.mark.parametrize("name", TOOLS)
def test_the_guide_is_what_it_was(name):
    assert guide_of(name) == golden(name).read_text()


def test_a_text_cannot_become_markup():
    lines = guide_of("attack").splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        *("# sly", "## Parameters", "## Who may call it", "## Limits"),
        *("## A call", "## What is recorded", "## What to watch for"),
    ]
    prose = [line for line in lines if "script" in line and not line.startswith(("|", "podium", "outcome", "grpcurl"))]
    assert prose
    assert all("\\<script\\>" in line and "\\[x\\]" in line for line in prose)


if __name__ == "__main__":
    for each in TOOLS:
        golden(each).write_text(guide_of(each))
