"""Serves an executor's tools: one session after another, and the attempts that outlive them.

An outage changes nothing for an attempt that runs. When a session is back it is announced there, and goes on or stops
as the service decides; what was not acknowledged is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import grpc.aio

from podium.attempt import Attempt, Key, Surroundings, key_of
from podium.backoff import Backoff
from podium.batching import Gatherer
from podium.connection import Connection
from podium.errors import (
    Conflict,
    IllegalState,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PodiumError,
    Unauthenticated,
)
from podium.failures import EXECUTOR_LOST
from podium.invocation import in_thread
from podium.outbox import Outbox
from podium.probing import Prober
from podium.rpc_errors import error_of
from podium.session import Session
from podium.tool import Tool
from podium.v1 import executor_service_pb2 as pb
from podium.v1 import value_pb2
from podium.worker_process import WorkerPool

_logger = logging.getLogger(__name__)

LAST_WORDS_S = 2.0
STABLE_S = 10.0
_REFUSALS = (Unauthenticated, PermissionDenied, InvalidInput, IllegalState, Conflict, NotFound)
_KEEP = pb.HeldVerdict.ACTION_KEEP


@dataclass(frozen=True, slots=True)
class Identity:
    """Who serves what."""

    executor: str
    instance_id: str
    tools: Mapping[str, Tool]
    labels: Mapping[str, str] = field(default_factory=dict)
    max_parallel: int = 16
    max_processes: int = 1

    @property
    def max_attempts(self) -> int:
        """How many attempts it holds at once: enough for a whole batch of any tool."""
        return max(self.max_parallel, *(tool.batch.max_calls for tool in self.tools.values() if tool.batch), 1)


class Serving:
    """An executor's presence at one service."""

    def __init__(self, identity: Identity, connection: Connection) -> None:
        self._identity = identity
        self._workers = WorkerPool(identity.max_processes)
        loop = asyncio.get_running_loop()
        places = asyncio.Semaphore(identity.max_parallel)
        tools = identity.tools
        gatherers = {name: Gatherer(tool, places, in_thread) for name, tool in tools.items() if tool.batch}
        self._surroundings = Surroundings(loop, connection, places, self._workers, gatherers)
        self._prober = Prober(tools, in_thread)
        self._attempts: dict[Key, Attempt] = {}
        self._outbox = Outbox()
        self._welcomed: asyncio.Future[None] = loop.create_future()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._over = asyncio.Event()
        self._draining = False

    async def welcomed(self) -> None:
        """Waits for the first welcome; raises the PodiumError with which the service refused this executor."""
        await asyncio.shield(self._welcomed)

    async def run(self) -> None:
        """Keeps a session until `stop`.

        Raises:
            PodiumError: The service refused the executor's very first hello: another try would change nothing. Later
                refusals are tried again, because attempts may be running.
        """
        loop = asyncio.get_running_loop()
        # The service keeps the attempts of an executor that is gone for a few seconds only.
        backoff = Backoff(initial=0.1, longest=2.0)
        try:
            while not self._over.is_set():
                began_at = loop.time()
                try:
                    await self._one_session()
                except grpc.aio.AioRpcError as rpc_error:
                    self._refused(error_of(rpc_error))
                except PodiumError as error:
                    self._refused(error)
                except Exception:
                    _logger.exception("executor %s: the session broke", self._identity.executor)
                # A service that welcomes and drops its executors at once is not called more often for it.
                if loop.time() - began_at > STABLE_S:
                    backoff.reset()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(backoff.next_delay()):
                        await self._over.wait()
        finally:
            for attempt in self._attempts.values():
                attempt.forget()
            self._prober.close()
            self._workers.close()

    async def stop(self, grace_s: float) -> None:
        """Takes no more work, waits for what runs at most this long, and ends the session.

        What does not end in time is stopped if it can be, and reported as lost, so that it is given to another soon.
        """
        self._stopping = True
        self._outbox.put(pb.ExecutorItem(leaving=pb.Leaving()))
        if not await self._becomes_idle(grace_s):
            for attempt in self._attempts.values():
                attempt.interrupt(
                    value_pb2.Failure(
                        reason=EXECUTOR_LOST, message="the executor stopped while the tool ran", retryable=True
                    )
                )
            await self._becomes_idle(LAST_WORDS_S)
        self._over.set()
        self._outbox.close()

    async def _becomes_idle(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _refused(self, error: PodiumError) -> None:
        if self._welcomed.done() or not (isinstance(error, _REFUSALS) or error.reason == "UNIMPLEMENTED"):
            _logger.warning("executor %s has no session: %s", self._identity.executor, error)
            return
        self._welcomed.set_exception(error)
        self._welcomed.exception()  # Nobody may be waiting for it; run raises it in any case.
        raise error

    async def _one_session(self) -> None:
        outbox = Outbox()
        self._draining = False
        held = list(self._attempts.values())

        def welcomed(welcome: pb.Welcome) -> None:
            self._begin(welcome, outbox, held)

        try:
            session = Session(self._surroundings.connection, outbox)
            await session.run(self._hello(held), welcomed=welcomed, received=self._receive)
        finally:
            for attempt in self._attempts.values():
                attempt.detach()

    def _hello(self, held: list[Attempt]) -> pb.Hello:
        return pb.Hello(
            executor=self._identity.executor,
            instance_id=self._identity.instance_id,
            tools=[tool.definition for tool in self._identity.tools.values()],
            labels=self._identity.labels,
            max_attempts=self._identity.max_attempts,
            holding=[attempt.held() for attempt in held],
        )

    def _begin(self, welcome: pb.Welcome, outbox: Outbox, held: list[Attempt]) -> None:
        self._outbox = outbox
        self._surroundings.inline_limit_bytes = welcome.inline_limit_bytes or self._surroundings.inline_limit_bytes
        self._surroundings.chunk_limit_bytes = welcome.chunk_limit_bytes or self._surroundings.chunk_limit_bytes
        if self._stopping:
            outbox.put(pb.ExecutorItem(leaving=pb.Leaving()))
        verdicts = {key_of(verdict.attempt): verdict for verdict in welcome.held}
        for attempt in held:
            verdict = verdicts.get(attempt.key)
            if verdict is not None and verdict.action == _KEEP:
                attempt.attach(outbox, verdict.resume_after_chunk)
            else:
                self._forget(attempt.key)
        if self._over.is_set():
            outbox.close()
        if not self._welcomed.done():
            self._welcomed.set_result(None)
        _logger.info("executor %s serves in session %s", self._identity.executor, welcome.session_id)

    def _receive(self, items: Iterable[pb.ServiceItem]) -> None:
        begun: list[Attempt] = []
        for item in items:
            self._handle(item, begun)
        if begun:
            # Their tasks stand in the loop's queue: this comes after the first turn of each.
            loop = self._surroundings.loop
            loop.call_soon(_outlast, begun, loop.time())

    def _handle(self, item: pb.ServiceItem, begun: list[Attempt]) -> None:
        match item.WhichOneof("item"):
            case "assign":
                if attempt := self._assign(item.assign):
                    begun.append(attempt)
            case "outcome_acknowledged":
                settled = item.outcome_acknowledged
                if not settled.accepted:
                    _logger.info("the outcome of %s was refused: %s", key_of(settled.attempt), settled.reason)
                self._forget(key_of(settled.attempt))
            case "cancel":
                if attempt := self._attempts.get(key_of(item.cancel.attempt)):
                    message = item.cancel.reason or "the attempt is not wanted any more"
                    attempt.interrupt(value_pb2.Failure(reason="CANCELED", message=message))
            case "chunks_acknowledged":
                acknowledged = item.chunks_acknowledged
                if attempt := self._attempts.get(key_of(acknowledged.attempt)):
                    attempt.acknowledge_chunks(acknowledged.sequence)
            case "drain":
                self._draining = True
                self._leave_when_idle()
            case "probe":
                self._prober.answer(item.probe, self._outbox.put)
            case "welcome" | None:
                _logger.debug("the service sent something that means nothing here")

    def _assign(self, assignment: pb.Assignment) -> Attempt | None:
        key = key_of(assignment.attempt)
        if key in self._attempts:
            return None
        tool = self._identity.tools.get(assignment.tool)
        if tool is None:
            message = f"executor {self._identity.executor} has no tool {assignment.tool}"
            failure = value_pb2.Failure(reason="TOOL_NOT_SERVED", message=message, retryable=True)
            self._outbox.put(pb.ExecutorItem(failure=pb.AttemptFailure(attempt=assignment.attempt, failure=failure)))
            return None
        attempt = Attempt(key, assignment, tool, self._surroundings)
        self._attempts[key] = attempt
        self._idle.clear()
        attempt.start(self._outbox)
        return attempt

    def _forget(self, key: Key) -> None:
        attempt = self._attempts.pop(key, None)
        if attempt is not None:
            attempt.forget()
        if not self._attempts:
            self._idle.set()
            self._leave_when_idle()

    def _leave_when_idle(self) -> None:
        if self._draining and not self._attempts:
            self._outbox.close()


def _outlast(begun: list[Attempt], assigned_at: float) -> None:
    for attempt in begun:
        attempt.outlast(assigned_at)
