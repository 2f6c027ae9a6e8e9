"""A small history in which every type of event happens once at least."""

from podium.v1 import events_pb2 as e
from podium.v1.definition_pb2 import ForEach, StepDefinition, Template, ToolDefinition
from podium.v1.value_pb2 import Authority, Failure, PayloadReference, Principal, SealedValue, Value

ANA = Principal(
    subject="ana", agent="planner", on_behalf_of="bob", session_id="s-1", token_id="t-1", address="192.0.2.7"
)
CARL = Principal(subject="carl")
SECRET = "4111 1111 1111 1111"
DIGEST = bytes(range(32))


def step(step_id, tool, **fields):
    arguments = Template(literal_json=f'{{"card": "{SECRET}"}}')
    return StepDefinition(id=step_id, tool=tool, tool_version=1, arguments=arguments, **fields)


def check(step_id, tool, decision, principal=ANA, missing=()):
    allowed = decision == e.DECISION_ALLOW
    return e.PermissionChecked(
        step_id=step_id,
        attempt=1,
        tool=tool,
        decision=decision,
        required=["network_access", *missing],
        missing=missing,
        rule="role:admin" if allowed else "default-deny",
        policy="default",
        policy_revision=1,
        principal=principal,
        arguments_digest=DIGEST,
    )


def attempt(step_id, number=1):
    return e.AttemptStarted(step_id=step_id, attempt=number, fence=number, executor="research", session_id="x-1")


TOOL = ToolDefinition(name="search", permissions=["network_access"])
STEPS = [
    step("step_1", "search"),
    step("step_2", "summarize", condition="steps.step_1.output != null"),
    step("extract", "read_page", for_each=ForEach(items=Template(literal_json="[1]"))),
    step("step_4", "refund"),
    step("step_5", "send_mail"),
    step("step_6", "publish"),
    step("step_7", "archive"),
]
TIMEOUT = Failure(reason="TIMEOUT", message=f"no answer for {SECRET}", retryable=True)
DENIED = Failure(reason="PERMISSION_DENIED", message=f"may not refund {SECRET}")

FIRST = [
    (ANA, e.WorkflowStarted(name="weekly report", input=Value(json=f'"{SECRET}"'), open=True, request_digest=DIGEST)),
    (ANA, e.StepsAdded(steps=STEPS, authority=Authority(principal=ANA, roles=["admin"], scopes=["x"], limited=True))),
    (ANA, check("step_1", "search", e.DECISION_ALLOW)),
    (ANA, e.StepQueued(step_id="step_1", waits_for="an executor that serves search")),
    (None, attempt("step_1")),
    (None, e.AttemptFailed(step_id="step_1", attempt=1, failure=TIMEOUT, retry_at_us=1)),
    (None, attempt("step_1", 2)),
    (None, e.StepSucceeded(step_id="step_1", attempt=2, output=Value(json=f'"{SECRET}"'))),
    (None, e.ConditionMet(step_id="step_2")),
    (None, check("step_2", "summarize", e.DECISION_ALLOW)),
    (None, attempt("step_2")),
    (
        None,
        e.StepSucceeded(
            step_id="step_2",
            attempt=1,
            output=Value(payload=PayloadReference(digest=DIGEST, size_bytes=70_000)),
            chunk_count=2,
            chunks_digest=DIGEST[::-1],
        ),
    ),
    (None, e.ForEachExpanded(step_id="extract", count=2)),
    (None, attempt("extract[0]")),
    (
        None,
        e.StepSucceeded(
            step_id="extract[0]",
            attempt=1,
            output=Value(sealed=SealedValue(key_id="k", ciphertext=b"c", keyed_digest=DIGEST)),
        ),
    ),
    (None, attempt("extract[1]")),
    (None, e.AttemptFailed(step_id="extract[1]", attempt=1, failure=TIMEOUT)),
    (None, e.StepFailed(step_id="extract[1]", failure=TIMEOUT)),
    (None, check("step_4", "refund", e.DECISION_DENY, missing=["financial_operations"])),
    (None, e.StepDenied(step_id="step_4", guard="permission", failure=DENIED)),
    (None, e.InputRejected(step_id="step_5", field="to", guard="schema", message="is required")),
    (
        None,
        e.StepDenied(step_id="step_5", guard="schema", failure=Failure(reason="INVALID_ARGUMENTS", field="to")),
    ),
    (None, e.StepSkipped(step_id="step_6", reason=e.SKIP_REASON_JOIN)),
    (CARL, e.WorkflowFinishRequested()),
    (None, e.WorkflowFailed(failure=TIMEOUT, step_id="step_4")),
]
SECOND = [
    (CARL, e.WorkflowStarted(kind=e.WORKFLOW_KIND_CALL)),
    (CARL, e.StepsAdded(steps=[step("step_1", "search")], authority=Authority(principal=CARL))),
    (ANA, check("step_1", "search", e.DECISION_ALLOW, principal=CARL)),
    (ANA, attempt("step_1")),
    (CARL, e.WorkflowCancelRequested(reason="no\nlonger\x1b[31m needed")),
    (None, e.AttemptAbandoned(step_id="step_1", attempt=1)),
    (None, e.StepCanceled(step_id="step_1")),
    (None, e.WorkflowCanceled()),
]
THIRD = [
    (CARL, e.WorkflowStarted(kind=e.WORKFLOW_KIND_AGENT)),
    (None, e.WorkflowSucceeded()),
]


OPEN = Failure(reason="BREAKER_OPEN", message="open", retryable=True, retry_after_ms=5)
ACCESS = [
    ("workflow-1", None, e.RateLimited(step_id="step_4", limit="emails", retry_at_us=5)),
    ("requests", None, e.AuthenticationFailed(reason="TOKEN_INVALID", address="192.0.2.9", count=2)),
    ("requests", None, e.RequestDenied(reason="PERMISSION_DENIED", method="/x/Y", principal=CARL, rule="default-deny")),
    ("requests", None, e.SubmissionRefused(reason="INVALID_WORKFLOW", method="/x/Y", principal=CARL, field="steps[0]")),
    ("policy", ANA, e.PolicyProposed(proposal_id="p1", note="wider")),
    ("policy", CARL, e.PolicyApplied(revision=1, proposal_id="p1", proposer=ANA)),
    ("policy", CARL, e.PolicyRejected(proposal_id="p2")),
    ("credentials", ANA, e.CredentialsRevoked(token_id="t1", reason="lost")),
    ("addresses", None, e.AddressBlocked(network="192.0.2.9/32", failures=5)),
    ("addresses", ANA, e.AddressUnblocked(network="192.0.2.9/32")),
    ("tenant", ANA, e.TenantConfigured(display_name="Acme")),
]
RESILIENCE = [
    ("workflow-1", None, e.AttemptRejected(step_id="step_4", attempt=2, guard="breaker", failure=OPEN, retry_at_us=5)),
    ("workflow-1", None, e.FallbackTried(step_id="step_4", link=1, failure=OPEN, tool="mirror")),
    ("workflow-1", None, e.FallbackTried(step_id="step_4", link=2, failure=OPEN)),
    ("workflow-1", None, e.CacheHit(step_id="step_4", tool="search", source_workflow_id="w", source_step_id="s")),
    (
        "breaker/search",
        None,
        e.BreakerTransitioned(
            tool="search",
            from_state=e.BREAKER_STATE_CLOSED,
            to_state=e.BREAKER_STATE_OPEN,
            reason="FAILURES_IN_A_ROW",
            workflow_id="workflow-1",
            step_id="step_4",
            attempt=1,
            figures=e.BreakerFigures(calls=9, failed=5, failures_in_a_row=5),
            rule="flaky",
        ),
    ),
    (
        "breaker/search",
        ANA,
        e.BreakerTransitioned(
            tool="search",
            from_state=e.BREAKER_STATE_OPEN,
            to_state=e.BREAKER_STATE_FORCED_OPEN,
            reason="SET_BY_OPERATOR",
            note="maintenance",
        ),
    ),
    ("cache", ANA, e.CacheInvalidated(tool="search", entries=3, reason="the source was wrong")),
    ("cache", ANA, e.CacheInvalidated(entries=9)),
    ("cache", None, e.CacheFailed(operation="READ", problem="ConnectionError", count=4, first_at_us=5)),
    ("health/search", None, e.ToolHealthChanged(tool="search", executor="worker-1", answers=3, message="no quota")),
    ("health/search", None, e.ToolHealthChanged(tool="search", executor="worker-1", healthy=True, answers=1)),
]


def record_history(log, tenant="acme"):
    """Record the history in a tenant of its own."""
    log.record(tenant, "tool/search", e.ToolRegistered(definition=TOOL, version=1), principal=CARL)
    for stream_id, history in (("workflow-1", FIRST), ("workflow-2", SECOND), ("workflow-3", THIRD)):
        for principal, payload in history:
            log.record(tenant, stream_id, payload, principal=principal)
    for stream_id, principal, payload in ACCESS + RESILIENCE:
        log.record(tenant, stream_id, payload, principal=principal)
