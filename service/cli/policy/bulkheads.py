"""Bulkheads in a policy's file, from its fields and back."""

from __future__ import annotations

from typing import Any

from podium.v1 import policy_pb2
from service.cli.fields import Fields


def read_bulkhead(fields: Fields) -> policy_pb2.Bulkhead:
    """A bulkhead from its fields."""
    fields.known("id", "tools", "executors", "max_concurrent", "max_queued")
    return policy_pb2.Bulkhead(
        id=fields.text("id", required=True),
        tools=fields.texts("tools"),
        executors=fields.texts("executors"),
        max_concurrent=fields.count("max_concurrent"),
        max_queued=fields.count("max_queued"),
    )


def bulkhead_content(bulkhead: policy_pb2.Bulkhead) -> dict[str, Any]:
    """A bulkhead as the values that are in a file of it. What is empty is left out."""
    content = {
        "id": bulkhead.id,
        "tools": list(bulkhead.tools),
        "executors": list(bulkhead.executors),
        "max_concurrent": bulkhead.max_concurrent,
        "max_queued": bulkhead.max_queued,
    }
    return {name: value for name, value in content.items() if value}
