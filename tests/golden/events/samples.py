"""An event of every type, as it was when its golden file was recorded; together they set every field there is.

To record a new event type or a new field: add a sample with a new name, which begins with the name of its payload,
and run record_new.py. A sample that is recorded is never changed, and neither are its files.
"""

from podium.v1 import definition_pb2 as d
from podium.v1 import events_pb2 as e
from podium.v1 import policy_pb2 as p
from podium.v1 import value_pb2 as v

NOT_OF_A_WORKFLOW = {
    "ToolRegistered": "the catalog's, in a stream of the tool's own",
    "AuthenticationFailed": "in the stream of refused requests",
    "RequestDenied": "in the stream of refused requests",
    "SubmissionRefused": "in the stream of refused requests",
    "PolicyProposed": "in the stream of the tenant's policy",
    "PolicyApplied": "in the stream of the tenant's policy",
    "PolicyRejected": "in the stream of the tenant's policy",
    "CredentialsRevoked": "in the stream of revoked credentials",
    "AddressBlocked": "in the stream of blocked addresses",
    "AddressUnblocked": "in the stream of blocked addresses",
    "TenantConfigured": "in the tenant's own stream",
    "BreakerTransitioned": "in the stream of the tool's breaker",
    "CacheInvalidated": "in the stream of the cache",
    "CacheFailed": "in the stream of the cache",
    "ToolHealthChanged": "in the stream of the tool's health",
}
"""Event types that no workflow folds, and where they are."""

AT_US = 1_767_225_600_000_000

PRINCIPAL = v.Principal(
    subject="ada@example.org",
    agent="researcher",
    on_behalf_of="grace@example.org",
    session_id="session-7",
    token_id="token-1",
    address="192.0.2.1",
)
AUTHORITY = v.Authority(
    principal=PRINCIPAL,
    roles=["analyst", "reader"],
    scopes=["network_access", "read_files"],
    limited=True,
    granted_at_us=AT_US,
)
FAILURE = v.Failure(
    reason="RATE_LIMITED",
    message="zu viele Anfragen – später wieder",
    retryable=True,
    retry_after_ms=1500,
    field="arguments.url",
)
PAYLOAD = v.PayloadReference(digest=bytes(range(32)), size_bytes=1 << 20)
SEALED = v.SealedValue(key_id="key-1", nonce=b"nonce", ciphertext=b"\x00\xffciphertext", keyed_digest=bytes(32))
LARGE_SEALED = v.SealedValue(key_id="key-2", keyed_digest=b"\x05" * 32, payload=PAYLOAD)

OUTPUT_OF = d.Reference(step_output="search", path=[d.PathElement(member="urls"), d.PathElement(index=-1)])
TEMPLATE = d.Template(
    object=d.ObjectTemplate(
        members=[
            d.MemberTemplate(name="limit", value=d.Template(literal_json='{"n":5}')),
            d.MemberTemplate(name="url", value=d.Template(reference=OUTPUT_OF)),
            d.MemberTemplate(
                name="title",
                value=d.Template(
                    interpolation=d.Interpolation(
                        parts=[
                            d.InterpolationPart(text="${ no hole }: "),
                            d.InterpolationPart(reference=d.Reference(input=True)),
                        ]
                    )
                ),
            ),
            d.MemberTemplate(
                name="more",
                value=d.Template(
                    array=d.ArrayTemplate(
                        elements=[
                            d.Template(reference=d.Reference(item=True)),
                            d.Template(reference=d.Reference(index=True)),
                            d.Template(reference=d.Reference(step_state="search")),
                        ]
                    )
                ),
            ),
        ]
    )
)
STEP = d.StepDefinition(
    id="fetch",
    tool="http_get",
    tool_version=3,
    arguments=TEMPLATE,
    depends_on=["search", "login"],
    join=d.JOIN_N_OF,
    join_count=1,
    condition='steps.search.state == "succeeded"',
    for_each=d.ForEach(items=d.Template(reference=OUTPUT_OF), max_parallel=4),
    retry=d.RetryPolicy(
        max_attempts=5,
        initial_backoff_ms=200,
        max_backoff_ms=10_000,
        multiplier=1.5,
        jitter=0.25,
        budget_ms=60_000,
        retry_on=["*"],
        never_retry_on=["INVALID_ARGUMENTS"],
    ),
    timeouts=d.Timeouts(schedule_to_start_ms=1000, start_to_close_ms=2000, heartbeat_ms=300),
    on_failure=d.ON_FAILURE_CONTINUE,
    repeatable=True,
)

CLAIMING = v.Authority(
    principal=PRINCIPAL, claims=[v.Claim(name="department", value_json='"billing"')], issued_at_us=AT_US - 60_000_000
)
POLICY = p.Policy(
    name="acme",
    roles=[p.Role(name="analyst", grants=["tools.call", "database_read"], inherits=["viewer"], description="reads")],
    rules=[
        p.Rule(
            id="small-payments",
            effect=p.EFFECT_ALLOW,
            tools=["pay-*"],
            permissions=["financial_operations"],
            roles=["analyst"],
            condition="arguments.amount < 100",
            description="up to a hundred",
        )
    ],
    limits=[
        p.RateLimit(
            id="reads",
            scope=p.LIMIT_SCOPE_ATTEMPTS,
            tools=["file_read"],
            roles=["analyst"],
            per=[p.LIMIT_KEY_SUBJECT, p.LIMIT_KEY_TOOL],
            count=10,
            period_ms=60_000,
            burst=10,
            weights=[p.Weight(tools="file_*", weight=2)],
        )
    ],
    addresses=p.AddressRules(
        block=["198.51.100.0/24"],
        allow=["192.0.2.0/24"],
        lockout=p.Lockout(failures=5, within_ms=60_000, block_ms=900_000),
    ),
    changes_need_approval=True,
    patterns=[p.ContentPattern(id="key", expression="sk_live_[a-z0-9]+", refuse_input=True, redact_output=True)],
)

CACHING = d.Caching(ttl_ms=60_000, stale_ms=600_000, shared=True)
FALLBACKS = [
    d.Fallback(
        on=["TIMEOUT", "DENIED"],
        tool=d.ToolFallback(
            tool="mirror", tool_version=2, arguments=TEMPLATE, retry=d.RetryPolicy(max_attempts=2), repeatable=True
        ),
    ),
    d.Fallback(stale=d.StaleFallback(max_age_ms=3_600_000)),
    d.Fallback(on=["*"], value=v.Value(json="[]")),
]
RESILIENCE = p.Policy(
    name="acme",
    breakers=[
        p.BreakerRule(
            id="quotes",
            tools=["quote*"],
            mode=p.BREAKER_MODE_NORMAL,
            when_open=p.WHEN_OPEN_WAIT,
            failure_threshold=5,
            recovery_timeout_ms=60_000,
            success_threshold=2,
            timeout_ms=10_000,
            window=p.BreakerWindow(
                kind=p.WINDOW_KIND_TIME,
                size=60,
                minimum_calls=20,
                failure_rate=50.0,
                slow_call_rate=80.0,
                slow_call_ms=2000,
            ),
            half_open_permits=10,
            half_open_max_ms=30_000,
            recovery_multiplier=2.0,
            recovery_max_ms=600_000,
            record=["TOOL_ERROR"],
            ignore=["NOT_FOUND"],
        )
    ],
    caches=[p.CacheRule(id="quotes", tools=["quote*"], disabled=True, caching=CACHING)],
    bulkheads=[p.Bulkhead(id="small", tools=["quote*"], executors=["worker-*"], max_concurrent=4, max_queued=100)],
)
PAYLOADS = {
    "workflow_started": e.WorkflowStarted(
        name="weekly report",
        input=v.Value(json='{"topic":"Wärmepumpen"}'),
        open=True,
        max_parallel=8,
        deadline_at_us=AT_US + 3_600_000_000,
        request_digest=b"\x01" * 32,
        kind=e.WORKFLOW_KIND_AGENT,
        cancel_grace_ms=10_000,
    ),
    "steps_added": e.StepsAdded(
        steps=[
            d.StepDefinition(id="search", tool="search", tool_version=1, arguments=d.Template(literal_json="{}")),
            STEP,
        ],
        authority=AUTHORITY,
        request_digest=b"\x02" * 32,
        request_id="request-2",
    ),
    "steps_added.sealed": e.StepsAdded(
        steps=[d.StepDefinition(id="login", tool="login", tool_version=2, arguments=d.Template(sealed=LARGE_SEALED))],
        authority=AUTHORITY,
    ),
    "workflow_finish_requested": e.WorkflowFinishRequested(request_id="request-3"),
    "workflow_cancel_requested": e.WorkflowCancelRequested(
        reason="not needed any more", request_id="request-4", grace_ends_at_us=AT_US + 10_000_000
    ),
    "workflow_succeeded": e.WorkflowSucceeded(),
    "workflow_failed": e.WorkflowFailed(failure=FAILURE, step_id="fetch"),
    "workflow_canceled": e.WorkflowCanceled(),
    "condition_met": e.ConditionMet(step_id="fetch"),
    "for_each_expanded": e.ForEachExpanded(step_id="fetch", count=12),
    "step_queued": e.StepQueued(step_id="fetch[3]", waits_for="a free place", deadline_at_us=AT_US + 1_000_000),
    "permission_checked": e.PermissionChecked(
        step_id="fetch[3]",
        attempt=1,
        tool="http_get",
        decision=e.DECISION_DENY,
        required=["network_access", "read_files"],
        missing=["read_files"],
        rule="default-deny",
        policy="acme",
        policy_revision=17,
        principal=PRINCIPAL,
        arguments_digest=b"\x03" * 32,
    ),
    "input_rejected": e.InputRejected(
        step_id="fetch[3]", field="arguments.url", guard="schema", message="is not a string"
    ),
    "attempt_started": e.AttemptStarted(
        step_id="fetch[3]",
        attempt=2,
        fence=9,
        executor="worker-1",
        session_id="session-9",
        deadline_at_us=AT_US + 2_000_000,
        budget_ends_at_us=AT_US + 60_000_000,
    ),
    "attempt_failed": e.AttemptFailed(step_id="fetch[3]", attempt=2, failure=FAILURE, retry_at_us=AT_US + 1_500_000),
    "attempt_abandoned": e.AttemptAbandoned(step_id="fetch[3]", attempt=2),
    "step_succeeded": e.StepSucceeded(
        step_id="fetch[3]", attempt=3, output=v.Value(payload=PAYLOAD), chunk_count=4, chunks_digest=b"\x04" * 32
    ),
    "step_succeeded.collected": e.StepSucceeded(
        step_id="fetch", output=v.Value(collected=v.CollectedOutputs(count=12))
    ),
    "step_succeeded.sealed": e.StepSucceeded(step_id="login", attempt=1, output=v.Value(sealed=SEALED)),
    "step_failed": e.StepFailed(step_id="fetch[4]", failure=FAILURE),
    "step_denied": e.StepDenied(step_id="fetch[5]", guard="permission", failure=FAILURE),
    "step_skipped": e.StepSkipped(step_id="fetch", reason=e.SKIP_REASON_JOIN),
    "step_canceled": e.StepCanceled(step_id="fetch"),
    "tool_registered": e.ToolRegistered(
        definition=d.ToolDefinition(
            name="http_get",
            description="Fetches a page.",
            input_schema_json='{"type":"object","properties":{"url":{"type":"string"}}}',
            output_schema_json='{"type":"string"}',
            permissions=["network_access"],
            read_only=True,
            idempotent=True,
            timeout_ms=30_000,
            heartbeat_timeout_ms=5000,
            streams_output=True,
        ),
        version=3,
    ),
    "steps_added.claims": e.StepsAdded(authority=CLAIMING),
    "input_rejected.sanitizer": e.InputRejected(
        step_id="fetch[3]",
        field="arguments.path",
        guard="path",
        message="leaves the roots",
        reason="PATH_OUTSIDE_ROOTS",
    ),
    "attempt_started.secrets": e.AttemptStarted(step_id="fetch[3]", attempt=1, fence=1, secrets=["api-key"]),
    "step_succeeded.sanitized": e.StepSucceeded(
        step_id="fetch[3]", attempt=1, output=v.Value(json='"[redacted]"'), sanitized=["redacted:key"]
    ),
    "tool_registered.secrets": e.ToolRegistered(
        definition=d.ToolDefinition(name="charge", input_schema_json='{"type":"object"}', secrets=["api-key"]),
        version=1,
    ),
    "authentication_failed": e.AuthenticationFailed(
        reason="TOKEN_INVALID",
        method="/podium.v1.WorkflowService/StartWorkflow",
        address="192.0.2.9",
        count=17,
        first_at_us=AT_US,
    ),
    "request_denied": e.RequestDenied(
        reason="PERMISSION_DENIED",
        method="/podium.v1.AdminService/DestroyDataKey",
        principal=PRINCIPAL,
        required="keys.destroy",
        resource="key-1",
        rule="default-deny",
        policy="acme",
        policy_revision=17,
        count=2,
        first_at_us=AT_US,
    ),
    "submission_refused": e.SubmissionRefused(
        reason="INVALID_ARGUMENTS",
        method="/podium.v1.WorkflowService/StartWorkflow",
        principal=PRINCIPAL,
        field="steps[0].arguments.url",
        guard="schema",
        count=1,
        first_at_us=AT_US,
    ),
    "submission_refused.sanitizer": e.SubmissionRefused(
        reason="INPUT_REJECTED",
        method="/podium.v1.ToolService/CallTool",
        principal=PRINCIPAL,
        field="calls[0].arguments.path",
        guard="path",
        count=1,
        first_at_us=AT_US,
        sanitizer_reason="PATH_TRAVERSAL",
    ),
    "policy_proposed": e.PolicyProposed(proposal_id="p1", policy=POLICY, base_revision=16, note="for the audit"),
    "policy_proposed.rollback": e.PolicyProposed(proposal_id="p3", policy=POLICY, base_revision=16, rolled_back_to=3),
    "policy_applied": e.PolicyApplied(
        revision=17, policy=POLICY, note="for the audit", proposal_id="p1", proposer=PRINCIPAL, rolled_back_to=3
    ),
    "policy_rejected": e.PolicyRejected(proposal_id="p2", reason="too wide"),
    "credentials_revoked": e.CredentialsRevoked(token_id="token-1", reason="lost"),
    "credentials_revoked.session": e.CredentialsRevoked(session_id="session-7", reason="lost"),
    "credentials_revoked.subject": e.CredentialsRevoked(subject="ada@example.org", reason="left"),
    "address_blocked": e.AddressBlocked(
        network="192.0.2.9/32", reason="lockout", expires_at_us=AT_US + 900_000_000, failures=5
    ),
    "address_unblocked": e.AddressUnblocked(network="192.0.2.9/32"),
    "rate_limited": e.RateLimited(step_id="fetch[3]", limit="reads", retry_at_us=AT_US + 6_000_000, policy_revision=17),
    "tenant_configured": e.TenantConfigured(
        display_name="Acme",
        quotas=p.Quotas(open_workflows=1000, tools=50, executors=10, requests_per_minute=6000),
    ),
    "workflow_started.priority": e.WorkflowStarted(name="nightly", priority=d.PRIORITY_LOW),
    "steps_added.fallback": e.StepsAdded(
        steps=[d.StepDefinition(id="fetch", tool="http_get", tool_version=3, fallback=FALLBACKS)], authority=AUTHORITY
    ),
    "step_succeeded.degraded": e.StepSucceeded(
        step_id="fetch", attempt=4, output=v.Value(json='"old"'), degraded_by=2, cache_ttl_ms=0
    ),
    "tool_registered.resilience": e.ToolRegistered(
        definition=d.ToolDefinition(
            name="quote",
            input_schema_json='{"type":"object"}',
            read_only=True,
            caching=CACHING,
            batching=d.Batching(max_calls=50, max_wait_ms=5),
            probing=d.Probing(interval_ms=10_000, timeout_ms=1000, unhealthy_after=3, healthy_after=2),
        ),
        version=4,
    ),
    "policy_applied.resilience": e.PolicyApplied(revision=18, policy=RESILIENCE),
    "breaker_transitioned": e.BreakerTransitioned(
        tool="quote",
        from_state=e.BREAKER_STATE_CLOSED,
        to_state=e.BREAKER_STATE_OPEN,
        reason="FAILURE_RATE",
        workflow_id="wf_golden",
        step_id="fetch",
        attempt=2,
        figures=e.BreakerFigures(
            calls=20,
            failed=12,
            slow=3,
            failure_rate=60.0,
            slow_call_rate=15.0,
            failures_in_a_row=4,
            successes_in_a_row=1,
            rejected=7,
        ),
        open_until_us=AT_US + 60_000_000,
        reopened=2,
        rule="quotes",
        policy_revision=18,
        note="maintenance",
    ),
    "attempt_rejected": e.AttemptRejected(
        step_id="fetch", attempt=3, guard="breaker", failure=FAILURE, retry_at_us=AT_US + 60_000_000
    ),
    "attempt_rejected.budget": e.AttemptRejected(
        step_id="fetch", attempt=1, guard="breaker", failure=FAILURE, budget_ends_at_us=1_700_000_060_000_000
    ),
    "fallback_tried": e.FallbackTried(step_id="fetch", link=2, failure=FAILURE, guard="permission", tool="mirror"),
    "cache_hit": e.CacheHit(
        step_id="fetch",
        tool="quote",
        key=b"\x06" * 32,
        source_workflow_id="wf_earlier",
        source_step_id="first",
        source_position=912,
        age_us=1_500_000,
        stale=True,
        coalesced=True,
    ),
    "cache_invalidated": e.CacheInvalidated(
        tool="quote", arguments_digest=b"\x07" * 32, entries=3, reason="the source was wrong"
    ),
    "cache_failed": e.CacheFailed(operation="READ", problem="ConnectionError", count=12, first_at_us=AT_US),
    "tool_health_changed": e.ToolHealthChanged(
        tool="quote", executor="worker-1", session_id="session-9", healthy=True, answers=3, message="no connection"
    ),
}
"""Payloads by the name of their golden files."""


def event(name, payload):
    """The whole record of a sample."""
    kind = name.partition(".")[0]
    number = e.Event.DESCRIPTOR.fields_by_name[kind].number
    return e.Event(
        position=1000 + number,
        tenant_sequence=100 + number,
        stream_version=number,
        recorded_at_us=AT_US + number,
        type=number,
        shard=1,
        tenant="acme",
        stream_id="wf_golden",
        schema_version=1,
        ignorable=True,
        principal=PRINCIPAL,
        correlation_id="correlation-1",
        causation_position=999,
        trace_context="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        request_id="request-1",
        **{kind: payload},
    )


SAMPLES = {name: event(name, payload) for name, payload in PAYLOADS.items()}
