"""What a policy's limits count, and that they remember no more than they must."""

import dataclasses

from podium.v1 import policy_pb2
from service.admission.limits import KEYS_MAX, Limit, Limits
from service.admission.rate_limit import RateLimitGuard
from service.domain.permissions import DEFAULT_POLICY
from service.domain.rate_limit import allowed_at_us
from tests.unit.admission.calls import a_request, a_tool, an_authority

SECOND_US = 1_000_000
ATTEMPTS = policy_pb2.LIMIT_SCOPE_ATTEMPTS


def limit_of(count=10, period_ms=60_000, **fields):
    return policy_pb2.RateLimit(**{"id": "some", "count": count, "period_ms": period_ms, **fields})


def policy_with(*limits):
    return dataclasses.replace(DEFAULT_POLICY, limits=limits)


def guarded(*limits):
    policy = policy_with(*limits)
    return RateLimitGuard(lambda _tenant: policy)


def passes(guard, now_us=0, **fields):
    """Whether a call starts; it is counted when it does."""
    request = a_request(**fields)
    allowed = type(guard.check(request, now_us)).__name__ == "Allowed"
    if allowed:
        guard.started(request, now_us)
    return allowed


def test_keys_that_are_fresh_again_are_dropped():
    limit = Limit("default", limit_of(count=1, period_ms=1000), 0)
    for number in range(10_000):
        limit.count((f"subject-{number}",), 1, number * SECOND_US // 100)
    # A burst is back after a second, in which a hundred keys are counted.
    assert limit.keys <= 110


def test_a_key_that_is_still_counted_is_not_dropped():
    limit = Limit("default", limit_of(count=1, period_ms=1000), 0)
    for number in range(5_000):
        limit.count((f"subject-{number}",), 1, 0)
    assert limit.keys == 5_000


def test_however_many_keys_there_are_so_many_are_remembered_and_a_dropped_one_gets_nothing_back():
    limit = Limit("default", limit_of(count=2, period_ms=1_000_000), 0)
    for _ in range(2):
        limit.count(("subject-0",), 1, 0)
    for number in range(1, KEYS_MAX + 1_000):
        limit.count((f"subject-{number}",), 1, 0)
    assert limit.keys == KEYS_MAX
    assert limit.arrival_ticks(("subject-0",)) >= 2 * limit.rate.period_us
    # When that is over, whoever is not remembered has its whole burst again.
    assert allowed_at_us(limit.rate, limit.arrival_ticks(("subject-0",)), 2) <= 1_000 * SECOND_US


def test_a_key_that_was_never_dropped_is_counted_exactly():
    limit = Limit("default", limit_of(count=2, period_ms=1_000_000), 0)
    limit.count(("subject-0",), 1, 0)
    assert limit.arrival_ticks(("subject-0",)) == limit.rate.period_us
    assert limit.arrival_ticks(("another",)) == 0


def test_an_address_of_ipv6_counts_as_its_host_and_one_of_ipv4_as_itself():
    guard = guarded(limit_of(count=1, per=[policy_pb2.LIMIT_KEY_ADDRESS]))
    addresses = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2", "192.0.2.1", "unix")
    passed = [passes(guard, authority=an_authority("agent", address=address)) for address in addresses]
    assert passed == [True, False, True, True, True, False, True]


def test_asking_counts_nothing():
    guard = guarded(limit_of(count=1))
    for _ in range(100):
        assert type(guard.check(a_request(), 0)).__name__ == "Allowed"
    assert passes(guard)
    assert not passes(guard)


def test_of_several_limits_all_count_or_none_does():
    per_subject = limit_of(id="subject", count=1, per=[policy_pb2.LIMIT_KEY_SUBJECT])
    everybody = limit_of(id="everybody", count=3)
    guard = guarded(per_subject, everybody)
    assert passes(guard, authority=an_authority("agent", subject="ana"))
    for _ in range(10):
        assert not passes(guard, authority=an_authority("agent", subject="ana"))
    # What the one refused, the other has not counted.
    assert passes(guard, authority=an_authority("agent", subject="bob"))
    assert passes(guard, authority=an_authority("agent", subject="cleo"))
    assert not passes(guard, authority=an_authority("agent", subject="dora"))


def test_the_limit_that_holds_back_longest_is_the_one_that_is_named():
    guard = guarded(limit_of(id="quick", count=1, period_ms=1_000), limit_of(id="slow", count=1, period_ms=9_000))
    assert passes(guard)
    wait = guard.check(a_request(), 0)
    assert (wait.limited.limit, wait.limited.retry_at_us) == ("slow", 9 * SECOND_US)


def test_a_limit_counts_by_the_combination_of_its_keys():
    keys = [policy_pb2.LIMIT_KEY_SUBJECT, policy_pb2.LIMIT_KEY_TOOL, policy_pb2.LIMIT_KEY_ADDRESS]
    guard = guarded(limit_of(count=1, per=keys))
    who = an_authority("agent", subject="ana", address="10.0.0.1")
    assert passes(guard, authority=who)
    assert not passes(guard, authority=who)
    assert passes(guard, authority=an_authority("agent", subject="bob", address="10.0.0.1"))
    assert passes(guard, authority=an_authority("agent", subject="ana", address="10.0.0.2"))
    assert passes(guard, authority=who, tool=a_tool("fetch"))
    assert passes(guard, authority=who, tenant="another")


def test_a_limit_counts_the_tools_and_the_roles_that_it_names():
    guard = guarded(limit_of(count=1, tools=["file_*"], roles=["agent"]))
    for _ in range(3):
        assert passes(guard, tool=a_tool("search"))
        assert passes(guard, tool=a_tool("file_read"), authority=an_authority("admin"))
    assert passes(guard, tool=a_tool("file_read"))
    assert not passes(guard, tool=a_tool("file_write"))


def test_weights_are_those_of_the_first_glob_that_fits():
    weights = [policy_pb2.Weight(tools="big_*", weight=5), policy_pb2.Weight(tools="*", weight=2)]
    guard = guarded(limit_of(count=10, weights=weights))
    assert passes(guard, tool=a_tool("big_one"))
    assert passes(guard, tool=a_tool("small"))
    assert not passes(guard, tool=a_tool("big_two"))
    assert passes(guard, tool=a_tool("small"))


def test_a_changed_policy_keeps_what_the_same_limit_has_counted():
    kept, other = limit_of(id="kept", count=1), limit_of(id="other", count=5)
    policies = [policy_with(kept)]
    guard = RateLimitGuard(lambda _tenant: policies[-1])
    assert passes(guard)
    policies.append(dataclasses.replace(policy_with(other, kept), revision=2))
    assert not passes(guard)
    # With other parameters it is another limit.
    policies.append(dataclasses.replace(policy_with(limit_of(id="kept", count=2)), revision=3))
    assert passes(guard)


def test_limits_of_requests_count_no_attempts():
    guard = guarded(limit_of(count=1, scope=policy_pb2.LIMIT_SCOPE_REQUESTS))
    assert [passes(guard) for _ in range(5)] == [True] * 5
    assert Limits("default", policy_with(limit_of()), ATTEMPTS).of("any", ["agent"])


def test_what_was_before_is_taken_to_have_been_as_much_as_there_may_be():
    policy = policy_with(limit_of(count=10, period_ms=10_000))
    guard = RateLimitGuard(lambda _tenant: policy, unknown_before_us=100 * SECOND_US)
    assert not passes(guard, 100 * SECOND_US)
    assert passes(guard, 101 * SECOND_US)
    assert not passes(guard, 101 * SECOND_US)
    assert [passes(guard, 200 * SECOND_US) for _ in range(11)] == [True] * 10 + [False]
