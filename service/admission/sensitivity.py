"""Which tools have arguments or outputs that are sealed: those whose schema marks anything with x-podium-sensitive.

The whole value is sealed, wherever in it the mark is: nothing depends on telling a secret from its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from podium.marks import SENSITIVE
from podium.v1 import definition_pb2

_VERSIONS = 4096
"""How many versions of tools are remembered before all are forgotten; forgetting costs time only."""


def marks_sensitive(schema_json: str) -> bool:
    """Whether a schema marks anything. In doubt it does: a mark that is not plainly false, or text that is no JSON."""
    if not schema_json:
        return False
    try:
        below: list[object] = [orjson.loads(schema_json)]
    except ValueError:
        return True
    while below:
        value = below.pop()
        if isinstance(value, dict):
            if value.get(SENSITIVE, False) is not False:
                return True
            below += value.values()
        elif isinstance(value, list):
            below += value
    return False


class Sensitivity:
    """Which versions of tools take or give values that are sealed. With `everything` all do."""

    def __init__(
        self,
        definition: Callable[[str, str, int], definition_pb2.ToolDefinition | None],
        *,
        everything: bool = False,
    ) -> None:
        """`definition` finds a version of a tool by tenant, name and version; a version never changes."""
        self._definition = definition
        self.everything = everything
        self._known: dict[tuple[str, str, int], tuple[bool, bool]] = {}

    def of_input(self, tenant: str, tool: str, version: int) -> bool:
        """Whether a tool's arguments are sealed."""
        return (self._known.get((tenant, tool, version)) or self._look(tenant, tool, version))[0]

    def of_output(self, tenant: str, tool: str, version: int) -> bool:
        """Whether a tool's outputs and the chunks it streams are sealed."""
        return (self._known.get((tenant, tool, version)) or self._look(tenant, tool, version))[1]

    def of_definition(self, definition: definition_pb2.ToolDefinition) -> tuple[bool, bool]:
        """Whether the arguments and whether the outputs of a tool with this definition are sealed."""
        if self.everything:
            return True, True
        return marks_sensitive(definition.input_schema_json), marks_sensitive(definition.output_schema_json)

    def _look(self, tenant: str, tool: str, version: int) -> tuple[bool, bool]:
        definition = self._definition(tenant, tool, version)
        if definition is None:
            # Nothing is known of it, so nothing may lie open.
            return True, True
        if len(self._known) >= _VERSIONS:
            self._known.clear()
        found = self._known[tenant, tool, version] = self.of_definition(definition)
        return found
