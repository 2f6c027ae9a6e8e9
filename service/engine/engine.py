"""The engine: mailboxes in, one append a turn, and nothing released before it is durable.

Everything that leaves — an answer, an assignment, an acknowledgement, what a reader or a watcher sees — leaves from
`_release`, which runs after the commit. There is no other way out, and there must not be one.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from podium.v1 import value_pb2
from service.domain import commands as c
from service.domain.errors import DomainError, LimitExceeded, Unavailable
from service.engine.attempts import Attempts, LiveAttempt
from service.engine.collaborators import Bounds, Collaborators
from service.engine.dispatch import Executor
from service.engine.effects import Effects
from service.engine.keys import StepKey, WorkflowKey
from service.engine.open_counts import OpenCounts
from service.engine.reading import Reading, not_found
from service.engine.residency import Residency
from service.engine.resident import Cause, Content, Mail, Offer, Resident, answering
from service.engine.timers import Timers
from service.engine.turn import Turn
from store.contract import (
    Append,
    Committed,
    OpenWorkflow,
    QueueFullError,
    StoreError,
    StreamAppend,
    StreamConflictError,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")
RELOAD_AFTER_US = 500_000
"""How long a workflow whose append found the writer's queue full waits before it is folded again."""


class Engine:
    """Runs the workflows of one shard."""

    def __init__(
        self, parts: Collaborators, *, reconnect_grace_us: int, park_after_us: int, bounds: Bounds | None = None
    ) -> None:
        self._store = parts.store
        self._clock = parts.clock
        self._randomness = parts.randomness
        self._turns = parts.turns
        self._payloads = parts.payloads
        self._spawn = parts.spawn
        self._fatal = parts.fatal
        self.dispatcher = parts.dispatcher
        self.watchers = parts.watchers
        self.attempts = Attempts(parts.clock, reconnect_grace_us, self.fail_attempt)
        parts.store.expect(self.attempts.coming)
        self._bounds = bounds or Bounds()
        self.residency = Residency(
            parts.store, parts.snapshots, parts.clock, park_after_us, self._bounds.resident_workflows
        )
        self._reading = Reading(parts.store, self.residency, self._load)
        self.timers: Timers[WorkflowKey] = Timers(parts.clock, self.wake)
        self.effects = Effects(parts.clock, parts.turns, parts.dispatcher, self.attempts)
        self.open_counts = OpenCounts()
        self._ready: deque[Resident] = deque()
        self._run_scheduled = False
        self._appends_in_flight = 0
        self._stopped = False
        # Turns serve many callers at once: what one of them left in its context must not reach the others.
        self._context = contextvars.Context()

    def close(self) -> None:
        """Take no more turns. What was submitted to the store still commits."""
        self._stopped = True
        self.timers.close()
        self.effects.close()
        self.attempts.close()

    # Mail

    def post(self, key: WorkflowKey, mail: Mail, *, create: bool = False) -> None:
        """Put mail into a workflow's mailbox; it is loaded from the log when it is not in memory.

        With `create` a workflow that is not in memory is taken to be new; when the log knows better, the append is
        refused and the reply gets AlreadyExistsError.
        """
        if self._stopped:
            if mail.reply is not None:
                mail.reply(Unavailable("STOPPING", "the service is stopping: send the request again"), 0)
            return
        resident = self.residency.get(key)
        if resident is None:
            resident = self.residency.add(key)
            if create:
                resident.loaded = True
            else:
                self._load(resident)
        resident.may_begin = resident.may_begin or create
        resident.mailbox.append(mail)
        self.schedule(resident)

    async def ask(
        self,
        key: WorkflowKey,
        content: Content,
        cause: Cause | None = None,
        *,
        create: bool = False,
    ) -> int:
        """Post a command and wait until its outcome is durable. Returns the log's position; raises what refused it."""
        self._refuse_overload(key)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.post(key, Mail(content, cause, answering(future)), create=create)
        return await future

    def _refuse_overload(self, key: WorkflowKey) -> None:
        resident = self.residency.get(key)
        if resident is not None and len(resident.mailbox) >= self._bounds.mailbox:
            raise LimitExceeded(
                "MAILBOX_FULL", f"{len(resident.mailbox)} commands wait for {key.workflow_id}", retry_after_ms=100
            )
        if len(self._ready) >= self._bounds.workflows:
            raise LimitExceeded("OVERLOADED", f"{len(self._ready)} workflows wait for their turn", retry_after_ms=500)

    @property
    def fill(self) -> float:
        """How full it is of work that waits for a turn, or for its turn to be durable: 0 empty, 1 full."""
        bounds = self._bounds
        return (len(self._ready) + self._appends_in_flight) / (bounds.workflows + bounds.appends)

    async def read(self, key: WorkflowKey, reader: Callable[[Resident], T]) -> T:
        """Read a workflow's state as the log has it now; see Reading."""
        return await self._reading.read(key, reader)

    async def when_ended(self, key: WorkflowKey, reader: Callable[[Resident], T]) -> T:
        """Read a workflow's state once it has ended, durably; see Reading."""
        return await self._reading.when_ended(key, reader)

    def end_waits(self, why: Callable[[], Exception]) -> None:
        """Wait for the end of no workflow any more: whoever does is told why."""
        self._reading.end_waits(why)

    @property
    def head(self) -> int:
        """The position of the log's last event."""
        return self._store.head

    @property
    def is_idle(self) -> bool:
        """Whether nothing that was posted waits for its turn or to become durable."""
        return not self._ready and not self._appends_in_flight

    def wake(self, key: WorkflowKey) -> None:
        """Let a workflow look at its timers."""
        now = self._clock.now_us()
        self.post(key, Mail(lambda _: c.TimePassed(max(now, self._clock.now_us()), self._randomness.chance())))

    def offer(self, key: StepKey, executor: Executor) -> None:
        """A place for a step that waits; the dispatcher has taken it for the step."""
        self.post(key.workflow, Mail(Offer(key.step_id, executor)))

    def ask_again(self, key: StepKey) -> None:
        """Have admission asked again about a step that waits, without a place."""
        self.post(key.workflow, Mail(Offer(key.step_id, None)))

    def fail_attempt(self, live: LiveAttempt, failure: value_pb2.Failure) -> None:
        """An attempt was lost or fell silent."""
        command = c.FailAttempt(
            self._clock.now_us(), live.key.step_id, live.attempt, live.fence, failure, self._randomness.chance()
        )
        self.post(live.key.workflow, Mail(command))

    # Turns

    def schedule(self, resident: Resident) -> None:
        """Let a workflow take a turn, once it may."""
        if resident.scheduled or resident.in_flight or not resident.loaded:
            return
        resident.scheduled = True
        self._ready.append(resident)
        self._schedule_run()

    def _schedule_run(self) -> None:
        if self._ready and not self._run_scheduled:
            self._run_scheduled = True
            asyncio.get_running_loop().call_soon(self._run, context=self._context)

    def _run(self) -> None:
        self._run_scheduled = False
        now = self._clock.now_us()
        # Those that become ready meanwhile have their turn in the next round of the loop.
        for _ in range(len(self._ready)):
            if self._appends_in_flight >= self._bounds.appends:
                return
            resident = self._ready.popleft()
            resident.scheduled = False
            if resident.dropped or self._stopped:
                continue
            if resident.in_flight:
                # It is held as it is, and has its turn when it is let go.
                resident.mailbox.append(Mail(None))
                continue
            try:
                turn = self._turns.take(resident, now)
            except Exception as error:
                # A bug in a decision must cost this workflow's turn and not the shard.
                logger.exception("the turn of %s failed", resident.key.workflow_id, extra=resident.log_fields)
                self._drop(resident, Unavailable("INTERNAL_TURN_FAILED", f"the turn failed: {type(error).__name__}"))
                continue
            self._append(turn)

    def _append(self, turn: Turn) -> None:
        resident = turn.resident
        resident.active_us = turn.now_us
        if turn.missing is not None:
            self._load_payload(resident, turn.missing)
        if not turn.events and not turn.beside:
            self._release(turn, None)
            return
        key = resident.key
        running = resident.state.running
        opened = [OpenWorkflow(key.tenant, key.workflow_id)] if running and not resident.opened else []
        closed = [] if running else [(key.tenant, key.workflow_id)]
        began, ended = resident.version == 0, not running
        if began:
            self.open_counts.began(key.tenant)
        # The workflow's own events come first: what is released counts on it.
        stream = StreamAppend(key.tenant, key.workflow_id, resident.version, turn.events)
        resident.version += len(turn.events)
        resident.opened = running
        resident.in_flight = True
        self._appends_in_flight += 1

        def done(outcome: Committed | StoreError) -> None:
            resident.in_flight = False
            self._appends_in_flight -= 1
            self._schedule_run()
            if ended if isinstance(outcome, Committed) else began:
                self.open_counts.ended(key.tenant)
            if isinstance(outcome, StoreError):
                self._append_failed(turn, outcome)
            else:
                self._release(turn, outcome)

        self._store.submit(Append((stream, *turn.beside), opened=opened, closed=closed), done)

    def _append_failed(self, turn: Turn, error: StoreError) -> None:
        self._turns.take_back(turn)
        refused: Exception
        if isinstance(error, StreamConflictError):
            refused = error
        else:
            refused = Unavailable(error.reason, f"the log cannot be written: {error}")
        for reply, _ in turn.replies:
            reply(refused, 0)
        self._drop(turn.resident, refused if not isinstance(error, StreamConflictError) else None)
        if isinstance(error, QueueFullError):
            if turn.resident.version > len(turn.events):
                # It goes on from the log once the writer had time to catch up.
                self.timers.set(turn.resident.key, turn.now_us + RELOAD_AFTER_US)
        elif not isinstance(error, StreamConflictError):
            self._fatal(error)

    def _drop(self, resident: Resident, error: Exception | None) -> None:
        """Forget a workflow's state; with no error its mail is answered from the log again.

        Its attempts run on, because that they were started is in the log.
        """
        self.residency.remove(resident)
        mailbox, readers, waiters = resident.mailbox, resident.readers, resident.waiters
        resident.mailbox, resident.readers, resident.waiters = type(mailbox)(), [], []
        for mail in mailbox:
            if error is not None and isinstance(mail.content, Offer) and mail.content.executor is not None:
                self.dispatcher.give_back(mail.content.executor)
            if error is None:
                self.post(resident.key, mail)
            elif mail.reply is not None:
                mail.reply(error, 0)
        for call in readers:
            call()
        for waiter in waiters:
            waiter(resident)

    # Release: the only way out

    def _release(self, turn: Turn, committed: Committed | None) -> None:
        resident = turn.resident
        position = self._store.head
        if committed is not None:
            position = committed.last_position
            # A group has one stamp, and an append's events follow each other.
            recorded_at_us = committed.events[0].recorded_at_us
            for at, new in enumerate(turn.events, committed.first_position):
                resident.note(new.payload, recorded_at_us, at)
            if self.watchers.watched(resident.key):
                for recorded in committed.events[: len(turn.events)]:
                    self.watchers.publish(resident.key, recorded)
        self.effects.release(turn, committed.first_position if committed is not None else 0)
        resident.attended = True
        for reply, error in turn.replies:
            reply(error, position)
        self._call_readers(resident)
        if not resident.state.running and resident.loaded:
            waiters, resident.waiters = resident.waiters, []
            for waiter in waiters:
                waiter(resident)
            self.timers.clear(resident.key)
        else:
            wake_us = resident.state.wake_at_us()
            if wake_us is not None:
                self.timers.set(resident.key, wake_us)
        if resident.state.started or resident.mailbox:
            self.residency.touch(resident)
        else:
            # What should have begun was refused; nothing is left of it.
            self.residency.remove(resident)
        if (resident.mailbox or resident.unadmitted or turn.is_cut) and turn.missing is None:
            self.schedule(resident)

    def _call_readers(self, resident: Resident) -> None:
        readers, resident.readers = resident.readers, []
        for reader in readers:
            reader()

    # Loading

    def _load(self, resident: Resident) -> None:
        resident.loading = True
        self._spawn(self._load_stream(resident))

    async def _load_stream(self, resident: Resident) -> None:
        try:
            await self.residency.load(resident)
        except DomainError as error:
            resident.failed = error
            self._drop(resident, error)
            return
        except StoreError as error:
            resident.failed = Unavailable(error.reason, f"the log cannot be read: {error}")
            self._drop(resident, resident.failed)
            return
        if not resident.state.started and not resident.may_begin:
            resident.failed = not_found(resident.key)
            self._drop(resident, resident.failed)
            return
        self.schedule(resident)

    def _load_payload(self, resident: Resident, reference: value_pb2.PayloadReference) -> None:
        async def load() -> None:
            try:
                await self._payloads.fetch(resident.key.tenant, reference.digest)
            except StoreError as error:
                self._drop(resident, Unavailable(error.reason, str(error)))
                return
            self.schedule(resident)
            if not resident.scheduled and not resident.dropped:
                resident.mailbox.append(Mail(None))

        self._spawn(load())

    def poke(self, resident: Resident) -> None:
        """Let a workflow that was held back go on."""
        self._call_readers(resident)
        if resident.mailbox:
            self.schedule(resident)
