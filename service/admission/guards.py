"""What a guard is: what it is asked, what it may be told besides, and where it records what it has to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from google.protobuf.message import Message

from podium.v1 import events_pb2
from service.admission.tool_request import ToolRequest
from service.admission.verdicts import (
    Answered,
    Verdict,
)


class StaleResults(Protocol):
    """Old results of tools, for steps that fall back on them. Decides from memory."""

    def stale(self, request: ToolRequest, max_age_us: int, now_us: int) -> Answered | None:
        """The newest result for these arguments that is not older, also an expired one; None: there is none."""


class NoStaleResults:
    """The results of a service that keeps none."""

    def stale(self, request: ToolRequest, max_age_us: int, now_us: int) -> Answered | None:
        """See StaleResults."""
        del request, max_age_us, now_us
        return None


class Guard(Protocol):
    """Decides one question about a call, from memory."""

    @property
    def name(self) -> str:
        """What the guard is called in the log, in lower case."""

    def check(self, request: ToolRequest, now_us: int) -> Verdict:
        """Decide. An exception is a denial."""


class AttemptEnd(NamedTuple):
    """An attempt does not run any more, as the guards see it. Named by its step: (tenant, workflow, step)."""

    step: tuple[str, str, str]
    now_us: int
    attempt: int = 0
    """0: whichever of the step was running."""
    tool: str = ""
    """Its tool, where it has an outcome."""
    outcome: events_pb2.StepSucceeded | events_pb2.AttemptFailed | None = None
    """None: it was canceled, was given up with its workflow, or never started."""


@runtime_checkable
class Counting(Protocol):
    """A guard that counts what starts. Asking it about a call counts nothing."""

    def started(self, request: ToolRequest, now_us: int) -> None:
        """Count an attempt that all guards allowed in this turn, and that starts now."""


@runtime_checkable
class Following(Protocol):
    """A guard that wants to know how attempts end."""

    def resumed(self, step: tuple[str, str, str], attempt: int, tool: str) -> None:
        """An attempt was found running, started before this process was."""

    def ended(self, end: AttemptEnd) -> None:
        """An attempt ended. Told once with its outcome, and then again without one; also of what it never counted."""


@runtime_checkable
class Keeping(Protocol):
    """A guard that keeps the results of attempts, of which it was told before they were durable."""

    def durable(
        self, step: tuple[str, str, str], outcome: events_pb2.StepSucceeded, position: int, now_us: int
    ) -> None:
        """An attempt's success is durable, at a position of the log."""

    def undone(self, step: tuple[str, str, str]) -> None:
        """An attempt's success could not be recorded."""


@runtime_checkable
class Queueing(Protocol):
    """A guard that wants to know which steps wait. They wait until an attempt starts or ends."""

    def queued(self, step: tuple[str, str, str], tool: str, guard: str = "") -> None:
        """A step waits, for a place or because a `guard` lets it; told more than once, and again after a restart."""


@runtime_checkable
class Recording(Protocol):
    """A guard that has something on record in streams of its own."""

    def unrecorded(self, tenant: str, stream_id: str, payload: Message) -> None:
        """What it wanted to record is not on record: the turn failed, or its append did."""


Beside = tuple[str, Message]
"""A stream of the tenant's, and an event for it that goes into the append of what caused it."""


class Ledger:
    """What guards have on record in streams of their own, collected until the turn that caused it takes it along."""

    def __init__(self) -> None:
        self._entries: list[Beside] = []

    def record(self, stream_id: str, payload: Message) -> None:
        """Record an event in the tenant's stream, in the append of the turn that is being taken."""
        self._entries.append((stream_id, payload))

    def take(self) -> Sequence[Beside]:
        """What was recorded since the last time."""
        if not self._entries:
            return ()
        entries, self._entries = self._entries, []
        return entries
