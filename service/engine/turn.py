"""A turn: everything in a workflow's mailbox is decided and evolved ahead of durability, then what follows from it.

A turn changes memory only. What it found is released by the engine once the one append it asks for is durable; if
the append fails, the workflow is dropped and folded again from the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import Message

from podium.v1 import definition_pb2, events_pb2, executor_service_pb2, value_pb2
from service.admission.pipeline import Allowed, Answered, Denied, Pipeline, ToolRequest, Wait
from service.domain import commands as c
from service.domain import state as s
from service.domain.conditions import Expressions
from service.domain.decide import Rules, StaleFenceError, decide
from service.domain.effects import Admit, Queue, Run, changed_effects
from service.domain.errors import DomainError, Unavailable
from service.domain.evolve import evolve
from service.domain.revocations import Revocations
from service.domain.state import Step, TimerKind
from service.domain.templates import TemplateError
from service.domain.values import PayloadNotLoadedError, Ports, SealBrokenError, make_arguments
from service.engine.dispatch import Dispatcher, Executor
from service.engine.keys import StepKey, ToolVersion
from service.engine.payloads import PayloadCache
from service.engine.resident import Cause, Mail, Offer, Reply, Resident
from service.engine.revoked_work import cancel_command, revoked
from service.engine.sealing import Sealing
from service.engine.secrets import NoSecrets, SecretSource, SecretWithheld, Versions, secrets_for
from store.contract import SHARD, NewEvent
from store.records import encode_envelope

ADMISSIONS_PER_TURN = 500
"""Steps admitted in one turn; the rest have the next one, so that other workflows have theirs in between."""
_TEMPLATE_BYTES, _LITERAL_BYTES = 128, 16 * 1024
"""Of arguments that count as another step admitted: those with holes take as long as far longer ones without."""
_DIRECT = frozenset({events_pb2.WORKFLOW_KIND_CALL, events_pb2.WORKFLOW_KIND_BATCH})
"""Kinds of workflows for whose outcome a caller waits."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Default bounds of an attempt, in milliseconds."""

    start_to_close_ms: int = 300_000
    schedule_to_start_ms: int = 600_000


class Pinned(NamedTuple):
    """The version of a tool that steps are pinned to."""

    version: ToolVersion
    definition: definition_pb2.ToolDefinition


class Assigned(NamedTuple):
    """An attempt that is to be sent to its executor once it is durable."""

    executor: Executor
    tool: ToolVersion
    item: executor_service_pb2.ServiceItem
    heartbeat_ms: int


@dataclass(slots=True)
class Turn:
    """What a turn found."""

    resident: Resident
    now_us: int
    events: list[NewEvent] = field(default_factory=list)
    replies: list[tuple[Reply, Exception | None]] = field(default_factory=list)
    assigned: list[Assigned] = field(default_factory=list)
    queued: list[tuple[StepKey, ToolVersion]] = field(default_factory=list)
    running: list[Run] = field(default_factory=list)
    settled: list[StepKey] = field(default_factory=list)
    delayed: dict[StepKey, tuple[ToolVersion, Wait]] = field(default_factory=dict)
    """Queued steps about which a guard wants to be asked again only at a time."""
    admissions: int = 0
    missing: value_pb2.PayloadReference | None = None
    """A stored value that must be loaded before the turn can go on."""


class TurnTaker:
    """Takes turns. Holds what the domain and admission need from outside."""

    def __init__(  # noqa: PLR0913 - whatever a decision rests on comes from outside
        self,
        *,
        pipeline: Pipeline,
        expressions: Expressions,
        payloads: PayloadCache,
        tools: Versions,
        dispatcher: Dispatcher,
        rules: Rules,
        timing: Timing,
        inline_limit_bytes: int,
        sealing: Sealing | None = None,
        revocations: Revocations | None = None,
        secrets: SecretSource = NoSecrets(),  # noqa: B008 - it holds nothing
    ) -> None:
        """Without `sealing` nothing that is sealed can be opened; without `revocations` nothing is revoked."""
        self._secrets = secrets
        self._pipeline = pipeline
        self._expressions = expressions
        self._payloads = payloads
        self._tools = tools
        self._dispatcher = dispatcher
        self._rules = rules
        self._timing = timing
        self._inline_limit_bytes = inline_limit_bytes
        self._sealing = sealing
        self._revocations = revocations or Revocations()
        self._ports: dict[str, Ports] = {}
        self._pinned: dict[tuple[str, str, int], Pinned] = {}
        """Versions of tools that were asked for: they never change, and are as many as the catalogue has."""

    def ports(self, tenant: str) -> Ports:
        """The domain's ports for a tenant."""
        ports = self._ports.get(tenant)
        if ports is None:
            seals = self._sealing.of(tenant) if self._sealing is not None else None
            ports = self._ports[tenant] = Ports(self._expressions, self._payloads.of(tenant), seals)
        return ports

    def tool_of(self, resident: Resident, step: Step) -> tuple[ToolVersion, int]:
        """The tool version a step is pinned to, and its heartbeat timeout in milliseconds (0: none)."""
        pinned = self._pinned_to(resident, step)
        own_ms = pinned.definition.heartbeat_timeout_ms if pinned is not None else 0
        return _tool_version(resident, step), step.plan.definition.timeouts.heartbeat_ms or own_ms

    def _pinned_to(self, resident: Resident, step: Step) -> Pinned | None:
        """The tool a step is pinned to; None: the catalogue does not know it."""
        plan = step.plan.definition
        key = (resident.key.tenant, plan.tool, plan.tool_version)
        pinned = self._pinned.get(key)
        if pinned is None:
            definition = self._tools.definition(*key)
            if definition is not None:
                pinned = self._pinned[key] = Pinned(ToolVersion(*key), definition)
        return pinned

    def take(self, resident: Resident, now_us: int) -> Turn:
        """Decide all that is in the mailbox, and everything that follows until nothing does."""
        turn = Turn(resident, now_us)
        if not resident.envelope:
            resident.envelope = encode_envelope(
                shard=SHARD, tenant=resident.key.tenant, stream_id=resident.key.workflow_id
            )
        try:
            if resident.revocations_seen != self._revocations.revision and resident.state.started:
                self._cancel_revoked(turn)
            while resident.mailbox and turn.admissions < ADMISSIONS_PER_TURN:
                self._read(turn, resident.mailbox[0])
                resident.mailbox.popleft()
            self._follow(turn)
        except PayloadNotLoadedError as error:
            # What was decided stays decided; the rest waits for the value, in its order.
            turn.missing = error.reference
        except Exception:
            for assigned in turn.assigned:
                self._dispatcher.give_back(assigned.executor)
            for reply, _ in turn.replies:
                reply(Unavailable("INTERNAL_TURN_FAILED", "the turn failed; the service's log tells more"), 0)
            raise
        return turn

    def _cancel_revoked(self, turn: Turn) -> None:
        """End a workflow whose authority was revoked since its last turn, in the name of who revoked it."""
        resident = turn.resident
        resident.revocations_seen = self._revocations.revision
        hit = revoked(resident, self._revocations)
        if hit is not None:
            cause = encode_envelope(
                shard=0, tenant="", stream_id="", principal=hit.revoked_by, causation_position=hit.position
            )
            self._apply(turn, cancel_command(hit, turn.now_us), resident.envelope + cause)

    def _read(self, turn: Turn, mail: Mail) -> None:
        error: Exception | None = None
        try:
            content = mail.content
            if isinstance(content, Offer):
                self._offered(turn, content)
            elif content is not None:
                command = content(turn.resident.state) if callable(content) else content
                if command is not None:
                    self._apply(turn, command, self._envelope(turn.resident, mail.cause))
        except (DomainError, StaleFenceError) as refused:
            error = refused
        if mail.reply is not None:
            turn.replies.append((mail.reply, error))

    def _envelope(self, resident: Resident, cause: Cause | None) -> bytes:
        # The fields that name the cause come after those that name the stream.
        return resident.envelope if cause is None else resident.envelope + cause.encoded

    def _apply(self, turn: Turn, command: c.Command, envelope: bytes) -> list[Message]:
        resident = turn.resident
        if type(command) is c.TimePassed:
            for _, _, kind, step_id, _ in resident.state.due(command.now_us):
                if kind is TimerKind.RETRY:
                    resident.unadmitted[step_id] = None
        events = decide(resident.state, command, self.ports(resident.key.tenant), self._rules)
        for event in events:
            evolve(resident.state, event)
            turn.events.append(NewEvent(event, envelope))
        return events

    def _follow(self, turn: Turn) -> None:
        """Settle and admit until nothing follows any more."""
        resident = turn.resident
        advance = c.Advance(turn.now_us)
        while True:
            state = resident.state
            is_settled = not state.to_settle and (state.unfinished or state.open)
            if not is_settled and self._apply(turn, advance, resident.envelope):
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
                if resident.state.steps[step_id].attempts:
                    # The attempt before this one does not run any more.
                    turn.settled.append(StepKey(tenant, workflow_id, step_id))
                if effect.not_before_us <= turn.now_us:
                    resident.unadmitted[step_id] = None
            elif isinstance(effect, Queue):
                step = resident.state.steps[step_id]
                turn.queued.append((StepKey(tenant, workflow_id, step_id), _tool_version(resident, step)))
            elif isinstance(effect, Run):
                turn.running.append(effect)
            else:
                turn.settled.append(StepKey(tenant, workflow_id, step_id))
        while resident.unadmitted and turn.admissions < ADMISSIONS_PER_TURN:
            step_id = next(iter(resident.unadmitted))
            step = resident.state.steps[step_id]
            if step.state in (s.READY, s.BACKING_OFF):
                self._admit(turn, step, None)
            del resident.unadmitted[step_id]
        return len(turn.events) > before

    def _offered(self, turn: Turn, offer: Offer) -> None:
        step = turn.resident.state.steps.get(offer.step_id)
        if step is None or step.state != s.QUEUED or not turn.resident.state.running:
            self._dispatcher.give_back(offer.executor)
            return
        self._admit(turn, step, offer.executor)

    def _admit(self, turn: Turn, step: Step, place: Executor | None) -> None:
        """Ask admission for a step. A place that was offered is used or given back."""
        resident = turn.resident
        turn.admissions += _weight(step.plan.definition.arguments)
        try:
            arguments = make_arguments(resident.state, step, self.ports(resident.key.tenant))
        except (SealBrokenError, TemplateError, ValueError) as error:
            reason = "SEAL_BROKEN" if isinstance(error, SealBrokenError) else "REFERENCE_ERROR"
            failure = value_pb2.Failure(reason=reason, message=str(error))
            self._give_up(turn, c.FailStep(turn.now_us, step.id, failure), place)
            return
        pinned = self._pinned_to(resident, step)
        if pinned is None:
            tool = _tool_version(resident, step)
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
        if arguments.hold_secrets and self._sealing is not None:
            request.digest = self._sealing.of(tool.tenant).keyed_digest
        admission = self._pipeline.admit(request, turn.now_us)
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
        elif isinstance(verdict, Wait):
            limited = verdict.limited
            if limited is not None and resident.state.kind in _DIRECT:
                # Somebody waits for the answer, and knows better whether it is worth the wait.
                failure = _limit_failure(limited, turn.now_us)
                deny = c.DenyStep(
                    turn.now_us, step.id, "rate_limit", failure, admission.permission_checked, limited=limited
                )
                self._give_up(turn, deny, place)
            else:
                turn.delayed[StepKey(*resident.key, step.id)] = (tool, verdict)
                self._give_up(turn, self._queue(turn, step, verdict.reason, limited), place)
        elif isinstance(verdict, Answered):
            answer = c.AnswerStep(turn.now_us, step.id, admission.permission_checked, verdict.value)
            self._give_up(turn, answer, place)

    def _give_up(self, turn: Turn, command: c.Command, place: Executor | None) -> None:
        self._apply(turn, command, turn.resident.envelope)
        if place is not None:
            self._dispatcher.give_back(place)

    def _queue(self, turn: Turn, step: Step, reason: str, limited: events_pb2.RateLimited | None = None) -> c.QueueStep:
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
        place = place or self._dispatcher.take(tool)
        if place is None:
            served = self._dispatcher.sessions(tool.tenant, tool.tool)
            reason = "a free place" if served else f"an executor that serves {tool.tool}"
            self._apply(turn, self._queue(turn, step, reason), turn.resident.envelope)
            return
        bounds = step.plan.definition.timeouts
        timeout_ms = bounds.start_to_close_ms or request.tool.timeout_ms or self._timing.start_to_close_ms
        heartbeat_ms = bounds.heartbeat_ms or request.tool.heartbeat_timeout_ms
        session = place.session
        try:
            secrets = secrets_for(place, tool, request.tool, self._tools, self._secrets)
        except SecretWithheld as withheld:
            self._give_up(turn, c.FailStep(turn.now_us, step.id, withheld.failure), place)
            return
        names = [secret.name for secret in secrets]
        command = c.StartAttempt(turn.now_us, step.id, check, session.executor, session.session_id, timeout_ms, names)
        self._apply(turn, command, turn.resident.envelope)
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
        assignment.timeout_ms = timeout_ms
        assignment.heartbeat_timeout_ms = heartbeat_ms
        assignment.tenant = tool.tenant
        assignment.principal.CopyFrom(request.authority.principal)
        if secrets:
            assignment.secrets.extend(secrets)
        turn.assigned.append(Assigned(place, tool, item, heartbeat_ms))


def _weight(arguments: definition_pb2.Template) -> int:
    """As how many steps one with these arguments counts, by how long it takes to fill and check them."""
    is_literal = arguments.WhichOneof("kind") == "literal_json"
    return 1 + arguments.ByteSize() // (_LITERAL_BYTES if is_literal else _TEMPLATE_BYTES)


def _limit_failure(limited: events_pb2.RateLimited, now_us: int) -> value_pb2.Failure:
    retry_after_ms = max(1, -(-(limited.retry_at_us - now_us) // 1000))
    return value_pb2.Failure(
        reason="RATE_LIMITED",
        message=f"the limit {limited.limit} lets it through in {retry_after_ms} ms",
        retryable=True,
        retry_after_ms=retry_after_ms,
    )


def _tool_version(resident: Resident, step: Step) -> ToolVersion:
    definition = step.plan.definition
    return ToolVersion(resident.key.tenant, definition.tool, definition.tool_version)
