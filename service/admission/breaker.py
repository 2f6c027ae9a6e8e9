"""The guard of breakers, the last of all: a tool that keeps failing is not called for a while.

Asking takes no permit. An attempt takes it when it starts, in the turn in which it was asked about, and gives it back
when it ends. What a breaker does because of either is recorded in the append of that turn; should the append fail, the
breaker stays as it is, because what it has seen did happen, and the next turn that touches it records where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from google.protobuf.message import Message

from podium.v1 import events_pb2, value_pb2
from service.admission.breaker_book import BreakerBook, ToolBreaker
from service.admission.breaker_line import BreakerLine
from service.admission.guards import AttemptEnd, Ledger
from service.admission.tool_request import ToolRequest
from service.admission.verdicts import ALLOWED, LOOK_AGAIN_US, Allowed, Rejected, Step, Verdict, Wait
from service.domain.breaker import ANY_NUMBER, Transition
from service.domain.breaker_settings import FORCED_OPEN, HALF_OPEN
from service.domain.priorities import rank_of
from service.domain.state import US_PER_MS


class BreakerGuard:
    """Lets an attempt through when the breaker of its tool does."""

    name = "breaker"

    def __init__(self, book: BreakerBook, ledger: Ledger, chance: Callable[[], float]) -> None:
        """`chance` is a random number in [0, 1), for the backoff of what is rejected."""
        self._book = book
        self._ledger = ledger
        self._chance = chance
        self._asked: tuple[ToolRequest | None, ToolBreaker | None] = (None, None)
        self._under_way: dict[Hashable, ToolBreaker] = {}

    def check(self, request: ToolRequest, now_us: int) -> Verdict:
        """Decide from memory; see service.admission.pipeline.Guard."""
        if not self._book.has_any(request.tenant):
            return ALLOWED
        kept = self._book.of(request.tenant, request.tool.name)
        if kept is None:
            return ALLOWED
        self._catch_up(kept, request, now_us)
        breaker, step = kept.breaker, _step(request)
        room = breaker.room(now_us)
        if room != ANY_NUMBER:
            room -= kept.line.kept_for_others(step, now_us)
        if room > 0:
            self._asked = (request, kept)
            timeout_us = breaker.timeout_us
            return Allowed(timeout_ms=timeout_us // US_PER_MS) if timeout_us else ALLOWED
        if breaker.settings.waits:
            return _wait(kept, step, rank_of(request.priority), now_us)
        breaker.refuse()
        return Rejected(self.name, _failure(kept, now_us), self._chance())

    def started(self, request: ToolRequest, now_us: int) -> None:
        """Take the permit of an attempt that was asked about last; see service.admission.pipeline.Counting."""
        asked, kept = self._asked
        if asked is not request or kept is None:
            return
        self._asked = (None, None)
        step = _step(request)
        transition = kept.breaker.start(step, request.attempt, now_us)
        kept.line.started(step)
        self._under_way[step] = kept
        if transition is not None:
            self._record(kept, transition, now_us, (*step, request.attempt))

    def resumed(self, step: Step, attempt: int, tool: str) -> None:
        """See service.admission.pipeline.Following."""
        if self._book.has_any(step[0]):
            kept = self._book.of(step[0], tool)
            if kept is not None:
                kept.breaker.resume(step, attempt)
                self._under_way[step] = kept

    def ended(self, end: AttemptEnd) -> None:
        """See service.admission.pipeline.Following."""
        kept = self._under_way.get(end.step) if self._under_way else None
        if kept is None:
            return
        breaker, outcome = kept.breaker, end.outcome
        attempt = breaker.attempt_of(end.step)
        if end.attempt not in (0, attempt):
            return
        del self._under_way[end.step]
        cause = (*end.step, attempt)
        if outcome is not None:
            # Without an outcome there may be no turn that records what is due.
            self._catch_up(kept, cause, end.now_us)
        reason = None
        if isinstance(outcome, events_pb2.AttemptFailed):
            reason = outcome.failure.reason or "UNKNOWN"
        elif outcome is not None:
            reason = ""
        transition = breaker.end(end.step, attempt, reason, end.now_us)
        if transition is not None:
            self._record(kept, transition, end.now_us, cause)
        else:
            self._wake_those_who_wait(kept, end.now_us)

    def unrecorded(self, tenant: str, stream_id: str, payload: Message) -> None:
        """See service.admission.pipeline.Recording."""
        if isinstance(payload, events_pb2.BreakerTransitioned):
            kept = self._book.kept(tenant, payload.tool)
            # One that was followed by another is of no consequence: the later one says where the breaker stands.
            if kept.last is not None and kept.last is payload and kept.stream_id == stream_id:
                kept.is_owed = True

    def found(self, kept: ToolBreaker) -> None:
        """A breaker was found in the log, with the attempts that it says are under way."""
        for step in kept.breaker.under_way:
            self._under_way[step] = kept

    def policy_changed(self, tenant: str) -> None:
        """By another policy somebody who waits for a breaker of a tenant asks, and finds out what it means."""
        for kept in self._book.of_tenant(tenant):
            kept.line.stir()

    def set(
        self, kept: ToolBreaker, event: events_pb2.BreakerTransitioned, recorded_at_us: int, *, is_last: bool
    ) -> None:
        """Somebody set a breaker. Unless it `is_last`, a turn recorded one behind it, and it is told again."""
        kept.breaker.restore(event, recorded_at_us)
        kept.last, kept.is_owed = event, not is_last
        kept.line.stir()

    def _catch_up(self, kept: ToolBreaker, cause: ToolRequest | tuple[str, str, str, int], now_us: int) -> None:
        """Record what is owed, follow the policy in force, and end a phase whose time is over."""
        if kept.is_owed and kept.last is not None:
            kept.is_owed = False
            owed = events_pb2.BreakerTransitioned()
            owed.CopyFrom(kept.last)
            # The attempt that caused it may not be on record: this says where the breaker stands.
            for field in ("workflow_id", "step_id", "attempt"):
                owed.ClearField(field)
            kept.last = owed
            self._ledger.record(kept.stream_id, owed)
        if isinstance(cause, ToolRequest):
            cause = (*_step(cause), cause.attempt)
        if not kept.is_current:
            kept.policy = self._book.policy_of(kept.tenant)
            adopted = kept.breaker.adopt(kept.settings_in_force, now_us)
            if adopted is not None:
                self._record(kept, adopted, now_us, cause)
            self._wake_those_who_wait(kept, now_us)
        over = kept.breaker.pass_time(now_us)
        if over is not None:
            self._record(kept, over, now_us, cause)

    def _record(self, kept: ToolBreaker, transition: Transition, now_us: int, cause: tuple[str, str, str, int]) -> None:
        _, workflow_id, step_id, attempt = cause
        message = events_pb2.BreakerTransitioned(workflow_id=workflow_id, step_id=step_id, attempt=attempt)
        kept.last = kept.message(transition, message)
        kept.is_owed = False
        self._ledger.record(kept.stream_id, message)
        self._wake_those_who_wait(kept, now_us)

    def _wake_those_who_wait(self, kept: ToolBreaker, now_us: int) -> None:
        if len(kept.line) and kept.room_for_those_who_wait(now_us):
            kept.line.stir()


def _step(request: ToolRequest) -> Step:
    return request.tenant, request.workflow_id, request.step_id


def _wait(kept: ToolBreaker, step: Step, rank: int, now_us: int) -> Wait:
    def join() -> BreakerLine:
        kept.line.join(step, rank)
        return kept.line

    again_us = kept.breaker.over_at_us
    until_us = min(again_us if again_us > now_us else now_us + LOOK_AGAIN_US, now_us + LOOK_AGAIN_US)
    return Wait(until_us, f"the breaker of {kept.tool}", join=join)


def _failure(kept: ToolBreaker, now_us: int) -> value_pb2.Failure:
    """Why an attempt was not made, with the time of the next try where it is known."""
    breaker = kept.breaker
    at_us = breaker.tries_again_at_us()
    retry_after_ms = max(1, -(-(at_us - now_us) // US_PER_MS)) if at_us else 0
    if breaker.state == FORCED_OPEN:
        why = "is held open until somebody closes it" if breaker.held else "is held open by the policy"
    elif breaker.state == HALF_OPEN:
        why = "is half-open, and as many attempts as it lets through are under way"
    else:
        why = f"is open, and lets an attempt through in {retry_after_ms} ms"
    return value_pb2.Failure(
        reason="BREAKER_OPEN",
        message=f"the breaker of {kept.tool} {why}",
        retryable=True,
        retry_after_ms=retry_after_ms,
    )
