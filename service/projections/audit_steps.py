"""Which tool a step called where in the log: its own, or that of the link of its fallback chain it had come to.

Most events of a step do not name a tool. What names them is kept by the position of the event that said it.
"""

from __future__ import annotations

import orjson

from store.contract import RecordedEvent
from store.records import TYPE_NUMBERS, decode_record

_STEPS_ADDED = TYPE_NUMBERS["steps_added"]
_FALLBACK_TRIED = TYPE_NUMBERS["fallback_tried"]
TELLING = frozenset({_STEPS_ADDED, _FALLBACK_TRIED})
"""The types of the events that say what steps call."""


def told_by(event: RecordedEvent) -> bytes:
    """What such an event says, as JSON: the tool of each of its steps, or a step that falls back and on which tool."""
    record = decode_record(event.record)
    if event.type == _STEPS_ADDED:
        return orjson.dumps({step.id: step.tool for step in record.steps_added.steps})
    return orjson.dumps([record.fallback_tried.step_id, record.fallback_tried.tool])


class StepTools:
    """The tools of a stream's steps. What events said of them is taken in from the last to the first."""

    __slots__ = ("_own", "_tried")

    def __init__(self) -> None:
        self._own: dict[str, str] = {}
        self._tried: dict[str, list[tuple[int, str]]] = {}

    def take(self, position: int, told: bytes) -> None:
        """Take in what the event at a position said."""
        content = orjson.loads(told)
        if isinstance(content, dict):
            # A step is defined once. Should a log hold it twice, the first one counts, as it does in the workflow.
            self._own.update(content)
        else:
            step_id, tool = content
            self._tried.setdefault(step_id, []).append((position, tool))

    @property
    def names(self) -> set[str]:
        """Every tool that one of the steps has called."""
        return {*self._own.values(), *(tool for tries in self._tried.values() for _, tool in tries)}

    def at(self, step_id: str, position: int) -> str:
        """The tool that a step called when the event at a position was recorded; empty: it is not known."""
        for tried_at, tool in self._tried.get(step_id, ()):
            if tried_at <= position and tool:
                return tool
            if tried_at <= position:
                # It came to an old result of its own tool, or to a declared value.
                break
        # The items of a for_each step, named step[index], have its tool.
        return self._own.get(step_id.partition("[")[0], "")
