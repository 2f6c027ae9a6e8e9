"""How the steps of one run end, learned from one stream however many calls wait for it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from podium.connection import Connection
from podium.errors import IllegalState
from podium.listing import list_steps
from podium.tasks import end, spawn
from podium.v1 import events_pb2, value_pb2, workflow_service_pb2
from podium.watching import ENDINGS, watch

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a step ended, in the words a model is told."""

    step_id: str
    error: str
    """Why there is no output, with the event that proves it; empty for a success."""
    output_json: str | None
    """The output; None when it has to be fetched."""


class Settlements:
    """The endings of a run's steps. The stream is opened when the first of them is asked for."""

    def __init__(self, connection: Connection, workflow_id: str) -> None:
        self._connection = connection
        self._workflow_id = workflow_id
        self._settled: dict[str, Settlement] = {}
        self._waiting: dict[str, asyncio.Future[Settlement]] = {}
        self._refusals: dict[str, str] = {}
        self._cursor = ""
        self._ended = False
        self._follower: asyncio.Task[None] | None = None

    async def of(self, step_id: str) -> Settlement:
        """Waits until a step has ended; its output is there when it succeeded.

        Raises:
            PodiumError: The run cannot be followed any more.
        """
        settlement = self._settled.get(step_id)
        if settlement is None:
            if self._ended:
                raise IllegalState(f"the run has ended without step {step_id}", reason="RUN_ENDED")
            waiting = self._waiting.setdefault(step_id, asyncio.get_running_loop().create_future())
            self._follow()
            # Several may wait for one step, and one of them may stop waiting.
            settlement = await asyncio.shield(waiting)
        if settlement.error:
            return settlement
        # What was handed over is not kept: a long run would hold every output it ever had.
        self._settled[step_id] = replace(settlement, output_json=None)
        return settlement if settlement.output_json is not None else await self._fetch(step_id)

    async def run_ended(self) -> None:
        """Waits until the whole run has ended."""
        self._follow()
        if self._follower is not None:
            await asyncio.shield(self._follower)

    async def close(self) -> None:
        """Stops following."""
        if self._follower is not None:
            await end(self._follower)

    def _follow(self) -> None:
        if not self._ended and (self._follower is None or self._follower.done()):
            self._follower = spawn(self._read(), name=f"podium run {self._workflow_id}")

    async def _read(self) -> None:
        try:
            async for response in watch(self._connection, self._workflow_id, cursor=self._cursor, chunks=False):
                for item in response.items:
                    if item.HasField("event"):
                        self._apply(item.event)
                self._cursor = response.cursor
            self._ended = True
            self._fail_waiting(IllegalState("the run has ended", reason="RUN_ENDED"))
        except Exception as error:
            # Whoever waits is told; the next one to ask opens the stream again, after the last cursor.
            self._fail_waiting(error)
            raise

    def _fail_waiting(self, error: Exception) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)
        self._waiting.clear()

    def _apply(self, event: events_pb2.Event) -> None:
        place = f"event {event.shard}:{event.position}"
        match event.WhichOneof("payload"):
            case "permission_checked" if event.permission_checked.decision == events_pb2.DECISION_DENY:
                checked = event.permission_checked
                lack = f"needs {', '.join(checked.missing)}" if checked.missing else "is forbidden"
                self._refusals[checked.step_id] = f"denied: {checked.tool} {lack} (rule {checked.rule}, {place})"
            case "step_denied":
                denied = event.step_denied
                refusal = self._refusals.pop(denied.step_id, "") or _failed("denied", denied.failure, place)
                self._settle(Settlement(denied.step_id, refusal, None))
            case "step_succeeded":
                self._settle(Settlement(event.step_succeeded.step_id, "", _inline_output(event.step_succeeded)))
            case "step_failed":
                failed = event.step_failed
                self._settle(Settlement(failed.step_id, _failed("failed", failed.failure, place), None))
            case "step_skipped":
                self._settle(Settlement(event.step_skipped.step_id, f"skipped: the step did not run ({place})", None))
            case "step_canceled":
                self._settle(Settlement(event.step_canceled.step_id, f"canceled: the run was canceled ({place})", None))
            case ending if ending in ENDINGS:
                self._ended = True
            case _:
                pass

    def _settle(self, settlement: Settlement) -> None:
        self._settled[settlement.step_id] = settlement
        waiting = self._waiting.pop(settlement.step_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(settlement)

    async def _fetch(self, step_id: str) -> Settlement:
        request = workflow_service_pb2.ListStepsRequest(workflow_id=self._workflow_id, step_ids=[step_id])
        async for step in list_steps(self._connection, request):
            unread = _failed("unreadable", step.output_failure, f"event {step.event}")
            return Settlement(step_id, unread if step.HasField("output_failure") else "", step.output_json)
        raise IllegalState(f"the run has no step {step_id}", reason="NO_STEP")


def _failed(how: str, failure: value_pb2.Failure, place: str) -> str:
    return f"{how}: {failure.message} (reason {failure.reason}, {place})"


def _inline_output(succeeded: events_pb2.StepSucceeded) -> str | None:
    match succeeded.output.WhichOneof("kind"):
        case "json":
            return succeeded.output.json
        case None if not succeeded.chunk_count:
            return "null"
        case _:
            return None
