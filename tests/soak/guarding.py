"""The policy of the soaked tenant: a guard of every kind, each narrow enough that it bites under the load."""

from podium.v1 import definition_pb2, policy_pb2
from tests.integration.rig.policies import policy

MOODY, WARY, KNOWN, SLOW, ODD = "moody", "wary", "known", "slow", "odd"


def guarding():
    """A step of the wary tool waits in several lines: for the limit, behind the bulkhead, for the breaker."""
    return policy(
        breakers=[
            policy_pb2.BreakerRule(id="fails", tools=[MOODY, ODD], failure_threshold=3, recovery_timeout_ms=300),
            policy_pb2.BreakerRule(
                id="waits",
                tools=[WARY],
                when_open=policy_pb2.WHEN_OPEN_WAIT,
                failure_threshold=2,
                recovery_timeout_ms=200,
                success_threshold=2,
            ),
        ],
        bulkheads=[
            policy_pb2.Bulkhead(id="narrow", tools=[SLOW, ODD], max_concurrent=8, max_queued=40),
            policy_pb2.Bulkhead(id="wary", tools=[WARY], max_concurrent=2),
        ],
        limits=[policy_pb2.RateLimit(id="seldom", tools=[WARY], count=20, period_ms=1_000, burst=2)],
        caches=[
            policy_pb2.CacheRule(
                id="known", tools=[KNOWN], caching=definition_pb2.Caching(ttl_ms=500, stale_ms=60_000, shared=True)
            )
        ],
    )
