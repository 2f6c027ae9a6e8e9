"""What a step calls: its own tool, or that of the link of its fallback chain that it has come to.

Invariant: whoever wants to know a step's tool, arguments or retry policy asks for its call, so that a link is treated
as the step itself is.
"""

from __future__ import annotations

from typing import NamedTuple

from podium.v1 import definition_pb2


class LinkCall(NamedTuple):
    """The call of a link: what it says itself, and what the step says where it says nothing."""

    tool: str
    tool_version: int
    arguments: definition_pb2.Template
    retry: definition_pb2.RetryPolicy
    repeatable: bool


Call = definition_pb2.StepDefinition | LinkCall
"""Names a tool with its version, its arguments and how its failures are repeated."""


def calls_of(definition: definition_pb2.StepDefinition) -> tuple[Call, ...]:
    """The calls of a step by the number of the link, 0 for its own.

    A link without a tool stands for results of the step's own, and has its call.
    """
    return (definition, *[_call(definition, link) for link in definition.fallback])


def _call(definition: definition_pb2.StepDefinition, link: definition_pb2.Fallback) -> Call:
    if not link.HasField("tool"):
        return definition
    other = link.tool
    return LinkCall(
        other.tool,
        other.tool_version,
        other.arguments if other.HasField("arguments") else definition.arguments,
        other.retry if other.HasField("retry") else definition.retry,
        other.repeatable,
    )
