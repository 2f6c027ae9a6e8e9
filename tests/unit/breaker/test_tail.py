"""What a restart finds of breakers in the log is what the process knew, wherever it ended; and reading is bounded."""

import dataclasses
from hashlib import sha256

import pytest

from podium.v1 import events_pb2, policy_pb2, value_pb2
from service.admission.breaker import BreakerGuard
from service.admission.breaker_book import BreakerBook
from service.admission.pipeline import Allowed, AttemptEnd, Ledger
from service.domain.permissions import DEFAULT_POLICY
from service.engine.breaker_tail import find_breakers
from store.contract import ANY_VERSION, SHARD, Append, NewEvent, StreamAppend
from store.records import encode_envelope
from tests.contract.events import FakeClock
from tests.contract.model import ModelDatabase, ModelStore
from tests.unit.admission.calls import a_request, a_tool

START_US = 1_700_000_000_000_000
RULES = {
    "in a row": policy_pb2.BreakerRule(id="r", failure_threshold=2, recovery_timeout_ms=3_000, success_threshold=2),
    "calls": policy_pb2.BreakerRule(
        id="r",
        recovery_timeout_ms=2_000,
        half_open_permits=3,
        ignore=["BAD_INPUT"],
        window=policy_pb2.BreakerWindow(size=5, minimum_calls=3, failure_rate=60, slow_call_ms=4_000),
    ),
    "seconds": policy_pb2.BreakerRule(
        id="r",
        recovery_timeout_ms=2_000,
        half_open_permits=2,
        window=policy_pb2.BreakerWindow(kind=2, size=6, minimum_calls=3, failure_rate=60),
    ),
}
OUTCOMES = ("succeed", "fail", "fail", "fail", "bad input", "cancel", "end", "out of time")


class Life:
    """A guard, whose every turn is an append as the engine makes it."""

    def __init__(self, rule):
        self.clock = FakeClock(START_US)
        self.store = ModelStore(ModelDatabase(), self.clock)
        policy = dataclasses.replace(DEFAULT_POLICY, breakers=(rule,) if rule else ())
        self.policy_of = lambda _tenant: policy
        self.book = BreakerBook(self.policy_of)
        self.ledger = Ledger()
        self.guard = BreakerGuard(self.book, self.ledger, lambda: 0.5)
        self.running = []
        self.number = 0

    async def record(self, workflow_id, *payloads):
        streams = [(workflow_id, payload) for payload in payloads] + list(self.ledger.take())
        appends = [
            StreamAppend(
                "default",
                stream,
                ANY_VERSION,
                [NewEvent(payload, encode_envelope(shard=SHARD, tenant="default", stream_id=stream))],
            )
            for stream, payload in streams
        ]
        await self.store.append(Append(appends))

    async def attempt(self):
        """An attempt starts, or is rejected."""
        self.number += 1
        request = a_request(workflow_id=f"wf_{self.number}", step_id="a", tool=a_tool())
        verdict = self.guard.check(request, self.clock.now)
        checked = events_pb2.PermissionChecked(step_id="a", tool="search", decision=events_pb2.DECISION_ALLOW)
        if isinstance(verdict, Allowed):
            self.guard.started(request, self.clock.now)
            self.running.append(request.workflow_id)
            event = events_pb2.AttemptStarted(step_id="a", attempt=1)
        else:
            event = events_pb2.AttemptRejected(step_id="a", attempt=1, guard="breaker")
        await self.record(request.workflow_id, checked, event)

    async def end(self, which, how):
        workflow_id = self.running.pop(which % len(self.running))
        reasons = {"bad input": "BAD_INPUT", "out of time": "WORKFLOW_TIMEOUT"}
        failure = value_pb2.Failure(reason=reasons.get(how, "BROKEN"))
        event = {
            "succeed": events_pb2.StepSucceeded(step_id="a", attempt=1),
            "cancel": events_pb2.StepCanceled(step_id="a"),
            "end": events_pb2.WorkflowFailed(),
        }.get(how) or events_pb2.AttemptFailed(step_id="a", attempt=1, failure=failure)
        outcome = None if how in ("cancel", "end") else event
        step = ("default", workflow_id, "a")
        self.guard.ended(AttemptEnd(step, self.clock.now, 1 if outcome else 0, "search", outcome))
        # The end of the step and of its workflow, which the guard is told of as of one thing, come in the same append.
        ends = [events_pb2.StepFailed(step_id="a"), events_pb2.WorkflowFailed()] if how == "out of time" else []
        self.guard.ended(AttemptEnd(step, self.clock.now))
        await self.record(workflow_id, event, *ends)

    async def found(self, **bound):
        """What a restart finds."""
        book = BreakerBook(self.policy_of)
        await find_breakers(self.store, self.store.head, book, ["default"], **bound)
        return book


def known(book, now_us):
    """All that a breaker knows; None: there is none."""
    kept = book.of("default", "search")
    breaker = kept.breaker
    standing = (breaker.state, breaker.held, breaker.open_until_us, breaker.reopened, breaker.permits_taken)
    return standing, breaker.room(now_us), sorted(breaker.under_way), breaker.figures(now_us), kept.last


async def some_life(rule, seed, lines=60):
    """A life of pseudo-random acts, of which every one may be the last."""
    life = Life(rule)
    await life.store.open()
    for number in range(lines):
        draw = sha256(f"{seed}/{number}".encode()).digest()
        life.clock.now += draw[0] * 6_000
        if draw[1] < 120 or not life.running:
            await life.attempt()
        else:
            await life.end(draw[2], OUTCOMES[draw[3] % len(OUTCOMES)])
        yield life


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rule", RULES)
async def test_wherever_the_process_ends_the_next_knows_what_it_knew(rule, seed):
    states = set()
    async for life in some_life(RULES[rule], seed):
        now_us = life.clock.now
        assert known(await life.found(), now_us) == known(life.book, now_us)
        states.add(life.book.of("default", "search").breaker.state)
    assert states == {
        events_pb2.BREAKER_STATE_CLOSED,
        events_pb2.BREAKER_STATE_OPEN,
        events_pb2.BREAKER_STATE_HALF_OPEN,
    }


async def test_beyond_the_bound_the_state_is_found_and_nothing_counted():
    *_, life = [life async for life in some_life(RULES["in a row"], 0)]
    short = await life.found(events_max=0)
    breaker = short.of("default", "search").breaker
    assert breaker.state == life.book.of("default", "search").breaker.state
    assert (breaker.figures(life.clock.now).calls, len(breaker.under_way)) == (0, 0)


async def test_the_end_of_a_long_stream_is_found():
    life = Life(RULES["in a row"])
    await life.store.open()
    for number in range(1, 301):
        if number in (1, 31, 32, 33, 96, 97, 300):
            book = await life.found()
            last = book.known("default", "search").last
            assert (last.attempt if last else 0) == number - 1
        transition = events_pb2.BreakerTransitioned(tool="search", to_state=2, attempt=number)
        life.ledger.record("breaker/search", transition)
        await life.record("none")


async def test_nothing_is_read_where_no_rule_speaks_and_nobody_set_anything():
    life = Life(None)
    await life.store.open()
    await life.attempt()

    async def read_all(*_arguments, **_fields):
        pytest.fail("the log was read")

    life.store.read_all = read_all
    assert not (await life.found()).has_any("default")
