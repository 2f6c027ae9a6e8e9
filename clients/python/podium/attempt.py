"""One attempt, from its assignment until its outcome is settled.

It does not depend on a session: without one it goes on, and keeps what it has to say. Its outcome, once there, never
changes, and it is sent to every session until one acknowledges it.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from podium.batching import Gatherer
from podium.connection import Connection
from podium.context import AttemptFacts, Context, Principal
from podium.errors import Canceled, PodiumError
from podium.failures import failure_of
from podium.interrupts import by_signal
from podium.invocation import invoke
from podium.outbox import Outbox
from podium.payloads import fetch_arguments, upload
from podium.secret_values import NO_SECRETS, SecretValues
from podium.spans import enter_trace
from podium.tasks import spawn_held
from podium.tool import Tool
from podium.transcript import UNACKNOWLEDGED_MAX_BYTES, Chunk, Transcript
from podium.v1 import executor_service_pb2 as pb
from podium.v1 import value_pb2
from podium.worker_process import WorkerPool

_logger = logging.getLogger(__name__)

Key: TypeAlias = tuple[str, str, int, int]


def key_of(reference: pb.AttemptReference) -> Key:
    """Returns what identifies an attempt: workflow, step, attempt and fence."""
    return reference.workflow_id, reference.step_id, reference.attempt, reference.fence


@dataclass(slots=True)
class Surroundings:
    """What the attempts of one executor share."""

    loop: asyncio.AbstractEventLoop
    connection: Connection
    places: asyncio.Semaphore
    workers: WorkerPool
    gatherers: Mapping[str, Gatherer] = field(default_factory=dict)
    """Of the tools that take batches."""
    inline_limit_bytes: int = 64 * 1024
    chunk_limit_bytes: int = 64 * 1024
    running: set[Attempt] = field(default_factory=set)
    """Holds their tasks until they end, also those that the service has taken away."""


class Attempt:
    """One attempt. Every method is called on the loop, except the signals, which any thread may send."""

    def __init__(self, key: Key, assignment: pb.Assignment, tool: Tool, surroundings: Surroundings) -> None:
        self.key = key
        self.reference = assignment.attempt
        self.outcome: pb.ExecutorItem | None = None
        self._assignment = assignment
        self._tool = tool
        self._secrets = SecretValues.of(assignment.secrets) if assignment.secrets else NO_SECRETS
        self._surroundings = surroundings
        self._outbox: Outbox | None = None
        self._transcript = Transcript(UNACKNOWLEDGED_MAX_BYTES)
        self._stopped_by: value_pb2.Failure | None = None
        # A task that is cancelled before its first step never runs any of its own code.
        self._interruptible = False
        self._called = False
        self._lasts = False
        self._cache_ttl_ms: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, outbox: Outbox) -> None:
        """Begins to run, in a task of its own: libraries keep what belongs to one call with its task."""
        self._outbox = outbox
        self._surroundings.running.add(self)
        self._task = spawn_held(self._run(), self._surroundings.loop, name=" ".join((self._tool.name, *self.key[:2])))

    def outlast(self, assigned_at: float) -> None:
        """Says that the attempt had its first turn of the loop. One that has not ended by then is timed and announced.

        Most calls that wait for nothing end before, and cost neither.
        """
        if self.outcome is not None:
            return
        self._lasts = True
        if self._called and not self._tool.kind.streams:
            self._send_accepted()
        if self._assignment.timeout_ms:
            expires_at = assigned_at + self._assignment.timeout_ms / 1000
            self._timer = self._surroundings.loop.call_at(expires_at, self._time_out)

    def held(self) -> pb.HeldAttempt:
        """Returns how the attempt is announced to a new session."""
        return pb.HeldAttempt(attempt=self.reference, acknowledged_chunk=self._transcript.acknowledged)

    def detach(self) -> None:
        """The session is gone. What is said from now on waits for the next one."""
        self._outbox = None

    def attach(self, outbox: Outbox, resume_after_chunk: int) -> None:
        """Goes on in a new session, which has all chunks up to this one."""
        self._outbox = outbox
        if not self._transcript.covers(resume_after_chunk):
            self.interrupt(
                value_pb2.Failure(
                    reason="OUTPUT_LOST", message="streamed output that was acknowledged is gone", retryable=True
                )
            )
        self._transcript.acknowledge(resume_after_chunk)
        if self._called:
            self._send_accepted()
        for chunk in self._transcript.after(resume_after_chunk):
            self._send_chunk(chunk)
        if self.outcome is not None:
            outbox.put(self.outcome)

    def acknowledge_chunks(self, sequence: int) -> None:
        """All chunks up to this one are durable."""
        self._transcript.acknowledge(sequence)

    def interrupt(self, failure: value_pb2.Failure) -> None:
        """Asks the tool to stop; its failure is then this one.

        An async function is cancelled, a process is killed, and a function in a thread finds `ctx.cancelled` set. A
        tool that returns all the same has done its work, and the result is told.
        """
        if self._stopped_by is not None or self.outcome is not None:
            return
        self._stopped_by = failure
        if self._interruptible and self._task is not None:
            self._task.cancel()

    def forget(self) -> None:
        """The attempt belongs to somebody else, or is settled: says nothing more and stops."""
        self._outbox = None
        self._transcript.close()
        if self.outcome is None:
            self.interrupt(value_pb2.Failure(reason="CANCELED", message="the attempt is not wanted any more"))

    @property
    def cancelled(self) -> bool:
        """Whether the tool was asked to stop."""
        return self._stopped_by is not None

    def progress(self, fraction: float, message: str) -> None:
        """Sends how far the tool is."""
        message = self._secrets.out_of_text(message)
        item = pb.ExecutorItem(
            progress=pb.AttemptProgressed(attempt=self.reference, fraction=fraction, message=message)
        )
        self._on_loop(lambda: self._send_newest("progress", item))
        # Whatever the tool says shows that it is alive.
        self.heartbeat()

    def heartbeat(self) -> None:
        """Sends that the tool is alive."""
        if self._assignment.heartbeat_timeout_ms:
            item = pb.ExecutorItem(attempt_heartbeat=pb.AttemptHeartbeat(attempt=self.reference))
            self._on_loop(lambda: self._send_newest("heartbeat", item))

    def cache_for(self, ttl_ms: int) -> None:
        """Says with the result how long it may be cached."""
        self._cache_ttl_ms = ttl_ms

    async def _run(self) -> None:
        if self._assignment.trace_context:
            enter_trace(self._assignment.trace_context)
        try:
            self.outcome = await self._perform()
        except asyncio.CancelledError as error:
            if self._stopped_by is None and self._task is not None and self._task.cancelling():
                raise  # The loop itself is stopping.
            # A tool may also be cancelled by nobody but itself.
            self.outcome = self._failure(error)
        except BaseException as error:
            if by_signal(error):
                raise
            # A tool may raise anything, or leave; the executor stays.
            self.outcome = self._failure(error)
        finally:
            self._surroundings.running.discard(self)
            if self._timer is not None:
                self._timer.cancel()
        self._send(self.outcome)

    async def _perform(self) -> pb.ExecutorItem:
        if self._stopped_by is not None:
            raise asyncio.CancelledError
        self._interruptible = True
        if gatherer := self._surroundings.gatherers.get(self._tool.name):
            # A batch has one place, and a call that waits for others has none.
            arguments = self._tool.signature.read(await self._arguments_json())
            output: str | None = await gatherer.call(arguments, Context(self._facts(), self), self._call_begins)
        else:
            async with self._surroundings.places:
                arguments_json = await self._arguments_json()
                self._call_begins()
                # The task that waits for a thread is not cancelled: the thread would go on, and nobody hear its result.
                self._interruptible = not self._tool.in_thread
                workers = self._surroundings.workers
                output = await invoke(self._tool, arguments_json, self._facts, self, self._emit, workers)
        # The tool has done its work. A cancel that comes now is too late.
        self._interruptible = False
        item = pb.ExecutorItem()
        # Filled in place: a message that is handed to another's constructor is copied.
        result = item.result
        result.attempt.CopyFrom(self.reference)
        result.chunk_count = self._transcript.count
        if self._cache_ttl_ms is not None:
            result.cache_ttl_ms = self._cache_ttl_ms
        if output is not None:
            if self._secrets:
                output = self._secrets.out_of_json(output)
            text = output.encode()
            if len(text) <= self._surroundings.inline_limit_bytes:
                result.output.json = output
            else:
                payload = await upload(self._surroundings.connection, self.reference, text)
                result.output.payload.CopyFrom(payload)
        return item

    async def _arguments_json(self) -> str:
        return self._assignment.arguments_json or await fetch_arguments(self._surroundings.connection, self.reference)

    def _call_begins(self) -> None:
        self._called = True
        if self._lasts or self._tool.kind.streams:
            self._send_accepted()

    async def _emit(self, data: bytes) -> None:
        data = self._secrets.out_of_bytes(data)
        limit = self._surroundings.chunk_limit_bytes
        for start in range(0, len(data), limit):
            chunk = await self._transcript.add(data[start : start + limit])
            if self.outcome is not None:
                raise Canceled("the attempt is not wanted any more")
            self._send_chunk(chunk)
        self.heartbeat()

    def _failure(self, error: BaseException) -> pb.ExecutorItem:
        if self._stopped_by is None:
            self._log(error)
        failure = self._stopped_by or failure_of(error, self._secrets)
        return pb.ExecutorItem(failure=pb.AttemptFailure(attempt=self.reference, failure=failure))

    def _log(self, error: BaseException) -> None:
        foreseen = isinstance(error, PodiumError | SystemExit)
        if not self._secrets:
            _logger.info("tool %s failed with %r", self._tool.name, error, exc_info=None if foreseen else error)
        elif _logger.isEnabledFor(logging.INFO):
            # What the exception and its causes say may hold what the tool was given.
            told = repr(error) if foreseen else "".join(traceback.format_exception(error))
            _logger.info("tool %s failed with %s", self._tool.name, self._secrets.out_of_text(told))

    def _time_out(self) -> None:
        message = f"no result within {self._assignment.timeout_ms} ms"
        self.interrupt(value_pb2.Failure(reason="TIMEOUT", message=message, retryable=True))

    def _facts(self) -> AttemptFacts:
        given = self._assignment
        who = given.principal
        return AttemptFacts(
            tool=given.tool,
            workflow_id=given.attempt.workflow_id,
            step_id=given.attempt.step_id,
            attempt=given.attempt.attempt,
            idempotency_key=given.idempotency_key,
            tenant=given.tenant,
            principal=Principal(who.subject, who.agent, who.on_behalf_of, who.session_id, who.token_id, who.address),
            trace_context=given.trace_context,
            secrets=self._secrets,
        )

    def _send(self, item: pb.ExecutorItem) -> None:
        if self._outbox is not None:
            self._outbox.put(item)

    def _send_accepted(self) -> None:
        self._send(pb.ExecutorItem(accepted=pb.AttemptAccepted(attempt=self.reference)))

    def _send_chunk(self, chunk: Chunk) -> None:
        if self._outbox is not None:
            item = pb.AttemptChunk(attempt=self.reference, sequence=chunk.sequence, data=chunk.data)
            self._outbox.put(pb.ExecutorItem(chunk=item), len(chunk.data))

    def _send_newest(self, what: str, item: pb.ExecutorItem) -> None:
        if self._outbox is not None and self.outcome is None:
            self._outbox.put_newest((what, self.key), item)

    def _on_loop(self, send: Callable[[], None]) -> None:
        loop = self._surroundings.loop
        try:
            here = asyncio.get_running_loop() is loop
        except RuntimeError:
            here = False
        if here:
            send()
        else:
            loop.call_soon_threadsafe(send)
