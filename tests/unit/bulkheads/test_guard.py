"""The guard of bulkheads: who runs, who waits, who is refused, and that permits come back."""

from podium.v1 import definition_pb2, policy_pb2
from service.admission.bulkhead import BulkheadGuard
from service.admission.bulkhead_line import PUT_BY_US
from service.admission.guards import AttemptEnd
from service.admission.verdicts import ALLOWED, Allowed, Rejected, Wait
from service.domain.permissions import DEFAULT_POLICY
from tests.unit.admission.calls import a_request, a_tool

NOW_US = 1_800_000_000_000_000


class Bulkheads:
    """A guard with a policy that can change, and what it tells."""

    def __init__(self, *bulkheads):
        self.looks = []
        self.set(*bulkheads)
        self.guard = BulkheadGuard(lambda _tenant: self._policy, lambda: 0.5)

    def set(self, *bulkheads):
        self._policy = DEFAULT_POLICY.__class__("own", 1, {}, bulkheads=bulkheads)

    def ask(self, name, tool="search", priority=0, at_us=NOW_US):
        request = a_request(step_id=name, tool=a_tool(tool))
        request.priority = priority
        verdict = self.guard.check(request, at_us)
        if verdict is ALLOWED:
            self.guard.started(request, at_us)
        elif isinstance(verdict, Wait):
            self.guard.queued(step(name), tool)
            line = verdict.join()
            line.on_stir(lambda: self.looks.append(line))
            line.stir()
        return verdict

    def end(self, name):
        self.guard.ended(AttemptEnd(step(name), NOW_US, 1, "search"))
        self.guard.ended(AttemptEnd(step(name), NOW_US))

    def counts(self, tool="search"):
        found = {key: counts for key, *counts in self.guard.figures()}
        return tuple(found.get(("default", tool), (0, 0)))


def step(name):
    return ("default", "wf_1", name)


def bulkhead(name="b", **fields):
    return policy_pb2.Bulkhead(id=name, **fields)


def test_as_many_run_as_may_and_whoever_comes_next_waits():
    bulkheads = Bulkheads(bulkhead(max_concurrent=2))
    assert bulkheads.ask("a") is bulkheads.ask("b") is ALLOWED
    assert bulkheads.ask("c").reason == "the bulkhead b"
    assert bulkheads.ask("d", tool="other") is ALLOWED
    assert bulkheads.counts() == (2, 1)


def test_an_end_that_is_told_twice_gives_one_permit_back():
    bulkheads = Bulkheads(bulkhead(max_concurrent=1))
    bulkheads.ask("a")
    bulkheads.end("a")
    assert bulkheads.counts() == (0, 0)
    assert bulkheads.ask("b") is ALLOWED
    bulkheads.end("a")
    assert isinstance(bulkheads.ask("c"), Wait)


def test_a_permit_that_comes_back_wakes_one_and_is_put_by_for_it():
    bulkheads = Bulkheads(bulkhead(max_concurrent=1))
    for name in "abc":
        bulkheads.ask(name)
    bulkheads.end("a")
    (line,) = bulkheads.looks
    assert line.let_through(NOW_US)[0] == [step("b")]
    assert line.let_through(NOW_US)[0] == []
    assert isinstance(bulkheads.ask("d"), Wait)
    assert bulkheads.ask("b") is ALLOWED


def test_a_permit_that_is_not_taken_in_time_goes_to_the_next():
    bulkheads = Bulkheads(bulkhead(max_concurrent=1))
    for name in "abc":
        bulkheads.ask(name)
    bulkheads.end("a")
    (line,) = bulkheads.looks
    _, look_again_us = line.let_through(NOW_US)
    assert look_again_us == NOW_US + PUT_BY_US
    assert line.let_through(look_again_us)[0] == [step("c")]
    # Whoever was late and waits again stands where it stood.
    bulkheads.ask("c")
    assert isinstance(bulkheads.ask("b"), Wait)


def test_a_permit_that_came_back_while_a_wait_was_on_its_way_is_not_missed():
    bulkheads = Bulkheads(bulkhead(max_concurrent=1))
    bulkheads.ask("a")
    request = a_request(step_id="b")
    wait = bulkheads.guard.check(request, NOW_US)
    bulkheads.guard.queued(step("b"), "search")
    bulkheads.end("a")
    line = wait.join()
    line.on_stir(lambda: bulkheads.looks.append(line))
    line.stir()
    assert bulkheads.looks == [line]


def test_more_than_may_wait_are_rejected_with_a_time_to_come_back():
    bulkheads = Bulkheads(bulkhead(max_concurrent=1, max_queued=1))
    bulkheads.ask("a")
    bulkheads.ask("b")
    rejected = bulkheads.ask("c")
    assert isinstance(rejected, Rejected)
    assert (rejected.failure.reason, rejected.failure.retry_after_ms) == ("OVERLOADED", 1000)
    # Who waits already is never turned away, asked as often as may be.
    assert isinstance(bulkheads.ask("b"), Wait)


def test_only_those_who_wait_for_a_permit_or_a_place_are_in_the_queue():
    bulkheads = Bulkheads(bulkhead(max_concurrent=2, max_queued=1))
    bulkheads.ask("a")
    for number in range(9):
        bulkheads.guard.queued(step(f"follows-{number}"), "search", "cache")
    assert bulkheads.counts() == (1, 0)
    assert bulkheads.ask("b") is ALLOWED
    assert isinstance(bulkheads.ask("c"), Wait)
    # Whoever has waited for something else comes as anybody does, and the bound of the queue is for it, too.
    assert isinstance(bulkheads.ask("follows-0"), Rejected)
    for name in ("follows-0", "c"):
        bulkheads.end(name)
    assert isinstance(bulkheads.ask("follows-1"), Wait)
    assert bulkheads.counts() == (2, 1)
    # One that waits for another guard by now has left the queue.
    bulkheads.guard.queued(step("follows-1"), "search", "breaker")
    assert bulkheads.counts() == (2, 0)


def test_who_finds_a_permit_that_is_nobodys_is_never_refused():
    bulkheads = Bulkheads(bulkhead(max_concurrent=3, max_queued=1))
    bulkheads.ask("a")
    # They wait for a place: two for the permits that are free, and one beside them.
    for name in "bcd":
        assert isinstance(bulkheads.guard.check(a_request(step_id=name, tool=a_tool("search")), NOW_US), Allowed)
        bulkheads.guard.queued(step(name), "search")
    assert isinstance(bulkheads.ask("e"), Rejected)
    bulkheads.end("d")
    assert bulkheads.ask("e") is ALLOWED


def test_a_bulkhead_that_comes_later_has_only_those_in_its_queue_who_belong_there():
    bulkheads = Bulkheads()
    bulkheads.ask("a")
    bulkheads.guard.queued(step("follows"), "search", "cache")
    bulkheads.guard.queued(step("waits"), "search")
    bulkheads.set(bulkhead(max_concurrent=1, max_queued=2))
    assert isinstance(bulkheads.ask("b"), Wait)
    assert isinstance(bulkheads.ask("c"), Rejected)


def test_of_several_bulkheads_the_narrowest_counts():
    bulkheads = Bulkheads(
        bulkhead("wide", max_concurrent=5, max_queued=1),
        bulkhead("narrow", tools=["sea*"], max_concurrent=1),
        bulkhead("not-mine", executors=["x"], max_concurrent=1),
    )
    assert bulkheads.ask("a") is ALLOWED
    assert bulkheads.ask("b").reason == "the bulkhead narrow"
    assert isinstance(bulkheads.ask("c"), Rejected)


def test_a_bulkhead_that_comes_later_counts_what_runs_and_one_that_goes_holds_nobody():
    bulkheads = Bulkheads()
    bulkheads.ask("a")
    bulkheads.guard.resumed(step("b"), 1, "search")
    bulkheads.set(bulkhead(max_concurrent=2))
    assert isinstance(bulkheads.ask("c"), Wait)
    bulkheads.set()
    bulkheads.guard.policy_changed("default")
    (line,) = bulkheads.looks
    assert line.let_through(NOW_US) == ([step("c")], None)


def test_nothing_is_left_of_those_who_came_and_went():
    bulkheads = Bulkheads(bulkhead(max_concurrent=1))
    for name in "abc":
        bulkheads.ask(name)
    for name in "abc":
        bulkheads.end(name)
        for line in bulkheads.looks:
            line.leave(step(name))
    guard = bulkheads.guard
    assert (guard._running, guard._queued) == ({}, {})  # noqa: SLF001 - a leak is seen nowhere else


def test_high_goes_before_normal_before_low_and_each_in_its_order():
    bulkheads = Bulkheads(bulkhead(max_concurrent=1))
    bulkheads.ask("running")
    low, high = definition_pb2.PRIORITY_LOW, definition_pb2.PRIORITY_HIGH
    for number in range(5):
        for priority in (low, 0, high):
            bulkheads.ask(f"{priority}-{number}", priority=priority)
    order, last = [], "running"
    while len(order) < 3 * 5:
        bulkheads.end(last)
        ((_, _, last),) = bulkheads.looks[-1].let_through(NOW_US)[0]
        assert bulkheads.ask(last) is ALLOWED
        order.append(last)
    assert order == [f"{priority}-{number}" for priority in (high, 0, low) for number in range(5)]
