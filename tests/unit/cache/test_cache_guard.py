"""Which calls are answered, for whom and how long; and who calls the tool when many want the same."""

import dataclasses

import pytest

from podium.v1 import definition_pb2, events_pb2
from service.admission.pipeline import Pipeline
from service.admission.result_cache import Source
from service.admission.verdicts import ALLOWED, Allowed, Answered, Wait
from tests.unit.admission.calls import a_tool
from tests.unit.cache.calls import CachedCalls, answer_of, cached_tool, rule, step_of

CACHING = definition_pb2.Caching(ttl_ms=500)


@pytest.fixture
def calls():
    return CachedCalls()


# Whose results are whose.


def test_the_same_call_is_answered_and_says_from_where(calls):
    produced = calls.produce()
    calls.tick(7)
    again = calls.request()
    verdict = calls.ask(again)
    assert answer_of(verdict) == '"out"'
    assert verdict.hit == events_pb2.CacheHit(
        step_id="look",
        tool="quote",
        key=verdict.hit.key,
        source_workflow_id=produced.workflow_id,
        source_step_id="look",
        source_position=1,
        age_us=7_000,
    )


@pytest.mark.parametrize(
    "other",
    [
        {"value": "2"},
        {"tenant": "other"},
        {"subject": "bob"},
        {"on_behalf_of": "bob"},
        {"tool_version": 2},
        {"tool": cached_tool("quotes")},
    ],
    ids=str,
)
def test_no_result_is_another_calls(calls, other):
    calls.produce()
    assert calls.answer(**other) is None
    assert calls.answer() == '"out"'


def test_no_result_is_of_use_under_another_revision_of_the_policy(calls):
    calls.produce()
    calls.policy = dataclasses.replace(calls.policy, revision=2)
    assert calls.answer() is None


def test_names_cannot_be_put_together_to_be_others(calls):
    calls.produce(subject="ab", on_behalf_of="c")
    assert calls.answer(subject="a", on_behalf_of="bc") is None
    assert calls.answer(subject="abc") is None
    calls.produce(tenant="t", tool=cached_tool("ab"))
    assert calls.answer(tenant="ta", tool=cached_tool("b")) is None


def test_a_result_that_is_shared_is_everybodys_of_the_tenant_and_nobody_elses(calls):
    tool = cached_tool(shared=True)
    calls.produce(tool=tool)
    assert calls.answer(tool=tool, subject="bob", on_behalf_of="eve") == '"out"'
    assert calls.answer(tool=tool, tenant="other") is None
    # What one subject has for itself is not shared because others share.
    assert calls.answer(tool_version=2) is None


def test_arguments_are_the_same_in_any_order(calls):
    calls.produce('1, "other": 2')
    assert calls.answer('1,"other":2') == '"out"'
    request = calls.request(arguments='{"other": 2, "value": 1}')
    assert answer_of(calls.ask(request)) == '"out"'


# What is cached, and how long.


@pytest.mark.parametrize("tool", [a_tool("quote"), a_tool("quote", read_only=True), cached_tool(read_only=False)])
def test_a_tool_that_declares_no_caching_or_changes_something_is_always_called(calls, tool):
    calls.produce(tool=tool)
    assert calls.ask(calls.request(tool=tool)) is ALLOWED
    assert calls.results.size("default") == (0, 0)


def test_a_policy_can_cache_what_declares_nothing_but_never_what_changes_something(calls):
    calls.policy = dataclasses.replace(calls.policy, caches=(rule(tools=["quo*"], caching=CACHING),))
    reads, writes = a_tool("quote", read_only=True), a_tool("quote_set")
    calls.produce(tool=reads)
    assert calls.answer(tool=reads) == '"out"'
    calls.produce(tool=writes)
    assert calls.answer(tool=writes) is None


def test_a_rule_without_tools_speaks_of_those_that_declare_caching(calls):
    calls.policy = dataclasses.replace(calls.policy, caches=(rule(caching=CACHING),))
    calls.produce(tool=a_tool("quote", read_only=True))
    assert calls.answer(tool=a_tool("quote", read_only=True)) is None
    calls.produce(tool=cached_tool("other"))
    calls.tick(499)
    assert calls.answer(tool=cached_tool("other")) == '"out"'
    calls.tick(1)
    assert calls.answer(tool=cached_tool("other")) is None


def test_the_first_rule_that_fits_counts_and_may_disable(calls):
    calls.policy = dataclasses.replace(
        calls.policy, caches=(rule(tools=["quote"], disabled=True), rule("all", caching=CACHING))
    )
    calls.produce()
    assert calls.answer() is None
    calls.produce(tool=cached_tool("other"))
    assert calls.answer(tool=cached_tool("other")) == '"out"'


def test_a_result_is_fresh_until_its_time_is_over(calls):
    calls.produce()
    calls.tick(999)
    assert calls.answer() == '"out"'
    calls.tick(1)
    assert calls.answer() is None
    assert calls.figures()["expirations"] == 1


@pytest.mark.parametrize(("ttl_ms", "fresh_ms"), [(10, 10), (5_000, 5_000), (0, 0), (None, 1_000)])
def test_a_tool_may_say_of_a_result_how_long_it_is_fresh(calls, ttl_ms, fresh_ms):
    calls.produce(ttl_ms=ttl_ms)
    if fresh_ms:
        calls.tick(fresh_ms - 1)
        assert calls.answer() == '"out"'
        calls.tick(1)
    assert calls.answer() is None


def test_a_result_may_be_fresh_for_less_than_the_policy_says_and_not_for_longer(calls):
    calls.policy = dataclasses.replace(calls.policy, caches=(rule(caching=CACHING),))
    calls.produce("1", ttl_ms=5_000)
    calls.produce("2", ttl_ms=100)
    calls.tick(100)
    assert (calls.answer("1"), calls.answer("2")) == ('"out"', None)
    calls.tick(400)
    assert calls.answer("1") is None


def test_a_value_that_cannot_be_opened_any_more_is_a_miss():
    readable = True
    calls = CachedCalls(is_readable=lambda tenant, value: readable)
    calls.produce()
    assert calls.answer() == '"out"'
    readable = False
    assert calls.answer() is None


# Stale results.


def test_an_expired_result_serves_a_fallback_and_no_call(calls):
    tool = cached_tool(stale_ms=2_000)
    calls.produce(tool=tool)
    calls.tick(1_500)
    assert calls.answer(tool=tool) is None
    found = calls.guard.stale(calls.request(tool=tool), 0, calls.now_us)
    assert answer_of(found) == '"out"'
    assert (found.hit.stale, found.hit.age_us) == (True, 1_500_000)
    assert calls.figures()["stale"] == 1
    calls.tick(1_499)
    assert calls.guard.stale(calls.request(tool=tool), 0, calls.now_us) is not None
    calls.tick(1)
    assert calls.guard.stale(calls.request(tool=tool), 0, calls.now_us) is None


def test_a_stale_result_is_not_older_than_asked_for_nor_another_subjects(calls):
    tool = cached_tool(stale_ms=60_000)
    calls.produce(tool=tool)
    calls.tick(5_000)
    assert calls.guard.stale(calls.request(tool=tool), 5_000_000, calls.now_us) is not None
    assert calls.guard.stale(calls.request(tool=tool), 4_999_999, calls.now_us) is None
    assert calls.guard.stale(calls.request(tool=tool, subject="bob"), 0, calls.now_us) is None
    assert calls.guard.stale(calls.request(tool=a_tool("quote"), tool_version=2), 0, calls.now_us) is None


# One of many.


def test_of_identical_calls_one_calls_the_tool_and_the_others_are_given_its_result(calls):
    leader = calls.start(calls.request())
    followers = [calls.request() for _ in range(999)]
    for each in followers:
        calls.follow(each)
    assert calls.woken == []
    calls.succeed(leader)
    assert calls.woken == [step_of(each) for each in followers]
    verdicts = [calls.ask(each) for each in followers]
    assert {answer_of(verdict) for verdict in verdicts} == {'"out"'}
    assert all(verdict.hit.coalesced and verdict.hit.source_workflow_id == leader.workflow_id for verdict in verdicts)
    assert calls.figures() == {"misses": 1, "stores": 1, "coalesced": 999}


def test_nobody_is_given_a_result_before_it_is_durable(calls):
    leader = calls.start(calls.request())
    follower = calls.request()
    calls.follow(follower)
    outcome = calls.succeed(leader, durable=False)
    assert calls.woken == []
    assert isinstance(calls.ask(calls.request()), Wait)
    assert calls.results.size("default") == (0, 0)
    calls.commit(leader, outcome)
    assert answer_of(calls.ask(follower)) == '"out"'


def test_a_result_that_could_not_be_recorded_is_nobodys_and_the_next_goes(calls):
    leader = calls.start(calls.request())
    followers = [calls.request() for _ in range(3)]
    for each in followers:
        calls.follow(each)
    calls.succeed(leader, durable=False)
    calls.guard.undone(step_of(leader))
    assert calls.woken == [step_of(followers[0])]
    assert isinstance(calls.ask(followers[0]), Allowed)
    assert calls.results.size("default") == (0, 0)


@pytest.mark.parametrize("reason", ["", "EXECUTOR_LOST", "CANCELED"])
def test_when_the_leader_ends_and_the_tool_did_not_fail_exactly_one_follower_goes(calls, reason):
    leader = calls.start(calls.request())
    followers = [calls.request() for _ in range(5)]
    for each in followers:
        calls.follow(each)
    if reason:
        calls.fail(leader, reason)
    calls.end(leader)
    assert calls.woken == [step_of(followers[0])]
    # The others that ask, and newcomers, wait on.
    assert isinstance(calls.ask(followers[1]), Wait)
    assert isinstance(calls.ask(calls.request()), Wait)
    calls.start(followers[0])
    calls.succeed(followers[0], '"second"')
    assert {answer_of(calls.ask(each)) for each in followers[1:]} == {'"second"'}


def test_when_the_leader_fails_all_followers_go_and_nobody_waits_for_another_for_a_while(calls):
    leader = calls.start(calls.request())
    followers = [calls.request() for _ in range(5)]
    for each in followers:
        calls.follow(each)
    calls.fail(leader)
    calls.end(leader)
    assert calls.woken == [step_of(each) for each in followers]
    for each in (*followers, calls.request()):
        calls.start(each)
    # A result that one of them has after all is everybody's.
    calls.succeed(followers[3], '"second"')
    assert calls.answer() == '"second"'


def test_some_time_after_a_failure_identical_calls_wait_for_each_other_again(calls):
    calls.fail(calls.start(calls.request()))
    calls.tick(9_999)
    calls.start(calls.request())
    calls.start(calls.request())
    calls.tick(1)
    leader = calls.start(calls.request())
    follower = calls.request()
    calls.follow(follower)
    calls.succeed(leader)
    assert calls.woken == [step_of(follower)]


def test_who_was_handed_the_lead_keeps_it_when_an_older_call_fails_meanwhile(calls):
    calls.fail(calls.start(calls.request()))
    alone = calls.start(calls.request())
    calls.tick(10_000)
    leader = calls.start(calls.request())
    first, second = calls.request(), calls.request()
    calls.follow(first)
    calls.follow(second)
    calls.end(leader)
    calls.fail(alone)
    calls.start(first)
    calls.succeed(first)
    assert calls.woken == [step_of(first), step_of(second)]
    assert calls.guard.flights.is_idle is False
    assert answer_of(calls.ask(second)) == '"out"'
    assert (len(calls.guard.flights), calls.guard.flights.is_idle) == (0, True)


def test_a_follower_that_ends_before_it_goes_hands_over(calls):
    leader = calls.start(calls.request())
    first, second = calls.request(), calls.request()
    calls.follow(first)
    line = calls.follow(second)
    calls.end(leader)
    # It was canceled while it waited for a place.
    calls.end(first)
    assert calls.woken == [step_of(first), step_of(second)]
    assert step_of(second) not in line
    calls.start(second)


def test_a_follower_that_left_the_line_is_passed_over(calls):
    leader = calls.start(calls.request())
    first, second = calls.request(), calls.request()
    calls.follow(first).leave(step_of(first))
    calls.follow(second)
    calls.end(leader)
    assert calls.woken == [step_of(second)]


def test_a_follower_that_ended_is_handed_nothing_even_before_its_end_is_durable(calls):
    leader = calls.start(calls.request())
    first, second = calls.request(), calls.request()
    calls.follow(first)
    calls.follow(second)
    calls.end(first)
    calls.end(leader)
    assert calls.woken == [step_of(second)]


def test_when_nobody_waits_the_next_call_is_as_the_first(calls):
    leader = calls.start(calls.request())
    calls.fail(leader)
    assert calls.woken == []
    assert len(calls.guard.flights) == 0
    calls.start(calls.request())


def test_who_comes_into_line_after_the_result_is_told_at_once(calls):
    leader = calls.start(calls.request())
    follower = calls.request()
    wait = calls.ask(follower)
    calls.succeed(leader)
    assert calls.woken == []
    wait.join()
    assert calls.woken == [step_of(follower)]
    assert answer_of(calls.ask(follower)) == '"out"'


def test_who_comes_into_line_after_the_leader_failed_goes(calls):
    leader = calls.start(calls.request())
    follower = calls.request()
    wait = calls.ask(follower)
    calls.fail(leader)
    wait.join()
    assert calls.woken == [step_of(follower)]
    calls.start(follower)


def test_a_result_that_is_not_to_be_kept_is_given_to_nobody_and_the_others_stop_waiting_for_each_other(calls):
    leader = calls.start(calls.request())
    followers = [calls.request() for _ in range(3)]
    for each in followers:
        calls.follow(each)
    calls.succeed(leader, cache_ttl_ms=0)
    assert calls.woken == [step_of(each) for each in followers]
    for each in followers:
        calls.start(each)
    assert calls.figures() == {"misses": 4}


def test_a_follower_is_given_the_result_it_waited_for_even_when_there_is_no_room_for_it():
    calls = CachedCalls(dataclasses.replace(CachedCalls().results.bounds, tenant_bytes=100))
    leader = calls.start(calls.request())
    follower = calls.request()
    calls.follow(follower)
    calls.succeed(leader)
    assert calls.results.size("default") == (0, 0)
    assert answer_of(calls.ask(follower)) == '"out"'


def test_a_follower_whose_call_has_changed_meanwhile_is_given_nothing(calls):
    leader = calls.start(calls.request())
    follower = calls.request()
    calls.follow(follower)
    calls.succeed(leader)
    calls.policy = dataclasses.replace(calls.policy, revision=2)
    assert isinstance(calls.ask(follower), Allowed)


def test_by_another_policy_all_who_wait_ask_anew_and_one_of_them_leads(calls):
    leader = calls.start(calls.request())
    followers = [calls.request() for _ in range(5)]
    for each in followers:
        calls.follow(each)
    others = calls.start(calls.request(tenant="other"))
    calls.policy = dataclasses.replace(calls.policy, revision=2)
    calls.guard.policy_changed("default")
    assert calls.woken == [step_of(each) for each in followers]
    calls.start(followers[0])
    for each in followers[1:]:
        calls.follow(each)
    # What the old leader finds out is nobody's, and how it ends moves nobody.
    calls.succeed(leader, '"old"')
    assert len(calls.woken) == 5
    calls.succeed(followers[0], '"new"')
    assert {answer_of(calls.ask(each)) for each in followers[1:]} == {'"new"'}
    # Another tenant's policy is its own.
    calls.policy = dataclasses.replace(calls.policy, revision=1)
    calls.succeed(others)
    assert calls.answer(tenant="other") == '"out"'


def test_who_is_handed_the_lead_of_a_call_and_makes_another_one_hands_it_over(calls):
    leader = calls.start(calls.request())
    followers = [calls.request() for _ in range(3)]
    for each in followers:
        calls.follow(each)
    calls.policy = dataclasses.replace(calls.policy, revision=2)
    calls.end(leader)
    calls.start(followers[0])
    assert calls.woken == [step_of(each) for each in followers[:2]]
    # The next waits for that other call as well, and hands over at once.
    calls.follow(followers[1])
    assert calls.woken == [step_of(each) for each in followers]


def test_who_makes_another_call_alone_hands_over_what_it_led(calls):
    leader = calls.start(calls.request())
    followers = [calls.request() for _ in range(2)]
    for each in followers:
        calls.follow(each)
    calls.policy = dataclasses.replace(calls.policy, revision=2)
    calls.produce(ttl_ms=0)
    calls.end(leader)
    calls.start(followers[0])
    assert calls.woken == [step_of(each) for each in followers]


def test_calls_of_different_subjects_do_not_wait_for_each_other(calls):
    calls.start(calls.request())
    calls.start(calls.request(subject="bob"))
    calls.start(calls.request(tenant="other"))
    assert len(calls.guard.flights) == 3


# Invalidation.


def test_what_was_invalidated_is_not_used_any_more(calls):
    calls.produce("1")
    calls.produce("2")
    calls.produce("1", tool=cached_tool("other"))
    calls.produce("1", tenant="other")
    calls.guard.invalidate("default", "quote", calls.request("1").arguments_digest)
    assert [calls.answer("1"), calls.answer("2")] == [None, '"out"']
    calls.guard.invalidate("default", "quote", b"")
    assert calls.answer("2") is None
    assert calls.answer("1", tool=cached_tool("other")) == '"out"'
    calls.guard.invalidate("default", "", b"")
    assert calls.answer("1", tool=cached_tool("other")) is None
    assert calls.answer("1", tenant="other") == '"out"'
    assert calls.figures()["invalidations"] == 2


@pytest.mark.parametrize("when", ["runs", "has succeeded, not yet durably"])
def test_what_was_begun_before_an_invalidation_is_neither_kept_nor_given_away(calls, when):
    leader = calls.start(calls.request())
    follower = calls.request()
    calls.follow(follower)
    outcome = None
    if when != "runs":
        outcome = calls.succeed(leader, durable=False)
    calls.guard.invalidate("default", "quote", b"")
    assert calls.woken == [step_of(follower)]
    # It begins anew, and does not wait for what was begun before.
    calls.start(follower)
    if outcome is None:
        calls.succeed(leader)
    else:
        calls.commit(leader, outcome)
    assert isinstance(calls.ask(calls.request()), Wait)
    calls.succeed(follower, '"new"')
    assert calls.answer() == '"new"'


def test_a_result_that_was_given_and_then_invalidated_is_not_taken(calls):
    leader = calls.start(calls.request())
    follower = calls.request()
    calls.follow(follower)
    calls.succeed(leader)
    calls.guard.invalidate("default", "", b"")
    assert isinstance(calls.ask(follower), Allowed)


# In the pipeline.


def test_the_pipeline_tells_the_guard_what_starts_ends_and_is_durable(calls):
    pipeline = Pipeline([calls.guard])
    request = calls.request()
    assert pipeline.admit(request, calls.now_us).verdict is ALLOWED
    pipeline.started(request, calls.now_us)
    outcome = calls.succeed(request, durable=False)
    pipeline.durable(step_of(request), outcome, 77, calls.now_us)
    answered = pipeline.admit(calls.request(), calls.now_us).verdict
    assert isinstance(answered, Answered)
    assert answered.hit.source_position == 77
    [entry] = calls.results.listed("default")
    assert entry.source == Source(request.workflow_id, "look", 77)


def test_what_started_before_this_process_was_is_not_kept(calls):
    request = calls.request()
    calls.guard.resumed(step_of(request), 1, "quote")
    calls.succeed(request)
    assert calls.results.size("default") == (0, 0)
