"""What the validation of submitted steps asks of the world, and the bounds that it holds them to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from podium.v1 import definition_pb2 as pb
from service.domain import conditions
from service.domain.errors import Violation
from service.domain.templates import ELEMENTS_LIMIT, PARTS_LIMIT


class RegisteredTool(Protocol):
    """What validation needs to know of a tool."""

    @property
    def definition(self) -> pb.ToolDefinition:
        """Its newest definition."""

    @property
    def version(self) -> int:
        """The version of that definition."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on a workflow."""

    steps: int = 100_000
    request_steps: int = 10_000
    """Of one request: all of them begin in one turn."""
    json_depth: int = 64
    condition_bytes: int = 4096
    arguments_bytes: int = 8 * 1024 * 1024
    value_bytes: int = 64 * 1024
    """Of a value that a fallback declares, which is recorded with the step."""
    template_parts: int = PARTS_LIMIT
    template_elements: int = ELEMENTS_LIMIT
    request_dependencies: int = 200_000
    """Steps that the steps of one request depend on, all together."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What validation asks of the world."""

    tool: Callable[[str], RegisteredTool | None]
    """The tool of this name, or None."""
    check_arguments: Callable[[pb.ToolDefinition, pb.Template], Iterable[Violation]]
    """What is wrong with a template as arguments of a tool, as far as can be known before its holes are filled."""
    expressions: conditions.Expressions
    limits: Limits = Limits()
    bounds_problem: Callable[[str], str] = lambda _text: ""
    """What is wrong with JSON text before it is parsed; empty: nothing is."""
    compact: Callable[[str], str | None] = lambda _text: None
    """The compact form of JSON text within the bounds, where it is known; None: the text has to be read.
    Raises TemplateError for what is no JSON."""
