"""Starting a workflow: the one way in, for workflows, calls and batches of calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from podium.v1 import definition_pb2, events_pb2, value_pb2
from service.api import parts as p
from service.api.authentication import current_caller
from service.api.sealing import check_same_body, recorded_digest, seal_steps
from service.api.sizes import check_grants, check_steps, check_text
from service.api.trace_contexts import current_traceparent
from service.domain import commands as c
from service.domain.errors import InvalidInput, LimitExceeded, NotFound
from service.domain.state import Workflow
from service.domain.template_parsing import check_literal
from service.domain.templates import TemplateError
from service.engine.keys import WorkflowKey
from service.engine.resident import Cause
from service.engine.tenants import QUOTA_EXCEEDED, check_quota
from store.contract import StreamConflictError


@dataclass(frozen=True, slots=True)
class Submission:
    """What is to be started."""

    steps: Sequence[definition_pb2.StepDefinition]
    kind: int
    name: str = ""
    input_json: str = ""
    open: bool = False
    max_parallel: int = 0
    timeout_ms: int = 0
    shorthand: bool = False
    on_behalf_of: str = ""
    narrowed: bool = False
    permissions: Sequence[str] = ()
    cancel_grace_ms: int = 0
    priority: int = definition_pb2.PRIORITY_UNSPECIFIED
    path: str = "steps[{}]"
    """The field of the request that holds a step, with {} for its index."""


async def start(
    parts: p.ApiParts, prefix: str, request_id: str, request: p.Identified, submission: Submission
) -> tuple[WorkflowKey, int]:
    """Start a workflow and wait until it is durable. Returns its key and the log's position.

    The id is derived from the request's, so that the stream itself makes a repeated request harmless: it is taken to
    be new, and when the log knows better, its recorded start is compared with this one.
    """
    parts.load.admit(submission.priority)
    caller = current_caller()
    before, named, _ = submission.path.partition("steps")
    outer = before if named else ""
    check_text(f"{outer}name", submission.name)
    check_grants(f"{outer}permissions", submission.permissions)
    _check_priority(f"{outer}priority", submission.priority)
    workflow_id = p.stream_id_for(prefix, type(request).__name__, request_id, parts.tokens)
    key = WorkflowKey(caller.tenant, workflow_id)
    digest = p.body_digest(request)
    value = await _input(parts, caller.tenant, submission.input_json)
    authority = p.authority_for(
        parts,
        caller,
        now_us=parts.clock.now_us(),
        on_behalf_of=submission.on_behalf_of,
        narrowed=submission.narrowed,
        granted=list(submission.permissions),
    )
    plan = await parts.plans.prepare(
        caller.tenant, submission.steps, shorthand=submission.shorthand, path=submission.path
    )

    def prepare(state: Workflow) -> c.Command | None:
        if state.started:
            check_same_body(parts, caller.tenant, state.request_digest, digest)
            return None
        steps = plan()
        quota = parts.tenants.quotas_of(caller.tenant).open_workflows
        check_quota("open workflows", parts.engine.open_counts.of(caller.tenant), quota)
        steps, sealed = seal_steps(parts, caller.tenant, steps)
        check_steps(submission.path.partition("[")[0], steps, parts.bounds.size_bytes)
        sealed = sealed or (value is not None and value.HasField("sealed"))
        recorded = recorded_digest(parts, caller.tenant, digest, sealed=sealed)
        return _command(parts, submission, steps, authority, value, recorded)

    # With whom the request names, which the token need not.
    cause = Cause(authority.principal, request_id, current_traceparent())
    try:
        return key, await parts.engine.ask(key, prepare, cause, create=True)
    except StreamConflictError:
        return key, await parts.engine.ask(key, prepare, cause)
    except LimitExceeded as refused:
        if not request_id or refused.reason != QUOTA_EXCEEDED:
            raise
        # A request that was accepted before is answered, however much is used now; only the log tells.
        try:
            return key, await parts.engine.ask(key, prepare, cause)
        except NotFound:
            raise refused from None


def _check_priority(field: str, priority: int) -> None:
    """Raise InvalidInput for a priority that the contract does not name."""
    if priority not in definition_pb2.Priority.values():
        problem = "is not known: use low, normal or high"
        raise InvalidInput("INVALID_PRIORITY", f"{field} {problem}", violations=[(field, problem)])


def _command(
    parts: p.ApiParts,
    submission: Submission,
    steps: Sequence[definition_pb2.StepDefinition],
    authority: value_pb2.Authority,
    value: value_pb2.Value | None,
    digest: bytes,
) -> c.StartWorkflow:
    return c.StartWorkflow(
        parts.clock.now_us(),
        submission.name,
        value,
        steps,
        authority,
        open=submission.open,
        max_parallel=submission.max_parallel,
        timeout_ms=submission.timeout_ms,
        request_digest=digest,
        kind=submission.kind or events_pb2.WORKFLOW_KIND_WORKFLOW,
        cancel_grace_ms=submission.cancel_grace_ms or parts.cancel_grace_ms,
        priority=submission.priority,
    )


async def _input(parts: p.ApiParts, tenant: str, text: str) -> value_pb2.Value | None:
    """The workflow's input as a value; a large one is stored first. It is sealed when everything is."""
    if not text:
        return None
    data = text.encode()
    if problem := parts.bounds.problem(text):
        reason = "INPUT_TOO_LARGE" if len(data) > parts.bounds.size_bytes else "INVALID_INPUT"
        raise InvalidInput(reason, f"input_json {problem}", violations=[("input_json", problem)])
    try:
        validation = parts.validation_of(tenant)
        if validation.compact(text) is None:
            check_literal(text, depth_limit=validation.limits.json_depth)
    except TemplateError as error:
        problem = str(error)
        raise InvalidInput("INVALID_INPUT", f"input_json {problem}", violations=[("input_json", problem)]) from None
    if parts.sensitivity.everything:
        seals = parts.sealing.of(tenant)
        await seals.ready()
        return await seals.seal(data)
    if len(data) <= parts.inline_bytes:
        return value_pb2.Value(json=text)
    return value_pb2.Value(payload=await parts.payloads.write(tenant, data))
