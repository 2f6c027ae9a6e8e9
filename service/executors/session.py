"""An executor's session: items in become commands, what the engine wants to say goes out in frames.

Everything an item says about an attempt counts only with the attempt's fence; what is stale is refused and the
executor is told to stop. Chunks are acknowledged once they are durable, and a result is recorded only when all of
its chunks are.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial

from podium.v1 import executor_service_pb2 as wire
from podium.v1 import value_pb2, workflow_service_pb2
from service.domain import commands as c
from service.domain.caching import LIFETIME_MAX_MS
from service.domain.errors import DomainError, Unavailable
from service.domain.values import SealBrokenError
from service.engine.attempts import LiveAttempt
from service.engine.dispatch import Executor
from service.engine.keys import WorkflowKey
from service.engine.resident import Cause, Mail
from service.executors.chunk_intake import ChunkIntake
from service.executors.outputs import LONG_LENGTH, MESSAGE_LENGTH
from service.executors.probing import Probes
from service.executors.session_parts import SessionParts, outputs_of, probes_of
from store.contract import StoreError

logger = logging.getLogger(__name__)

OUTBOX_ITEMS = 50_000
"""Items that may wait for an executor: more than the places any executor may have, each with a few words."""


class ExecutorSession:
    """One connection of an executor."""

    def __init__(
        self,
        session_id: str,
        hello: wire.Hello,
        cause: Cause,
        tenant: str,
        parts: SessionParts,
        authority: value_pb2.Authority,
    ) -> None:
        self.session_id = session_id
        self.authority = authority
        self.executor = hello.executor
        self.instance_id = hello.instance_id
        self.labels = dict(hello.labels)
        self.tenant = tenant
        self.heard_us = parts.clock.now_us()
        self._cause = cause
        self._parts = parts
        self._outputs = outputs_of(parts)
        self._chunks = ChunkIntake(
            parts.store,
            self._outputs,
            parts.engine.watchers,
            spawn=parts.spawn,
            durable=self._chunks_durable,
            lost=self.end,
        )
        self._outbox: list[wire.ServiceItem] = []
        self._wake = asyncio.Event()
        self.place: Executor | None = None
        self._probes: Probes | None = None
        self._ended = False
        self._finishing = False

    def send(self, item: wire.ServiceItem) -> None:
        """Queue an item; all that is queued in one turn of the loop leaves in one frame.

        An executor that sends without reading what is said to it is let go.
        """
        if len(self._outbox) >= OUTBOX_ITEMS:
            logger.warning("executor %s does not read: its session is ended", self.executor)
            self.end()
            return
        self._outbox.append(item)
        self._wake.set()

    async def may_read(self) -> None:
        """Wait until so much of what was read is durable that more may be read."""
        await self._chunks.may_take()

    async def next_frame(self) -> wire.SessionResponse | None:
        """Wait for something to say and take all of it; None: the session has ended."""
        await self._wake.wait()
        self._wake.clear()
        if self._ended or (self._finishing and not self._outbox):
            return None
        if self._finishing:
            # Nobody may wake it again.
            self._wake.set()
        items, self._outbox = self._outbox, []
        return wire.SessionResponse(items=items)

    def finish(self) -> None:
        """Say what there is to say, and then end."""
        self._finishing = True
        self._wake.set()

    def end(self) -> None:
        """Say no more: the executor is gone or silent."""
        self._ended = True
        self._wake.set()
        self._chunks.end()

    def is_of(self, other: ExecutorSession) -> bool:
        """Whether both are connections of one process."""
        mine = (self.tenant, self.executor, self.instance_id, self._cause.principal.subject)
        theirs = (other.tenant, other.executor, other.instance_id, other._cause.principal.subject)
        return bool(self.instance_id) and mine == theirs

    def connect(self, serves: dict[str, int], max_attempts: int) -> None:
        """Take work from now on."""
        self.place = Executor(self, self.tenant, serves, max_attempts)
        self._probes = probes_of(self.place, self._parts)

    def begin(self, welcome: wire.Welcome) -> None:
        """Say welcome, ahead of what came up while attempts were claimed, and offer the session's places."""
        assert self.place is not None, "connect comes first"
        self._outbox.insert(0, wire.ServiceItem(welcome=welcome))
        self._wake.set()
        self._parts.engine.dispatcher.connect(self.place)
        if self._probes is not None:
            self._probes.begin()

    def disconnect(self) -> None:
        """The connection is gone: what it holds is lost unless the executor comes back within the grace."""
        if self.place is not None and not self.place.gone:
            self.place.gone = True
            if self._probes is not None:
                self._probes.end()
            self._parts.engine.dispatcher.disconnect(self.place)
            self._parts.engine.attempts.lose_all(self.place)

    async def claim(self, held: wire.HeldAttempt) -> wire.HeldVerdict:
        """Decide about an attempt the executor holds from an earlier session."""
        assert self.place is not None, "connect comes first"
        reference = held.attempt
        await self._load(reference)
        chunks = await self._parts.store.read_attempt_chunks(
            self.tenant, reference.workflow_id, reference.step_id, reference.attempt
        )
        # Looked for only now: while chunks were read, the attempt may have been lost, or given to another.
        live = self._parts.engine.attempts.find(self.tenant, reference)
        is_free = live is not None and (live.executor is None or live.executor.gone)
        if live is None or not is_free or live.tool.tool not in self.place.serves or self._may_know_secrets(live):
            return wire.HeldVerdict(attempt=reference, action=wire.HeldVerdict.ACTION_ABORT)
        if live.durable_chunks != len(chunks) or live.received_chunks != len(chunks):
            live.restart_chunks([chunk.data for chunk in chunks])
        live.deferred = None
        self.place.taken += 1
        self.place.holding.add((reference.workflow_id, reference.step_id, reference.attempt))
        self._parts.engine.attempts.hold(live, self.place)
        return wire.HeldVerdict(
            attempt=reference, action=wire.HeldVerdict.ACTION_KEEP, resume_after_chunk=live.durable_chunks
        )

    async def _load(self, reference: wire.AttemptReference) -> None:
        """Load an attempt's workflow, which makes its running attempts known. One that cannot be loaded has none."""
        key = WorkflowKey(self.tenant, reference.workflow_id)
        with suppress(DomainError):
            await self._parts.engine.read(key, lambda resident: resident.version)

    def receive(self, frame: wire.SessionRequest) -> None:
        """Handle a frame's items in order."""
        self.heard_us = self._parts.clock.now_us()
        for item in frame.items:
            kind = item.WhichOneof("item")
            if kind == "chunk":
                self._chunk(item.chunk)
            elif kind == "result":
                self._result(item.result)
            elif kind == "failure":
                self._failure(item.failure)
            elif kind == "progress":
                self._progress(item.progress)
            elif kind == "attempt_heartbeat":
                self._heartbeat(item.attempt_heartbeat.attempt)
            elif kind == "probed" and self._probes is not None:
                self._probes.answered(item.probed, partial(self._outputs.said, self.tenant))
            elif kind == "leaving" and self.place is not None:
                self._parts.engine.dispatcher.disconnect(self.place)
        self._chunks.save()

    def _may_know_secrets(self, live: LiveAttempt) -> bool:
        """Whether an earlier life of the service may have given it secrets, which could not be found in its output.

        What is in the files now tells nothing: it may have been replaced since.
        """
        assert self.place is not None, "connect comes first"
        if live.secrets:
            return False
        versions = (live.tool, live.tool._replace(version=self.place.serves[live.tool.tool]))
        definitions = [self._parts.definition(*version) for version in versions]
        return any(definition is None or definition.secrets for definition in definitions)

    def _streams_output(self, live: LiveAttempt) -> bool:
        """Whether its tool declares its chunks to be its output."""
        definition = self._parts.definition(*live.tool)
        return definition is not None and definition.streams_output

    def _heartbeat(self, reference: wire.AttemptReference) -> None:
        live = self._live(reference)
        if live is not None:
            self._parts.engine.attempts.heard(live)

    def _live(self, reference: wire.AttemptReference) -> LiveAttempt | None:
        """The attempt when it runs here with this fence. Otherwise the executor is told to stop."""
        live = self._parts.engine.attempts.find(self.tenant, reference)
        if live is None or live.executor is not self.place:
            cancel = wire.CancelAttempt(attempt=reference, reason="the attempt is not yours any more")
            self.send(wire.ServiceItem(cancel=cancel))
            return None
        return live

    def _progress(self, progress: wire.AttemptProgressed) -> None:
        live = self._live(progress.attempt)
        if live is None:
            return
        self._parts.engine.watchers.publish(
            live.key.workflow,
            workflow_service_pb2.AttemptProgress(
                step_id=live.key.step_id,
                attempt=live.attempt,
                fraction=progress.fraction,
                message=self._outputs.told(live, progress.message, 1000),
            ),
        )

    def _chunk(self, chunk: wire.AttemptChunk) -> None:
        live = self._live(chunk.attempt)
        if live is None or chunk.sequence <= live.received_chunks:
            return
        problem = ""
        if chunk.sequence != live.received_chunks + 1:
            problem = f"chunk {chunk.sequence} came after chunk {live.received_chunks}"
        elif len(chunk.data) > self._parts.limits.chunk_bytes:
            problem = f"a chunk is larger than {self._parts.limits.chunk_bytes} bytes"
        if problem:
            self._fail(live, value_pb2.Failure(reason="INVALID_OUTPUT", message=problem))
            return
        self._chunks.take(live, chunk)

    def _chunks_durable(self, live: LiveAttempt) -> None:
        note = wire.ChunksAcknowledged(attempt=live.reference, sequence=live.durable_chunks)
        self.send(wire.ServiceItem(chunks_acknowledged=note))
        if live.deferred is not None and live.durable_chunks >= live.deferred.chunk_count:
            self._result(live.deferred)

    def _result(self, result: wire.AttemptResult) -> None:
        live = self._parts.engine.attempts.find(self.tenant, result.attempt)
        if live is None or live.executor is not self.place:
            self._outcome_refused(result.attempt)
            return
        if result.chunk_count > live.durable_chunks:
            if result.chunk_count > live.received_chunks:
                message = f"the result speaks of {result.chunk_count} chunks, {live.received_chunks} were sent"
                self._fail(live, value_pb2.Failure(reason="INVALID_OUTPUT", message=message))
            else:
                live.deferred = result
                self._chunks.complete(live)
            return
        kind = result.output.WhichOneof("kind")
        is_long = len(result.output.json) > LONG_LENGTH
        if kind == "payload" or is_long or (live.durable_chunks and self._streams_output(live)):
            self._parts.spawn(self._complete_large(live, result))
            return
        if kind not in (None, "json"):
            self._output_refused(live, ValueError(f"an output of kind {kind} is not accepted"))
            return
        try:
            output = self._outputs.inline(live, result.output) if kind else None
        except (ValueError, SealBrokenError) as error:
            self._output_refused(live, error)
            return
        self._complete(live, result, output)

    def _output_refused(self, live: LiveAttempt, error: Exception) -> None:
        reason = "SEAL_BROKEN" if isinstance(error, SealBrokenError) else "INVALID_OUTPUT"
        # A place in an output may be called what the tool was given.
        self._fail(live, value_pb2.Failure(reason=reason, message=self._outputs.told(live, str(error), MESSAGE_LENGTH)))

    async def _complete_large(self, live: LiveAttempt, result: wire.AttemptResult) -> None:
        """Complete with a long output, an uploaded one, or the joined chunks of a tool whose chunks are its output."""
        try:
            if live.durable_chunks and self._streams_output(live):
                output = await self._outputs.joined_chunks(live)
            elif result.output.WhichOneof("kind") == "json":
                output = await self._outputs.long_inline(live, result.output)
            else:
                output = await self._outputs.uploaded(live, result.output)
        except (StoreError, ValueError, SealBrokenError) as error:
            self._output_refused(live, error)
            return
        self._complete(live, result, output)

    def _complete(self, live: LiveAttempt, result: wire.AttemptResult, output: value_pb2.Value | None) -> None:
        command = c.CompleteAttempt(
            self.heard_us,
            live.key.step_id,
            live.attempt,
            live.fence,
            output,
            live.durable_chunks,
            live.chunks_digest.digest() if live.durable_chunks else b"",
            tuple(live.sanitized or ()),
            min(result.cache_ttl_ms, LIFETIME_MAX_MS) if result.HasField("cache_ttl_ms") else None,
        )
        self._settle(live, command)

    def _failure(self, failure: wire.AttemptFailure) -> None:
        live = self._parts.engine.attempts.find(self.tenant, failure.attempt)
        if live is None or live.executor is not self.place:
            self._outcome_refused(failure.attempt)
            return
        self._chunks.complete(live)
        self._fail(live, self._outputs.failure(live, failure.failure))

    def _fail(self, live: LiveAttempt, failure: value_pb2.Failure) -> None:
        parts = self._parts
        command = c.FailAttempt(
            parts.clock.now_us(), live.key.step_id, live.attempt, live.fence, failure, parts.chance()
        )
        self._settle(live, command)

    def _settle(self, live: LiveAttempt, command: c.Command) -> None:
        """Post an outcome. Its place is free at once; it is acknowledged when it is durable or was refused."""
        tenant, workflow_id, step_id = live.key
        attempt, fence = live.attempt, live.fence

        def settled(error: Exception | None, _position: int) -> None:
            if isinstance(error, Unavailable):
                # Nothing is known about the outcome: the executor keeps it, and sends it again when it is back.
                self.end()
                return
            item = wire.ServiceItem()
            note = item.outcome_acknowledged
            reference = note.attempt
            reference.workflow_id, reference.step_id = workflow_id, step_id
            reference.attempt, reference.fence = attempt, fence
            if error is None:
                note.accepted = True
            else:
                note.reason = str(error)
            self.send(item)

        self._parts.engine.post(WorkflowKey(tenant, workflow_id), Mail(command, self._cause, settled))
        # Only now: were the free place offered first, the log would show one attempt more than there are places.
        self._free(workflow_id, step_id, attempt)

    def _outcome_refused(self, reference: wire.AttemptReference) -> None:
        self._free(reference.workflow_id, reference.step_id, reference.attempt)
        note = wire.OutcomeAcknowledged(
            attempt=reference, accepted=False, reason="the attempt has ended or is another executor's"
        )
        self.send(wire.ServiceItem(outcome_acknowledged=note))

    def _free(self, workflow_id: str, step_id: str, attempt: int) -> None:
        held = (workflow_id, step_id, attempt)
        place = self.place
        if place is not None and held in place.holding:
            place.holding.discard(held)
            self._parts.engine.dispatcher.give_back(place)
