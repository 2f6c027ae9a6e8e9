"""A turn: everything in a workflow's mailbox is decided and evolved ahead of durability, then what follows from it.

A turn changes memory only. What it found is released by the engine once the one append it asks for is durable; if
the append fails, the workflow is dropped and folded again from the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.admission.guards import AttemptEnd
from service.admission.pipeline import Pipeline
from service.domain import commands as c
from service.domain import state as s
from service.domain.decide import StaleFenceError
from service.domain.effects import Admit, Queue, Run, changed_effects
from service.domain.errors import DomainError, Unavailable
from service.domain.revocations import Revocations
from service.domain.state import Step
from service.domain.values import ALLOWANCE, PayloadNotLoadedError
from service.engine.admitting import Admitting, tool_version
from service.engine.deciding import Deciding
from service.engine.dispatch import Dispatcher
from service.engine.keys import StepKey, ToolVersion
from service.engine.resident import Cause, Mail, Offer, Resident
from service.engine.revoked_work import cancel_command, revoked
from service.engine.turn import Turn
from store.contract import ANY_VERSION, SHARD, NewEvent, StreamAppend
from store.records import encode_envelope

ADMISSIONS_PER_TURN = 500
"""Steps admitted in one turn; the rest have the next one, so that other workflows have theirs in between."""
TURN_US = 50_000
"""How long a turn may have computed when it begins with another step or another piece of mail.

It is measured, because what guards do for one step depends on its arguments and on what others declared: sanitizers,
schemas, the conditions of policies.
"""


class TurnTaker:
    """Takes turns."""

    def __init__(
        self,
        deciding: Deciding,
        admitting: Admitting,
        *,
        pipeline: Pipeline,
        dispatcher: Dispatcher,
        worked_us: Callable[[], int],
        revocations: Revocations | None = None,
    ) -> None:
        """`worked_us` tells how long the thread has computed. Without `revocations` nothing is revoked."""
        self._deciding = deciding
        self._admitting = admitting
        self._pipeline = pipeline
        self._dispatcher = dispatcher
        self._worked_us = worked_us
        self._revocations = revocations or Revocations()

    def tool_of(self, resident: Resident, step: Step) -> tuple[ToolVersion, int]:
        """The tool version a step calls, and its heartbeat timeout in milliseconds (0: none)."""
        return self._admitting.tool_of(resident, step)

    def take(self, resident: Resident, now_us: int) -> Turn:
        """Decide all that is in the mailbox, and everything that follows until nothing does."""
        turn = Turn(resident, now_us, self._worked_us() + TURN_US)
        allowance = self._deciding.allowance
        allowance.left = ALLOWANCE
        if not resident.envelope:
            resident.envelope = encode_envelope(
                shard=SHARD, tenant=resident.key.tenant, stream_id=resident.key.workflow_id
            )
        try:
            if resident.revocations_seen != self._revocations.revision and resident.state.started:
                self._cancel_revoked(turn)
            while resident.mailbox and self._goes_on(turn):
                self._read(turn, resident.mailbox[0])
                resident.mailbox.popleft()
            self._follow(turn)
        except PayloadNotLoadedError as error:
            # What was decided stays decided; the rest waits for the value, in its order.
            turn.missing = error.reference
        except Exception:
            self.take_back(turn)
            self._pipeline.unrecorded(turn.resident.key.tenant, self._pipeline.take_beside())
            for reply, _ in turn.replies:
                reply(Unavailable("INTERNAL_TURN_FAILED", "the turn failed; the service's log tells more"), 0)
            raise
        turn.is_cut = allowance.left < 0
        self._record_beside(turn)
        return turn

    def _goes_on(self, turn: Turn) -> bool:
        """Whether a turn may begin with something more. It may until it has found something, however slow that was."""
        if turn.admissions >= ADMISSIONS_PER_TURN or self._deciding.allowance.left < 0:
            return False
        return not turn.events or self._worked_us() < turn.until_us

    def _cancel_revoked(self, turn: Turn) -> None:
        """End a workflow whose authority was revoked since its last turn, in the name of who revoked it."""
        resident = turn.resident
        resident.revocations_seen = self._revocations.revision
        hit = revoked(resident, self._revocations)
        if hit is not None:
            cause = encode_envelope(
                shard=0, tenant="", stream_id="", principal=hit.revoked_by, causation_position=hit.position
            )
            self._deciding.apply(turn, cancel_command(hit, turn.now_us), resident.envelope + cause)

    def _read(self, turn: Turn, mail: Mail) -> None:
        error: Exception | None = None
        resident = turn.resident
        try:
            content = mail.content
            if isinstance(content, Offer):
                self._offered(turn, content)
            elif content is not None:
                command = content(resident.state) if callable(content) else content
                if command is not None:
                    if mail.cause is not None and not resident.state.started:
                        resident.trace_context = mail.cause.trace_context
                    self._deciding.apply(turn, command, self._envelope(resident, mail.cause))
        except (DomainError, StaleFenceError) as refused:
            error = refused
        if mail.reply is not None:
            turn.replies.append((mail.reply, error))

    def _envelope(self, resident: Resident, cause: Cause | None) -> bytes:
        # The fields that name the cause come after those that name the stream.
        return resident.envelope if cause is None else resident.envelope + cause.encoded

    def _follow(self, turn: Turn) -> None:
        """Settle and admit until nothing follows any more."""
        resident = turn.resident
        advance, allowance = c.Advance(turn.now_us), self._deciding.allowance
        while True:
            state = resident.state
            is_settled = not state.to_settle and (state.unfinished or state.open)
            if not is_settled and allowance.left >= 0 and self._deciding.apply(turn, advance, resident.envelope):
                continue
            if not self._look_at_changes(turn):
                return

    def _look_at_changes(self, turn: Turn) -> bool:
        """Act on what steps ask for now; whether that caused events."""
        resident = turn.resident
        before = len(turn.events)
        tenant, workflow_id = resident.key
        for step_id, effect in changed_effects(resident.state).items():
            if isinstance(effect, Admit):
                step = resident.state.steps[step_id]
                if step.attempts or step.link:
                    # The attempt before this one does not run any more, nor does it wait for another tool's place.
                    key = StepKey(tenant, workflow_id, step_id)
                    turn.settled.append(key)
                    self._ended_without_outcome(turn, key)
                if effect.not_before_us <= turn.now_us:
                    resident.unadmitted[step_id] = None
            elif isinstance(effect, Queue):
                step = resident.state.steps[step_id]
                key, tool = StepKey(tenant, workflow_id, step_id), tool_version(resident, step)
                turn.queued.append((key, tool))
                if key not in turn.delayed:
                    # Told here as well as when it was decided: after a restart it is only found to wait.
                    self._pipeline.queued(key, tool.tool)
            elif isinstance(effect, Run):
                turn.running.append(effect)
            else:
                key = StepKey(tenant, workflow_id, step_id)
                turn.settled.append(key)
                self._ended_without_outcome(turn, key)
        while resident.unadmitted and self._goes_on(turn):
            step_id = next(iter(resident.unadmitted))
            step = resident.state.steps[step_id]
            if step.state in (s.READY, s.BACKING_OFF):
                self._admitting.admit(turn, step, None)
            del resident.unadmitted[step_id]
        return len(turn.events) > before

    def _offered(self, turn: Turn, offer: Offer) -> None:
        resident, place = turn.resident, offer.executor
        step = resident.state.steps.get(offer.step_id)
        is_waiting = step is not None and step.state == s.QUEUED and resident.state.running
        # It may wait for another tool by now, that of a link of its fallback chain.
        fits = place is None or (step is not None and self._dispatcher.fits(place, tool_version(resident, step)))
        if step is None or not is_waiting or not fits:
            if place is not None:
                self._dispatcher.give_back(place)
            return
        self._admitting.admit(turn, step, offer.executor)
        key = StepKey(*turn.resident.key, step.id)
        # The engine looks at changes, and that it goes on waiting, now for a place, is none.
        if offer.executor is None and step.state == s.QUEUED and key not in turn.delayed:
            turn.queued.append((key, tool_version(turn.resident, step)))

    def resumed(self, key: StepKey, attempt: int, tool: ToolVersion) -> None:
        """An attempt was found running that this process has not started."""
        self._pipeline.resumed(key, attempt, tool.tool)

    def take_back(self, turn: Turn) -> None:
        """What a turn started has not started, and what it ended runs on: it failed, or its append did."""
        resident = turn.resident
        for key, _ in turn.queued:
            self._pipeline.ended(AttemptEnd(key, turn.now_us))
        started = set()
        for assigned in turn.assigned:
            self._dispatcher.give_back(assigned.executor)
            reference = assigned.item.assign.attempt
            started.add((reference.step_id, reference.attempt))
            step = (resident.key.tenant, reference.workflow_id, reference.step_id)
            self._pipeline.ended(AttemptEnd(step, turn.now_us, reference.attempt))
        for end in turn.ended:
            _, _, step_id = end.step
            if (step_id, end.attempt) not in started:
                self._pipeline.resumed(end.step, end.attempt, end.tool)
        for index in turn.successes:
            success: Any = turn.events[index].payload
            self._pipeline.undone(StepKey(*resident.key, success.step_id))
        for key in turn.delayed:
            self._ended_without_outcome(turn, key)
        beside = ((each.stream_id, new.payload) for each in turn.beside for new in each.events)
        self._pipeline.unrecorded(resident.key.tenant, beside)

    def made_durable(self, turn: Turn, first_position: int) -> None:
        """What a turn found is durable, from that position of the log on."""
        for index in turn.successes:
            success: Any = turn.events[index].payload
            step = StepKey(*turn.resident.key, success.step_id)
            self._pipeline.durable(step, success, first_position + index, turn.now_us)

    def _ended_without_outcome(self, turn: Turn, key: StepKey) -> None:
        """Tell the guards that nothing of the step runs any more; a no-op for who was told its outcome."""
        self._pipeline.ended(AttemptEnd(key, turn.now_us))

    def _record_beside(self, turn: Turn) -> None:
        """Put what guards have on record into the turn's append."""
        tenant = turn.resident.key.tenant
        for stream_id, payload in self._pipeline.take_beside():
            envelope = encode_envelope(shard=SHARD, tenant=tenant, stream_id=stream_id)
            turn.beside.append(StreamAppend(tenant, stream_id, ANY_VERSION, [NewEvent(payload, envelope)]))
