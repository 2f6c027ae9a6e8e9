"""Follows a workflow over any number of connections: nothing is missed and nothing comes twice.

The service's stream carries cursors; when the stream breaks, it is asked for again from the last one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import grpc.aio

from podium.backoff import Backoff
from podium.connection import OUTAGE_MAX_S, Connection
from podium.errors import Conflict, PodiumError, Unavailable
from podium.rpc_errors import error_of
from podium.v1 import events_pb2, workflow_service_pb2, workflow_service_pb2_grpc

ENDINGS = frozenset({"workflow_succeeded", "workflow_failed", "workflow_canceled"})


@dataclass(frozen=True, slots=True)
class Update:
    """One thing that happened to a workflow: exactly one of event, chunk and progress is set."""

    cursor: str
    """Resumes without a loss; what came in one message with this may come again."""
    event: events_pb2.Event | None = None
    chunk: workflow_service_pb2.OutputChunk | None = None
    progress: workflow_service_pb2.AttemptProgress | None = None

    @property
    def kind(self) -> str:
        """The event's type as events.proto names it, for example "step_succeeded"; or "chunk", or "progress"."""
        if self.event is not None:
            return self.event.WhichOneof("payload") or "unknown"
        return "chunk" if self.chunk is not None else "progress"

    @property
    def step_id(self) -> str:
        """The step it is about; empty when it is about the whole workflow."""
        if self.event is not None:
            payload = getattr(self.event, self.kind, None)
            return str(getattr(payload, "step_id", ""))
        about = self.chunk or self.progress
        return about.step_id if about is not None else ""


async def watch(
    connection: Connection, workflow_id: str, *, cursor: str = "", chunks: bool = True
) -> AsyncGenerator[workflow_service_pb2.WatchWorkflowResponse, None]:
    """Yields the service's messages until the workflow ends, over as many streams as it takes.

    Raises:
        PodiumError: The workflow cannot be watched, or the service stayed away for too long.
    """
    loop = asyncio.get_running_loop()
    stub = workflow_service_pb2_grpc.WorkflowServiceStub(connection.channel)
    backoff = Backoff()
    give_up_at: float | None = None
    while True:
        request = workflow_service_pb2.WatchWorkflowRequest(
            workflow_id=workflow_id, cursor=cursor, without_chunks=not chunks
        )
        began_at = loop.time()
        stream = stub.WatchWorkflow(request, metadata=connection.metadata())
        try:
            async for response in stream:
                give_up_at = None
                backoff.reset()
                cursor = response.cursor or cursor
                yield response
        except grpc.aio.AioRpcError as rpc_error:
            error = error_of(rpc_error)
            if give_up_at is None or loop.time() - began_at > OUTAGE_MAX_S:
                give_up_at = loop.time() + OUTAGE_MAX_S
            delay = backoff.next_delay()
            if not _can_resume(error, connection) or loop.time() + delay > give_up_at:
                raise error from rpc_error
        else:
            return
        finally:
            stream.cancel()
        await asyncio.sleep(delay)


def _can_resume(error: PodiumError, connection: Connection) -> bool:
    # A stream ends with its token: whoever has another goes on with it.
    if error.reason == "TOKEN_EXPIRED":
        return connection.renews_token
    # A reader that fell behind is told so with ABORTED and goes on from its cursor.
    return isinstance(error, Unavailable | Conflict)


async def updates(
    responses: AsyncGenerator[workflow_service_pb2.WatchWorkflowResponse, None], cursor: str = ""
) -> AsyncGenerator[Update, None]:
    """Yields what happened one by one. A cursor skips a message as a whole, so only its last item carries it."""
    async with contextlib.aclosing(responses):
        async for response in responses:
            last = len(response.items) - 1
            for number, each in enumerate(response.items):
                resume_after = response.cursor if number == last else cursor
                match each.WhichOneof("item"):
                    case "event":
                        yield Update(resume_after, event=each.event)
                    case "chunk":
                        yield Update(resume_after, chunk=each.chunk)
                    case "progress":
                        yield Update(resume_after, progress=each.progress)
                    case None:
                        continue
            cursor = response.cursor or cursor
