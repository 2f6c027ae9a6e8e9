"""The guard of breakers: what it lets through and records, and that every end of an attempt gives its permit back."""

import dataclasses

import pytest

from podium.v1 import definition_pb2, events_pb2, policy_pb2, value_pb2
from service.admission.breaker import BreakerGuard
from service.admission.breaker_book import BreakerBook
from service.admission.guards import AttemptEnd, Ledger
from service.admission.verdicts import ALLOWED, Allowed, Rejected, Wait
from service.domain.permissions import DEFAULT_POLICY
from tests.unit.admission.calls import a_request, a_tool

NOW_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
RULE = {"id": "r", "failure_threshold": 1, "recovery_timeout_ms": 1_000, "success_threshold": 10}


class Stage:
    """A guard, its ledger, and calls of a tool at a time."""

    def __init__(self, **fields):
        self.ledger = Ledger()
        self.now_us = NOW_US
        self.woken = []
        self.number = 0
        self.put(**fields)
        self.book = BreakerBook(lambda _tenant: self.policy)
        self.guard = BreakerGuard(self.book, self.ledger, lambda: 0.25)

    def put(self, **fields):
        """Another policy."""
        rules = (policy_pb2.BreakerRule(**{**RULE, **fields}),) if fields.get("id", "r") else ()
        self.policy = dataclasses.replace(DEFAULT_POLICY, revision=DEFAULT_POLICY.revision + 1, breakers=rules)

    def ask(self, *, tenant="default", step=None, tool="search", priority=0):
        self.number += 1
        request = a_request(tenant=tenant, step_id=step or f"s{self.number}", tool=a_tool(name=tool))
        request.priority = priority
        return request, self.guard.check(request, self.now_us)

    def start(self, **fields):
        """Starts a call that is let through."""
        request, verdict = self.ask(**fields)
        assert isinstance(verdict, Allowed)
        self.guard.started(request, self.now_us)
        return request.tenant, request.workflow_id, request.step_id

    def line(self, waits):
        """The line that all who wait have joined, which tells when it is stirred."""
        (line,) = {verdict.join() for _, verdict in waits}
        line.on_stir(lambda: self.woken.append(line))
        return line

    def end(self, step, outcome, **fields):
        self.guard.ended(AttemptEnd(step, self.now_us, outcome=outcome, **fields))

    def fail(self, step, reason="TOOL_ERROR"):
        self.end(step, events_pb2.AttemptFailed(failure=value_pb2.Failure(reason=reason)))

    def succeed(self, step):
        self.end(step, events_pb2.StepSucceeded())

    def open(self, **fields):
        self.fail(self.start(**fields))
        return self

    def half_open(self):
        self.open()
        self.now_us += SECOND_US
        return self

    @property
    def breaker(self):
        return self.book.of("default", "search").breaker

    def recorded(self):
        return [(stream, event.reason) for stream, event in self.ledger.take()]


def test_a_thousand_at_once_into_half_open_pass_as_often_as_there_are_permits():
    stage = Stage().half_open()
    passed = 0
    for _ in range(1_000):
        request, verdict = stage.ask()
        if isinstance(verdict, Allowed):
            stage.guard.started(request, stage.now_us)
            passed += 1
        else:
            assert isinstance(verdict, Rejected)
    assert passed == 10
    assert stage.breaker.figures(stage.now_us).rejected == 990


def test_asking_takes_no_permit():
    stage = Stage(half_open_permits=1).half_open()
    for _ in range(5):
        assert isinstance(stage.ask()[1], Allowed)
    assert stage.breaker.permits_taken == 0


ENDS = {
    "a success": lambda stage, step: stage.succeed(step),
    "a failure": lambda stage, step: stage.fail(step),
    "an ignored failure": lambda stage, step: stage.fail(step, "IGNORED"),
    "a timeout": lambda stage, step: stage.fail(step, "TIMEOUT"),
    "a lost executor": lambda stage, step: stage.fail(step, "EXECUTOR_LOST"),
    "a cancel, or the end of its workflow": lambda stage, step: stage.end(step, None),
    "an append that failed": lambda stage, step: stage.end(step, None, attempt=1),
}


@pytest.mark.parametrize("how", ENDS)
def test_every_way_an_attempt_ends_gives_its_permit_back(how):
    # A failure opens it again, which takes all permits back; the others leave it half-open.
    stage = Stage(ignore=["IGNORED"], half_open_permits=3).half_open()
    steps = [stage.start() for _ in range(3)]
    assert stage.breaker.permits_taken == 3
    ENDS[how](stage, steps[0])
    fails = how in ("a failure", "a timeout", "a lost executor")
    assert stage.breaker.permits_taken == (0 if fails else 2)
    assert steps[0] not in stage.breaker.under_way
    # What the engine tells again without an outcome changes nothing.
    stage.end(steps[0], None)
    assert stage.breaker.permits_taken == (0 if fails else 2)


def test_the_end_of_another_attempt_of_the_step_gives_nothing_back():
    stage = Stage(half_open_permits=3).half_open()
    step = stage.start()
    stage.end(step, None, attempt=7)
    assert stage.breaker.permits_taken == 1


def test_a_transition_is_recorded_in_the_stream_of_its_tool():
    stage = Stage(half_open_permits=1, success_threshold=1).half_open()
    assert stage.recorded() == [("breaker/search", "FAILURES_IN_A_ROW")]
    stage.succeed(stage.start())
    assert stage.recorded() == [
        ("breaker/search", "RECOVERY_TIMEOUT"),
        ("breaker/search", "SUCCESSES_IN_A_ROW"),
    ]


def test_a_transition_whose_append_failed_is_recorded_by_the_next_turn_without_its_cause():
    stage = Stage().open()
    ((stream_id, lost),) = stage.ledger.take()
    stage.guard.unrecorded("default", stream_id, lost)
    assert isinstance(stage.ask()[1], Rejected)
    ((_, again),) = stage.ledger.take()
    assert (again.reason, again.to_state, again.open_until_us) == (lost.reason, lost.to_state, lost.open_until_us)
    assert (lost.step_id, again.workflow_id, again.step_id, again.attempt) == ("s1", "", "", 0)
    stage.ask()
    assert stage.recorded() == []


def test_a_transition_that_was_lost_and_followed_by_another_is_not_recorded_again():
    stage = Stage().open()
    ((stream_id, lost),) = stage.ledger.take()
    stage.now_us += SECOND_US
    stage.start()
    stage.guard.unrecorded("default", stream_id, lost)
    stage.ask()
    assert stage.recorded() == [("breaker/search", "RECOVERY_TIMEOUT")]


def test_the_rejection_tells_when_to_try_again():
    stage = Stage().open()
    stage.now_us += 400_000
    _, verdict = stage.ask()
    assert (verdict.guard, verdict.chance) == ("breaker", 0.25)
    assert (verdict.failure.reason, verdict.failure.retryable, verdict.failure.retry_after_ms) == (
        "BREAKER_OPEN",
        True,
        600,
    )


def test_the_timeout_of_the_rule_bounds_the_attempt():
    assert Stage(timeout_ms=1_500).ask()[1].timeout_ms == 1_500


@pytest.mark.parametrize("mode", [policy_pb2.BREAKER_MODE_DISABLED, policy_pb2.BREAKER_MODE_METRICS_ONLY])
def test_what_lets_everything_through_bounds_no_attempt(mode):
    assert Stage(timeout_ms=1_500, mode=mode).ask()[1] is ALLOWED


def test_tenants_and_tools_have_breakers_of_their_own():
    stage = Stage().open()
    assert isinstance(stage.ask()[1], Rejected)
    assert stage.ask(tool="other")[1] is ALLOWED
    assert stage.ask(tenant="another")[1] is ALLOWED


def test_the_first_rule_that_fits_is_the_breakers():
    stage = Stage()
    rules = (
        policy_pb2.BreakerRule(id="some", tools=["web_*"], mode=policy_pb2.BREAKER_MODE_FORCED_OPEN),
        policy_pb2.BreakerRule(id="rest"),
    )
    stage.policy = dataclasses.replace(DEFAULT_POLICY, breakers=rules)
    assert isinstance(stage.ask(tool="web_search")[1], Rejected)
    assert stage.ask(tool="search")[1] is ALLOWED


def test_a_tool_of_which_no_rule_speaks_any_more_is_let_through_and_that_is_recorded():
    stage = Stage().open()
    stage.ledger.take()
    stage.put(id="")
    assert stage.ask()[1] is ALLOWED
    assert stage.recorded() == [("breaker/search", "POLICY_CHANGED")]


def test_those_who_wait_are_woken_as_many_as_there_are_permits_and_keep_them_from_who_comes_later():
    stage = Stage(when_open=policy_pb2.WHEN_OPEN_WAIT, half_open_permits=2, success_threshold=2).open()
    waits = [stage.ask() for _ in range(5)]
    line = stage.line(waits)
    assert line.let_through(stage.now_us) == ([], stage.now_us + SECOND_US)
    stage.now_us += SECOND_US
    through, _ = line.let_through(stage.now_us)
    assert [step for _, _, step in through] == [request.step_id for request, _ in waits[:2]]
    assert line.let_through(stage.now_us)[0] == []
    # Somebody who comes now, with a permit to be had, has to wait behind those who were woken for it.
    late = stage.ask()[1]
    assert isinstance(late, Wait)
    steps = [stage.start(step=step) for _, _, step in through]
    assert isinstance(stage.ask()[1], Wait)
    stage.woken.clear()
    stage.end(steps[0], None)
    assert stage.woken == [line]
    assert line.let_through(stage.now_us)[0] == [("default", steps[0][1], waits[2][0].step_id)]


def test_the_room_of_one_that_was_woken_and_ends_before_it_starts_is_told_at_once():
    stage = Stage(when_open=policy_pb2.WHEN_OPEN_WAIT, half_open_permits=1, success_threshold=1).open()
    line = stage.line([stage.ask() for _ in range(3)])
    stage.now_us += SECOND_US
    (first,), _ = line.let_through(stage.now_us)
    assert stage.woken == []
    line.leave(first)
    assert stage.woken == [line]
    (second,), _ = line.let_through(stage.now_us)
    # Its start gives no room to anybody.
    stage.start(step=second[2])
    line.leave(second)
    assert stage.woken == [line]


def test_those_who_wait_are_woken_by_priority_and_a_low_one_does_not_wait_for_ever():
    low, high = definition_pb2.PRIORITY_LOW, definition_pb2.PRIORITY_HIGH
    stage = Stage(when_open=policy_pb2.WHEN_OPEN_WAIT, half_open_permits=18, success_threshold=18).open()
    priorities = [low, 0, high, low, 0, *[high] * 20]
    line = stage.line([stage.ask(priority=priority) for priority in priorities])
    stage.now_us += SECOND_US
    numbers = [int(step[2].removeprefix("s")) - 2 for step in line.let_through(stage.now_us)[0]]
    # Sixteen of high priority in their order; then those who were passed over as often, the lowest first.
    assert numbers == [2, *range(5, 20), 0, 1]


def test_all_are_woken_when_it_closes():
    stage = Stage(when_open=policy_pb2.WHEN_OPEN_WAIT, half_open_permits=1, success_threshold=1).open()
    waits = [stage.ask() for _ in range(50)]
    line = stage.line(waits)
    stage.now_us += SECOND_US
    ((_, _, first),), _ = line.let_through(stage.now_us)
    stage.succeed(stage.start(step=first))
    assert line in stage.woken
    assert len(line.let_through(stage.now_us)[0]) == 49


def test_who_was_woken_and_does_not_come_loses_the_permit_after_a_while_and_not_the_place():
    stage = Stage(when_open=policy_pb2.WHEN_OPEN_WAIT, half_open_permits=1, success_threshold=1).open()
    waits = [stage.ask() for _ in range(3)]
    line = stage.line(waits)
    stage.now_us += SECOND_US
    (first,), again_us = line.let_through(stage.now_us)
    assert line.let_through(stage.now_us)[0] == []
    stage.now_us = again_us
    (second,), _ = line.let_through(stage.now_us)
    assert second[2] == waits[1][0].step_id
    stage.start(step=second[2])
    verdict = stage.ask(step=first[2])[1]
    assert isinstance(verdict, Wait)
    verdict.join()
    stage.end(second, None)
    assert line.let_through(stage.now_us)[0] == [first]


def waiting(permits=1, **fields):
    """A half-open breaker with its permits out, and six steps that wait in its line."""
    rule = {"when_open": policy_pb2.WHEN_OPEN_WAIT, "half_open_permits": permits, "success_threshold": permits}
    stage = Stage(**{**rule, **fields}).half_open()
    held = [stage.start() for _ in range(permits)]
    line = stage.line([stage.ask() for _ in range(6)])
    stage.woken.clear()
    stage.ledger.take()
    return stage, held, line


def move(stage, line):
    """Those who are let through ask, until nobody moves; how many start, and how many are rejected."""
    started = rejected = 0
    while through := line.let_through(stage.now_us)[0]:
        for _, _, step in through:
            request, verdict = stage.ask(step=step)
            if isinstance(verdict, Wait):
                verdict.join()
            elif isinstance(verdict, Rejected):
                rejected += 1
            else:
                stage.guard.started(request, stage.now_us)
                started += 1
    return started, rejected


def test_half_open_that_lasts_too_long_wakes_one_who_ends_it_and_then_as_many_as_there_are_permits():
    stage, _, line = waiting(half_open_max_ms=3_000)
    over_us = stage.now_us + 3 * SECOND_US
    assert line.let_through(stage.now_us) == ([], over_us)
    stage.now_us = over_us
    (asking,), _ = line.let_through(stage.now_us)
    assert line.let_through(stage.now_us)[0] == []
    verdict = stage.ask(step=asking[2])[1]
    assert stage.recorded() == [("breaker/search", "HALF_OPEN_TIMEOUT")]
    assert verdict.until_us == stage.now_us + SECOND_US
    verdict.join()
    assert line.let_through(stage.now_us) == ([], stage.now_us + SECOND_US)
    stage.now_us += SECOND_US
    assert line.let_through(stage.now_us)[0] == [asking]


def test_without_a_bound_half_open_keeps_those_who_wait():
    stage, _, line = waiting()
    stage.now_us += 1_000 * SECOND_US
    assert line.let_through(stage.now_us)[0] == []


CHANGES = {
    # Of two permits that are out: what the policy says then, how many start, what is recorded, and the permits out.
    "nothing else": ({}, 0, [], 2),
    "more permits": ({"half_open_permits": 4}, 2, [], 4),
    "fewer permits than are out": ({"half_open_permits": 1}, 0, [], 2),
    "no rule": ({"id": ""}, 6, ["POLICY_CHANGED"], 0),
    "disabled": ({"mode": policy_pb2.BREAKER_MODE_DISABLED}, 6, ["POLICY_CHANGED"], 0),
    "only metrics": ({"mode": policy_pb2.BREAKER_MODE_METRICS_ONLY}, 6, ["POLICY_CHANGED"], 0),
    "held open": ({"mode": policy_pb2.BREAKER_MODE_FORCED_OPEN}, 0, ["POLICY_CHANGED"], 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_policy_change_while_it_is_half_open_holds_at_once_for_those_who_wait(change):
    fields, started, recorded, taken = CHANGES[change]
    rule = {"when_open": policy_pb2.WHEN_OPEN_WAIT, "half_open_permits": 2, "success_threshold": 5}
    stage, held, line = waiting(2, **rule)
    stage.put(**{**rule, **fields})
    stage.guard.policy_changed("another")
    assert stage.woken == []
    stage.guard.policy_changed("default")
    assert stage.woken == [line]
    assert move(stage, line) == (started, 0)
    assert [reason for _, reason in stage.recorded()] == recorded
    assert stage.breaker.permits_taken == taken
    # What has a permit of the phase that is over gives none of another back.
    for step in held:
        stage.end(step, None)
    assert stage.breaker.permits_taken == max(0, taken - 2)
    assert not set(held) & set(stage.breaker.under_way)


def test_permits_that_are_too_many_by_another_policy_come_back_before_the_next_is_given_out():
    stage, held, line = waiting(2)
    stage.put(when_open=policy_pb2.WHEN_OPEN_WAIT, half_open_permits=1, success_threshold=2)
    stage.guard.policy_changed("default")
    assert move(stage, line) == (0, 0)
    stage.end(held[0], None)
    assert move(stage, line) == (0, 0)
    stage.end(held[1], None)
    assert move(stage, line) == (1, 0)


def test_those_who_wait_are_rejected_when_the_policy_says_so_now():
    stage, _, line = waiting()
    stage.put(half_open_permits=1, success_threshold=1)
    stage.guard.policy_changed("default")
    assert move(stage, line) == (0, 6)


def test_a_rule_that_comes_back_finds_the_breaker_closed():
    stage, _, line = waiting()
    stage.put(id="")
    stage.guard.policy_changed("default")
    assert move(stage, line) == (6, 0)
    stage.put(half_open_permits=1)
    assert stage.ask()[1] is ALLOWED
    assert stage.breaker.permits_taken == 0
    assert [reason for _, reason in stage.recorded()] == ["POLICY_CHANGED"] * 2
