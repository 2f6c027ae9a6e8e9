"""What guards a tool by its own schemas, so that only an administrator takes it off.

Compared is where a mark stands and what it says. References count in a schema that has marks: without one, what it led
to would not apply any more. In doubt, as for a parameter that is removed, a guard counts as taken off.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from podium.v1 import definition_pb2

_PREFIX = "x-podium-"
_REFERENCE = "$ref"


def guards_taken_off(before: definition_pb2.ToolDefinition, after: definition_pb2.ToolDefinition) -> list[str]:
    """The guards that a change of a tool would take off or change, as pointers into its schemas, in order."""
    pairs = (
        ("input_schema_json", before.input_schema_json, after.input_schema_json),
        ("output_schema_json", before.output_schema_json, after.output_schema_json),
    )
    return sorted(
        f"{field}{pointer}"
        for field, old, new in pairs
        if old != new
        for pointer, _ in _guards(old).items() - _guards(new).items()
    )


def _guards(schema_json: str) -> dict[str, str]:
    """The marks of a schema and, if it has any, its references, by pointer."""
    found = dict(_keywords(json.loads(schema_json), "")) if schema_json else {}
    return found if any(pointer.rpartition("/")[2].startswith(_PREFIX) for pointer in found) else {}


def _keywords(value: object, pointer: str) -> Iterator[tuple[str, str]]:
    """Looks at data too: in doubt it is a guard."""
    pending = [(value, pointer)]
    while pending:
        each, at = pending.pop()
        if isinstance(each, dict):
            members = {f"{at}/{name.replace('~', '~0').replace('/', '~1')}": name for name in each}
            for below, name in members.items():
                if name.startswith(_PREFIX) or name == _REFERENCE:
                    yield below, json.dumps(each[name], sort_keys=True)
                pending.append((each[name], below))
        elif isinstance(each, list):
            pending += [(element, f"{at}/{index}") for index, element in enumerate(each)]
