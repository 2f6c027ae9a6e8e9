"""Breakers of the running service: as many as there are permits pass, a kill forgets nothing, an operator is obeyed."""

import asyncio

import pytest

import podium
from podium.v1 import events_pb2, policy_pb2, value_pb2
from podium.v1 import resilience_service_pb2 as pb
from service.clock import SystemClock
from tests.integration.rig import policies
from tests.integration.rig.caller import step
from tests.integration.rig.history import payloads
from tests.integration.rig.refusal import refusal_of

CLOSED, OPEN, HALF_OPEN, HELD = (
    events_pb2.BREAKER_STATE_CLOSED,
    events_pb2.BREAKER_STATE_OPEN,
    events_pb2.BREAKER_STATE_HALF_OPEN,
    events_pb2.BREAKER_STATE_FORCED_OPEN,
)
SUCCEEDED = value_pb2.STEP_STATE_SUCCEEDED


class Vendor(podium.Executor):
    """A tool that fails while it is down, and that holds its calls while `answers` is not set."""

    def __init__(self):
        super().__init__("vendor", max_parallel=1_000)
        self.down = False
        self.calls = 0
        self.answers = asyncio.Event()
        self.answers.set()


def vendor():
    app = Vendor()

    @app.tool
    async def buy() -> str:
        """Buy something."""
        app.calls += 1
        await app.answers.wait()
        if app.down:
            raise podium.ToolFailed("down", reason="DOWN")
        return "bought"

    return app


async def with_rule(caller, **fields):
    await policies.apply(caller, policies.policy(breakers=[policy_pb2.BreakerRule(id="vendors", **fields)]))


async def breaker(caller):
    return (await caller.resilience.GetBreaker(pb.GetBreakerRequest(tool="buy"))).breaker


async def tell(caller, action, reason=""):
    request = pb.SetBreakerRequest(tool="buy", action=pb.BreakerAction.Value(f"BREAKER_ACTION_{action}"), reason=reason)
    return (await caller.resilience.SetBreaker(request)).breaker


async def reasons(caller):
    return [each.reason for each in payloads(await caller.history("breaker/buy"), "breaker_transitioned")]


async def test_of_a_thousand_calls_into_half_open_exactly_the_permits_reach_the_tool(connect, caller):
    app = vendor()
    await connect(app)
    await with_rule(caller, failure_threshold=2, recovery_timeout_ms=300, success_threshold=10)
    app.down = True
    for _ in range(2):
        await caller.call("buy")
    opened = await breaker(caller)
    assert (opened.state, opened.permits) == (OPEN, 10)
    app.down, app.calls = False, 0
    app.answers.clear()
    while SystemClock().now_us() <= opened.open_until_us:
        await breaker(caller)
    calls = [asyncio.ensure_future(caller.call("buy")) for _ in range(1_000)]
    done = 0
    while done < 990:
        finished, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        done = len(finished)
    assert (app.calls, (await breaker(caller)).permits_taken) == (10, 10)
    app.answers.set()
    answers = await asyncio.gather(*calls)
    assert sum(answer.outcome.state == SUCCEEDED for answer in answers) == 10
    refused = {answer.outcome.failure.reason for answer in answers if answer.outcome.state != SUCCEEDED}
    assert refused == {"BREAKER_OPEN"}
    assert (await breaker(caller)).state == CLOSED
    assert await reasons(caller) == ["FAILURES_IN_A_ROW", "RECOVERY_TIMEOUT", "SUCCESSES_IN_A_ROW"]


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_a_kill_forgets_neither_what_was_counted_nor_that_it_is_open(
    own_service, postgres, admit, connect, database
):
    url = await postgres.create_database(migrated=False) if database == "postgres" else None
    service = own_service(database=url)
    await asyncio.to_thread(service.start)
    ana, app = admit(to=service), vendor()
    await connect(app, to=service)
    await with_rule(ana, failure_threshold=3, recovery_timeout_ms=600_000)
    app.down = True
    for number in range(3):
        await ana.call("buy")
        before = await breaker(ana)
        await asyncio.to_thread(service.kill)
        await asyncio.to_thread(service.start)
        ana, app = admit(to=service), vendor()
        app.down = True
        await connect(app, to=service)
        after = await breaker(ana)
        assert after.state == before.state == (CLOSED if number < 2 else OPEN)
        assert after.figures.failures_in_a_row == before.figures.failures_in_a_row == (number + 1) % 3
        assert (after.open_until_us, after.last_transition) == (before.open_until_us, before.last_transition)
    app.calls = 0
    assert (await ana.call("buy")).outcome.failure.reason == "BREAKER_OPEN"
    assert app.calls == 0


async def test_what_an_operator_sets_holds_and_is_on_record_in_the_operators_name(connect, caller, admit):
    app = vendor()
    await connect(app)
    held = await tell(caller, "OPEN", "the vendor is down")
    assert (held.state, held.HasField("rule")) == (HELD, False)
    assert (await caller.call("buy")).outcome.failure.reason == "BREAKER_OPEN"
    assert app.calls == 0
    await with_rule(caller)
    assert (await caller.call("buy")).outcome.failure.reason == "BREAKER_OPEN"
    assert (await tell(caller, "CLOSE")).state == CLOSED
    assert (await caller.call("buy")).outcome.state == SUCCEEDED
    (opened, closed) = await caller.history("breaker/buy")
    assert opened.principal.subject == "ana"
    assert opened.breaker_transitioned.note == "the vendor is down"
    assert (closed.breaker_transitioned.from_state, closed.breaker_transitioned.to_state) == (HELD, CLOSED)
    page = await caller.resilience.ListBreakers(pb.ListBreakersRequest(states=[CLOSED]))
    assert [each.tool for each in page.breakers] == ["buy"]
    assert not (await caller.resilience.ListBreakers(pb.ListBreakersRequest(states=[OPEN]))).breakers


async def test_what_cannot_be_set_is_refused(connect, caller, admit):
    await connect(vendor())
    unknown = await refusal_of(caller.resilience.GetBreaker(pb.GetBreakerRequest(tool="nothing")))
    assert (unknown.code, unknown.reason) == ("NOT_FOUND", "TOOL_NOT_FOUND")
    nothing = await refusal_of(caller.resilience.SetBreaker(pb.SetBreakerRequest(tool="buy")))
    assert (nothing.code, nothing.fields) == ("INVALID_ARGUMENT", {"action"})
    await with_rule(caller, mode=policy_pb2.BREAKER_MODE_FORCED_OPEN)
    by_policy = await refusal_of(tell(caller, "CLOSE"))
    assert (by_policy.code, by_policy.reason) == ("FAILED_PRECONDITION", "BREAKER_HELD_BY_POLICY")
    stranger = admit("zoe", roles=["viewer"])
    assert (await refusal_of(tell(stranger, "OPEN"))).code == "PERMISSION_DENIED"


@pytest.mark.parametrize("rules", [[], [policy_pb2.BreakerRule(id="off", mode=policy_pb2.BREAKER_MODE_DISABLED)]])
async def test_those_who_wait_go_as_soon_as_the_policy_lifts_the_breaker(connect, caller, rules):
    app = vendor()
    await connect(app)
    await with_rule(caller, failure_threshold=1, when_open=policy_pb2.WHEN_OPEN_WAIT)
    app.down = True
    await caller.call("buy")
    app.down = False
    waiting = [await caller.start(step("buy")) for _ in range(5)]
    for workflow_id in waiting:
        assert (await caller.steps(workflow_id))["step_1"].state == value_pb2.STEP_STATE_QUEUED
    await policies.apply(caller, policies.policy(breakers=rules))
    # Nobody looks by the clock alone before five seconds.
    async with asyncio.timeout(3):
        for workflow_id in waiting:
            await caller.ended(workflow_id)


async def test_breakers_are_their_tenants(connect, caller, admit):
    await connect(vendor())
    await tell(caller, "OPEN")
    stranger = admit(tenant="stranger")
    assert not (await stranger.resilience.ListBreakers(pb.ListBreakersRequest())).breakers
