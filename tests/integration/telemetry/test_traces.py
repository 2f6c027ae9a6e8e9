"""The spans of real runs, as a real collector gets them over OTLP: workflow → step → attempt → the tool's own."""

import hashlib

import pytest
from opentelemetry.sdk.trace import TracerProvider

import podium
from podium.v1 import definition_pb2, policy_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.observed import mixed_run
from tests.integration.rig.otlp_receiver import attributes
from tests.integration.rig.policies import allow, apply, policy

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
ERROR = 2
SERVER = 2


def of_workflow(receiver, workflow_id):
    return [span for span in receiver.spans if attributes(span)["podium.workflow.id"] == workflow_id]


def has_ended(receiver, workflow_id):
    return lambda: any(span.name == "workflow" for span in of_workflow(receiver, workflow_id))


def tree(spans):
    """(name, step, attempt) of each span and of its parent; a parent that is not among them is its id."""
    by_id = {span.span_id: span for span in spans}
    return {(named(span), named(by_id.get(span.parent_span_id)) or span.parent_span_id.hex()) for span in spans}


def named(span):
    if span is None:
        return None
    said = attributes(span)
    return span.name, said.get("podium.step.id", ""), said.get("podium.attempt", 0)


async def test_the_spans_of_a_run_are_a_tree_under_the_caller_s_span(observed, serve, calls, tenant):
    await serve()
    ana, bob = calls(traceparent=TRACEPARENT), calls(subject="bob", roles=["agent"])
    first, _, denied = await mixed_run(ana, bob)
    await observed.spans_until(has_ended(observed.receiver, first))
    spans = of_workflow(observed.receiver, first)
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    workflow = ("workflow", "", 0)
    assert tree(spans) == {
        (workflow, PARENT),
        (("step echo", "first", 0), workflow),
        (("execute_tool echo", "first", 1), ("step echo", "first", 0)),
        (("step flaky", "repeated", 0), workflow),
        (("execute_tool flaky", "repeated", 1), ("step flaky", "repeated", 0)),
        (("execute_tool flaky", "repeated", 2), ("step flaky", "repeated", 0)),
        (("execute_tool flaky", "repeated", 3), ("step flaky", "repeated", 0)),
        (("step flaky", "broken", 0), workflow),
        (("execute_tool flaky", "broken", 1), ("step flaky", "broken", 0)),
        (("step echo", "skipped", 0), workflow),
    }
    assert len({span.span_id for span in spans}) == len(spans)
    for span in spans:
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
    by_name = {named(span): span for span in spans}
    assert by_name[workflow].kind == SERVER
    assert attributes(by_name[workflow])["rpc.method"] == "podium.v1.WorkflowService/StartWorkflow"
    tool = attributes(by_name["execute_tool flaky", "repeated", 1])
    assert (tool["gen_ai.operation.name"], tool["gen_ai.tool.name"]) == ("execute_tool", "flaky")
    assert tool["gen_ai.tool.call.id"] == f"{first}/repeated"
    assert tool["error.type"] == "TOOL_ERROR"
    assert [event.name for event in by_name["step flaky", "repeated", 0].events] == ["retry", "retry"]
    failed = {named(span)[1:] for span in spans if span.status.code == ERROR}
    assert failed == {("repeated", 1), ("repeated", 2), ("broken", 0), ("broken", 1)}
    await observed.spans_until(has_ended(observed.receiver, denied))
    [refused] = [span for span in of_workflow(observed.receiver, denied) if span.name == "step pay"]
    assert [(each.name, attributes(each)["podium.guard"]) for each in refused.events] == [("denied", "permission")]


async def test_a_breaker_that_opens_is_an_event_of_the_attempt_that_opened_it(observed, serve, calls, tenant):
    await serve()
    ana = calls()
    breaker = policy_pb2.BreakerRule(id="careful", tools=["flaky"], failure_threshold=1, recovery_timeout_ms=60_000)
    await apply(ana, policy(allow("all", "*"), breakers=[breaker]))
    workflow_id = await ana.start(step("flaky", {"failures": 9, "retryable": False}, id="fails"))
    await ana.ended(workflow_id)
    rejected = await ana.start(
        step("flaky", {"failures": 0}, id="late", retry=definition_pb2.RetryPolicy(max_attempts=1))
    )
    await ana.ended(rejected)
    await observed.spans_until(has_ended(observed.receiver, rejected))
    [attempt] = [span for span in of_workflow(observed.receiver, workflow_id) if span.name == "execute_tool flaky"]
    assert [(each.name, attributes(each)["podium.breaker.state"]) for each in attempt.events] == [
        ("breaker transition", "open")
    ]
    [late] = [span for span in of_workflow(observed.receiver, rejected) if span.name == "step flaky"]
    assert [(each.name, attributes(each)["podium.guard"]) for each in late.events] == [("rejected", "breaker")]
    states = (await observed.scrape()).sums("podium_breaker_state", "state", tenant=tenant)
    assert [state for state, value in states.items() if value] == [("open",)]


async def test_ids_follow_from_what_a_span_is_of(observed, serve, calls, tenant):
    await serve()
    ana = calls()
    workflow_id = await ana.start(step("echo", id="a"))
    await ana.ended(workflow_id)
    await observed.spans_until(has_ended(observed.receiver, workflow_id))

    def digest(*names):
        return hashlib.sha256("\0".join((tenant, workflow_id, *names)).encode()).hexdigest()

    spans = {named(span): span for span in of_workflow(observed.receiver, workflow_id)}
    assert {span.trace_id.hex() for span in spans.values()} == {digest()[:32]}
    assert spans["workflow", "", 0].span_id.hex() == digest("span", "", "0")[:16]
    assert spans["workflow", "", 0].parent_span_id == b""
    assert spans["step echo", "a", 0].span_id.hex() == digest("span", "a", "0")[:16]
    assert spans["execute_tool echo", "a", 1].span_id.hex() == digest("span", "a", "1")[:16]


async def test_a_tool_is_given_the_attempt_s_span_as_its_parent(observed, serve, calls):
    app, given = podium.Executor("tracing"), []

    @app.tool
    async def traced(ctx: podium.Context) -> str:
        """Tell what it was given."""
        given.append(ctx.trace_context)
        return "done"

    await serve(app)
    ana = calls(traceparent=TRACEPARENT)
    workflow_id = await ana.start(step("traced"))
    await ana.ended(workflow_id)
    await observed.spans_until(has_ended(observed.receiver, workflow_id))
    [attempt] = [span for span in of_workflow(observed.receiver, workflow_id) if span.name == "execute_tool traced"]
    assert given == [f"00-{TRACE}-{attempt.span_id.hex()}-01"]
    [started, *_] = await ana.history(workflow_id)
    assert started.trace_context == TRACEPARENT


async def test_the_spans_of_client_and_tool_are_parts_of_one_tree(observed, tenant):
    tracer, app, made = TracerProvider().get_tracer("test"), podium.Executor("nesting"), {}

    @app.tool
    async def inner() -> str:
        """Do something."""
        return "done"

    @app.tool
    async def outer() -> str:
        """Call the other tool, as a part of this call."""
        with tracer.start_as_current_span("work") as made["work"]:
            return await made["client"].call("inner")

    token = observed.service.token(tenant=tenant)
    async with podium.connect(observed.service.address, token, serve=app) as made["client"]:
        with tracer.start_as_current_span("asking") as made["asking"]:
            await made["client"].call("outer")

    def spans():
        return [span for span in observed.receiver.spans if attributes(span)["podium.tenant"] == tenant]

    def child_of(parent, name):
        return next(span for span in spans() if span.parent_span_id == parent and span.name == name)

    await observed.spans_until(lambda: [span.name for span in spans()].count("workflow") == 2)
    asking, work = made["asking"].context, made["work"].context
    outer_workflow = child_of(asking.span_id.to_bytes(8, "big"), "workflow")
    outer_step = child_of(outer_workflow.span_id, "step outer")
    attempt = child_of(outer_step.span_id, "execute_tool outer")
    assert made["work"].parent.span_id.to_bytes(8, "big") == attempt.span_id
    inner_workflow = child_of(work.span_id.to_bytes(8, "big"), "workflow")
    assert child_of(inner_workflow.span_id, "step inner")
    assert {span.trace_id for span in spans()} == {asking.trace_id.to_bytes(16, "big")}


async def test_a_trace_that_its_caller_does_not_sample_is_not_sent(observed, serve, calls):
    await serve()
    unsampled, sampled = calls(traceparent=f"00-{TRACE}-{PARENT}-00"), calls()
    silent = await unsampled.start(step("echo"))
    await unsampled.ended(silent)
    told = await sampled.start(step("echo"))
    await sampled.ended(told)
    await observed.spans_until(has_ended(observed.receiver, told))
    assert of_workflow(observed.receiver, silent) == []


@pytest.mark.parametrize("broken", ["nonsense", "00-" + "0" * 32 + f"-{PARENT}-01", "x" * 5_000])
async def test_a_trace_context_that_is_none_is_as_if_it_were_not_there(calls, serve, broken):
    await serve()
    ana = calls(traceparent=broken)
    workflow_id = await ana.start(step("echo"))
    await ana.ended(workflow_id)
    [started, *_] = await ana.history(workflow_id)
    assert started.trace_context == ""


async def test_the_collector_is_told_who_sends_and_what_it_asks_for(observed, serve, calls):
    await serve()
    ana = calls()
    workflow_id = await ana.start(step("echo"))
    await ana.ended(workflow_id)
    await observed.spans_until(has_ended(observed.receiver, workflow_id))
    assert observed.receiver.services == {"podium"}
    assert all(headers["x-key"] == "of-the-collector" for headers in observed.receiver.headers)
