"""Asks admission for a step, and does what it says: start an attempt, queue it, deny it, answer it.

Invariant: a place on an executor that was offered or taken is used by an attempt that starts, or given back.
"""

from __future__ import annotations

from podium.v1 import events_pb2, executor_service_pb2, value_pb2
from service.admission.pipeline import Admission, Pipeline
from service.admission.tool_request import ToolRequest
from service.admission.verdicts import Allowed, Answered, Denied, Rejected, Wait
from service.domain import commands as c
from service.domain.fallback import STALE_MISS, stale_link
from service.domain.state import DIRECT, LATEST_US, US_PER_MS, Step
from service.domain.templates import TemplateError
from service.domain.trace_context import attempt_traceparent, trace_of
from service.domain.values import SealBrokenError, make_arguments
from service.engine.deciding import Deciding
from service.engine.dispatch import Dispatcher, Executor
from service.engine.keys import StepKey, ToolVersion
from service.engine.resident import Resident
from service.engine.sealing import Sealing
from service.engine.secrets import NoSecrets, SecretSource, SecretWithheld, Versions, secrets_for
from service.engine.turn import Assigned, Pinned, Timing, Turn


class Admitting:
    """Admits steps. Holds what admission needs from outside."""

    def __init__(  # noqa: PLR0913 - what admission needs from outside
        self,
        deciding: Deciding,
        *,
        pipeline: Pipeline,
        tools: Versions,
        dispatcher: Dispatcher,
        timing: Timing,
        inline_limit_bytes: int,
        sealing: Sealing | None = None,
        secrets: SecretSource = NoSecrets(),  # noqa: B008 - it holds nothing
        trace_ratio: float | None = None,
    ) -> None:
        """Without `sealing` nothing that is sealed can be opened. Without `trace_ratio` attempts have no spans."""
        self._trace_ratio = trace_ratio
        self._deciding = deciding
        self._pipeline = pipeline
        self._tools = tools
        self._dispatcher = dispatcher
        self._timing = timing
        self._inline_limit_bytes = inline_limit_bytes
        self._sealing = sealing
        self._secrets = secrets
        self._pinned: dict[tuple[str, str, int], Pinned] = {}
        """Versions of tools that were asked for: they never change, and are as many as the catalogue has."""

    def admit(self, turn: Turn, step: Step, place: Executor | None) -> None:
        """Ask admission for a step. A place that was offered is used or given back."""
        resident = turn.resident
        turn.admissions += 1
        try:
            arguments = make_arguments(resident.state, step, self._deciding.ports(resident.key.tenant))
        except (SealBrokenError, TemplateError, ValueError) as error:
            reason = "SEAL_BROKEN" if isinstance(error, SealBrokenError) else "REFERENCE_ERROR"
            failure = value_pb2.Failure(reason=reason, message=str(error))
            self._give_up(turn, c.FailStep(turn.now_us, step.id, failure), place)
            return
        pinned = self.pinned_to(resident, step)
        if pinned is None:
            tool = tool_version(resident, step)
            failure = value_pb2.Failure(reason="TOOL_MISSING", message=f"{tool.tool} version {tool.version} is unknown")
            self._give_up(turn, c.FailStep(turn.now_us, step.id, failure), place)
            return
        tool = pinned.version
        request = ToolRequest(
            tenant=tool.tenant,
            workflow_id=resident.key.workflow_id,
            step_id=step.id,
            attempt=step.attempts + 1,
            tool=pinned.definition,
            tool_version=tool.version,
            authority=resident.state.authorities[step.plan.authority],
            arguments_json=arguments.text,
        )
        request.priority = resident.state.priority
        if arguments.hold_secrets and self._sealing is not None:
            request.digest = self._sealing.of(tool.tenant).keyed_digest
        wanted = stale_link(step)
        if wanted is None:
            self._carry_out(turn, step, tool, request, self._pipeline.admit(request, turn.now_us), place)
            return
        max_age_us = wanted.max_age_ms * US_PER_MS or LATEST_US
        found = self._pipeline.old_result(request, max_age_us, turn.now_us)
        if found is None:
            failure = value_pb2.Failure(
                reason=STALE_MISS, message=f"there is no old result of {tool.tool} to fall back on"
            )
            self._give_up(turn, c.FailStep(turn.now_us, step.id, failure), place)
        else:
            self._carry_out(turn, step, tool, request, found, place)

    def _carry_out(
        self,
        turn: Turn,
        step: Step,
        tool: ToolVersion,
        request: ToolRequest,
        admission: Admission,
        place: Executor | None,
    ) -> None:
        """Do what admission said."""
        resident = turn.resident
        verdict = admission.verdict
        if isinstance(verdict, Allowed):
            assert admission.permission_checked is not None, "an allowed call was checked"
            self._start_or_queue(turn, step, tool, request, admission.permission_checked, place)
        elif isinstance(verdict, Denied):
            deny = c.DenyStep(
                turn.now_us,
                step.id,
                verdict.guard,
                verdict.failure,
                admission.permission_checked,
                admission.input_rejected,
            )
            self._give_up(turn, deny, place)
        elif isinstance(verdict, Rejected):
            reject = c.RejectAttempt(
                turn.now_us, step.id, verdict.guard, verdict.failure, admission.permission_checked, verdict.chance
            )
            self._give_up(turn, reject, place)
        elif isinstance(verdict, Wait):
            limited = verdict.limited
            if limited is not None and resident.state.kind in DIRECT:
                # Somebody waits for the answer, and knows better whether it is worth the wait.
                failure = _limit_failure(limited, turn.now_us)
                deny = c.DenyStep(
                    turn.now_us, step.id, "rate_limit", failure, admission.permission_checked, limited=limited
                )
                self._give_up(turn, deny, place)
            else:
                turn.delayed[StepKey(*resident.key, step.id)] = (tool, verdict)
                queue = self._queue(turn, step, verdict.reason, limited, guard=admission.guard)
                self._give_up(turn, queue, place)
        elif isinstance(verdict, Answered):
            answer = c.AnswerStep(turn.now_us, step.id, admission.permission_checked, verdict.value, verdict.hit)
            self._give_up(turn, answer, place)

    def _give_up(self, turn: Turn, command: c.Command, place: Executor | None) -> None:
        self._deciding.apply(turn, command, turn.resident.envelope)
        if place is not None:
            self._dispatcher.give_back(place)

    def _queue(
        self,
        turn: Turn,
        step: Step,
        reason: str,
        limited: events_pb2.RateLimited | None = None,
        *,
        guard: str = "",
    ) -> c.QueueStep:
        self._pipeline.queued((*turn.resident.key, step.id), step.call.tool, guard)
        wait_ms = step.plan.definition.timeouts.schedule_to_start_ms or self._timing.schedule_to_start_ms
        return c.QueueStep(turn.now_us, step.id, reason, wait_ms, limited)

    def _start_or_queue(
        self,
        turn: Turn,
        step: Step,
        tool: ToolVersion,
        request: ToolRequest,
        check: events_pb2.PermissionChecked,
        place: Executor | None,
    ) -> None:
        if place is not None and self._dispatcher.stopped:
            # It was offered before.
            self._dispatcher.give_back(place)
            place = None
        place = place or self._dispatcher.take(tool)
        if place is None:
            reason = self._dispatcher.lacks(tool)
            self._deciding.apply(turn, self._queue(turn, step, reason), turn.resident.envelope)
            return
        bounds = step.plan.definition.timeouts
        timeout_ms = bounds.start_to_close_ms or request.tool.timeout_ms or self._timing.start_to_close_ms
        timeout_ms = min(timeout_ms, request.timeout_ms or timeout_ms)
        heartbeat_ms = bounds.heartbeat_ms or request.tool.heartbeat_timeout_ms
        session = place.session
        try:
            secrets = secrets_for(place, tool, request.tool, self._tools, self._secrets)
        except SecretWithheld as withheld:
            self._give_up(turn, c.FailStep(turn.now_us, step.id, withheld.failure), place)
            return
        names = [secret.name for secret in secrets]
        command = c.StartAttempt(turn.now_us, step.id, check, session.executor, session.session_id, timeout_ms, names)
        self._deciding.apply(turn, command, turn.resident.envelope)
        self._pipeline.started(request, turn.now_us)
        workflow_id = turn.resident.key.workflow_id
        # Filled in place: each message that is handed to the constructor of another is copied.
        item = executor_service_pb2.ServiceItem()
        assignment = item.assign
        reference = assignment.attempt
        reference.workflow_id = workflow_id
        reference.step_id = step.id
        reference.attempt = step.attempts
        reference.fence = step.fence
        assignment.tool = tool.tool
        assignment.tool_version = tool.version
        if len(request.arguments_json) <= self._inline_limit_bytes:
            assignment.arguments_json = request.arguments_json
        assignment.idempotency_key = f"{workflow_id}/{step.id}"
        if step.link:
            # Another tool has not seen the key of the step itself, and must not take it for one of its own.
            assignment.idempotency_key += f"/link{step.link}"
        assignment.timeout_ms = timeout_ms
        assignment.heartbeat_timeout_ms = heartbeat_ms
        assignment.tenant = tool.tenant
        assignment.principal.CopyFrom(request.authority.principal)
        assignment.trace_context = self._trace_context(turn.resident, step)
        if secrets:
            assignment.secrets.extend(secrets)
        turn.assigned.append(Assigned(place, tool, item, heartbeat_ms))

    def _trace_context(self, resident: Resident, step: Step) -> str:
        """The traceparent of an attempt: of its own span where spans are made, or else of the caller's."""
        caller = resident.trace_context
        if self._trace_ratio is None:
            return caller
        trace = trace_of(*resident.key, caller, self._trace_ratio)
        return attempt_traceparent(trace, *resident.key, step.id, step.attempts)

    def pinned_to(self, resident: Resident, step: Step) -> Pinned | None:
        """The tool a step is pinned to where it is in its chain; None: the catalogue does not know it."""
        call = step.call
        key = (resident.key.tenant, call.tool, call.tool_version)
        pinned = self._pinned.get(key)
        if pinned is None:
            definition = self._tools.definition(*key)
            if definition is not None:
                pinned = self._pinned[key] = Pinned(ToolVersion(*key), definition)
        return pinned

    def tool_of(self, resident: Resident, step: Step) -> tuple[ToolVersion, int]:
        """The tool version a step is pinned to, and its heartbeat timeout in milliseconds (0: none)."""
        pinned = self.pinned_to(resident, step)
        own_ms = pinned.definition.heartbeat_timeout_ms if pinned is not None else 0
        return tool_version(resident, step), step.plan.definition.timeouts.heartbeat_ms or own_ms


def _limit_failure(limited: events_pb2.RateLimited, now_us: int) -> value_pb2.Failure:
    retry_after_ms = max(1, -(-(limited.retry_at_us - now_us) // 1000))
    return value_pb2.Failure(
        reason="RATE_LIMITED",
        message=f"the limit {limited.limit} lets it through in {retry_after_ms} ms",
        retryable=True,
        retry_after_ms=retry_after_ms,
    )


def tool_version(resident: Resident, step: Step) -> ToolVersion:
    """The version of a tool that a step calls."""
    call = step.call
    return ToolVersion(resident.key.tenant, call.tool, call.tool_version)
