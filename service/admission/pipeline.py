"""The pipeline: asks the guards in order whether a tool may be called now, and fails closed.

No guard runs after one that did not allow the call, and an error in a guard is a denial. Guards decide from memory:
the record of the decision and the start of the attempt are one append.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from podium.v1 import events_pb2, value_pb2
from service.admission.guards import (
    AttemptEnd,
    Beside,
    Counting,
    Following,
    Guard,
    Keeping,
    Ledger,
    NoStaleResults,
    Queueing,
    Recording,
    StaleResults,
)
from service.admission.tool_request import ToolRequest
from service.admission.verdicts import (
    ALLOWED,
    Allowed,
    Denied,
    Verdict,
)

_log = logging.getLogger(__name__)


class Admission(NamedTuple):
    """What the pipeline decided, and the events that say so."""

    verdict: Verdict
    permission_checked: events_pb2.PermissionChecked | None = None
    input_rejected: events_pb2.InputRejected | None = None
    guard: str = ""
    """Who said something else than that the call is allowed or denied."""


class Pipeline:
    """Guards in the order in which they are asked."""

    def __init__(
        self,
        guards: Sequence[Guard],
        ledger: Ledger | None = None,
        *,
        permitting: Sequence[Guard] | None = None,
        stale: StaleResults | None = None,
    ) -> None:
        """`ledger` is where the guards record what they have to say in streams of their own.

        `permitting` are those of the guards that say who may have a result; None: all. `stale` has the old ones.
        """
        self._guards = tuple(guards)
        self._stale = stale or NoStaleResults()
        self._permitting = self._guards if permitting is None else tuple(permitting)
        self._counting = tuple(guard for guard in guards if isinstance(guard, Counting))
        self._following = tuple(guard for guard in guards if isinstance(guard, Following))
        self._keeping = tuple(guard for guard in guards if isinstance(guard, Keeping))
        self._queueing = tuple(guard for guard in guards if isinstance(guard, Queueing))
        self._recording = tuple(guard for guard in guards if isinstance(guard, Recording))
        self._ledger = ledger or Ledger()

    def admit(self, request: ToolRequest, now_us: int) -> Admission:
        """Ask the guards until one does not allow the call. Never raises for what a guard does."""
        return self._ask(self._guards, request, now_us)

    def old_result(self, request: ToolRequest, max_age_us: int, now_us: int) -> Admission | None:
        """An old result in the place of a call, for who might make the call now. Never raises.

        Answered, or Denied; None: there is none, or the cache could not be asked.
        """
        permitted = self._ask(self._permitting, request, now_us)
        if not isinstance(permitted.verdict, Allowed):
            return permitted if isinstance(permitted.verdict, Denied) else None
        try:
            answer = self._stale.stale(request, max_age_us, now_us)
        except Exception as error:  # noqa: BLE001 - a cache that fails has nothing; its text may hold a value
            _log.error("old results could not be looked up: %s", type(error).__name__)
            return None
        return None if answer is None else permitted._replace(verdict=answer)

    def _ask(self, guards: Sequence[Guard], request: ToolRequest, now_us: int) -> Admission:
        checked: events_pb2.PermissionChecked | None = None
        for guard in guards:
            try:
                verdict = guard.check(request, now_us)
            except Exception as error:  # noqa: BLE001 - fail closed
                verdict = _broken(guard, error)
            if verdict is ALLOWED:
                continue
            if isinstance(verdict, Allowed):
                checked = verdict.check or checked
                if verdict.timeout_ms:
                    request.timeout_ms = min(verdict.timeout_ms, request.timeout_ms or verdict.timeout_ms)
                if verdict.arguments_json is not None:
                    request.replace_arguments(verdict.arguments_json)
            elif isinstance(verdict, Denied):
                return Admission(verdict, verdict.check or checked, _input_rejected(request, verdict))
            else:
                return Admission(verdict, checked, guard=guard.name)
        return Admission(ALLOWED, checked)

    def started(self, request: ToolRequest, now_us: int) -> None:
        """An attempt that was admitted in this turn starts: whoever counts counts it, once."""
        for guard in self._counting:
            guard.started(request, now_us)

    def queued(self, step: tuple[str, str, str], tool: str, guard: str = "") -> None:
        """A step waits, for a place or because a `guard` lets it: whoever counts those who wait is told."""
        for each in self._queueing:
            each.queued(step, tool, guard)

    def resumed(self, step: tuple[str, str, str], attempt: int, tool: str) -> None:
        """An attempt was found running, started before this process was: whoever follows attempts is told."""
        for guard in self._following:
            guard.resumed(step, attempt, tool)

    def ended(self, end: AttemptEnd) -> None:
        """An attempt does not run any more: whoever follows attempts is told."""
        for guard in self._following:
            guard.ended(end)

    def durable(
        self, step: tuple[str, str, str], outcome: events_pb2.StepSucceeded, position: int, now_us: int
    ) -> None:
        """An attempt's success is durable: whoever keeps results is told."""
        for guard in self._keeping:
            guard.durable(step, outcome, position, now_us)

    def undone(self, step: tuple[str, str, str]) -> None:
        """An attempt's success could not be recorded: whoever keeps results is told."""
        for guard in self._keeping:
            guard.undone(step)

    def take_beside(self) -> Sequence[Beside]:
        """What the guards have to record with the events of this turn."""
        return self._ledger.take()

    def unrecorded(self, tenant: str, beside: Iterable[Beside]) -> None:
        """What the guards wanted to record is not on record."""
        for stream_id, payload in beside:
            for guard in self._recording:
                guard.unrecorded(tenant, stream_id, payload)


def _broken(guard: Guard, error: Exception) -> Denied:
    """The denial for a guard that raised. The exception's text goes nowhere, nor to the log: it may hold a secret."""
    place = "".join(traceback.format_tb(error.__traceback__))
    _log.error("the guard %s raised %s:\n%s", guard.name, type(error).__name__, place)
    message = f"the guard {guard.name} could not decide, so the call is denied"
    return Denied(guard.name, value_pb2.Failure(reason="GUARD_ERROR", message=message))


def _input_rejected(request: ToolRequest, denied: Denied) -> events_pb2.InputRejected | None:
    if not denied.field:
        return None
    return events_pb2.InputRejected(
        step_id=request.step_id,
        field=denied.field,
        guard=denied.guard,
        message=denied.failure.message,
        reason=denied.reason,
    )
