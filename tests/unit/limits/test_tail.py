"""What limits have counted is found again in the end of a log, and never less than it was."""

import dataclasses

import pytest

from podium.v1 import events_pb2, policy_pb2, value_pb2
from service.admission.verdicts import Allowed
from service.domain.permissions import DEFAULT_POLICY
from service.engine.limit_tail import counted_guard
from store.contract import SHARD, Append, NewEvent, StreamAppend
from store.records import encode_envelope
from tests.contract.events import FakeClock
from tests.contract.model import ModelDatabase, ModelStore
from tests.unit.admission.calls import a_request, a_tool, an_authority

SECOND_US = 1_000_000
START_US = 1_700_000_000_000_000


class Log:
    """A log of what was started, at the times that a test says."""

    def __init__(self):
        self.clock = FakeClock(START_US)
        self.store = ModelStore(ModelDatabase(), self.clock)
        self._number = 0

    async def started(self, at_s, *, subject="ana", roles=("agent",), tool="search", authority_known=True):
        """An attempt that was allowed and started."""
        self.clock.now = START_US + at_s * SECOND_US
        principal = value_pb2.Principal(subject=subject)
        checked = events_pb2.PermissionChecked(
            step_id="a", tool=tool, decision=events_pb2.DECISION_ALLOW, principal=principal
        )
        added = events_pb2.StepsAdded(authority=value_pb2.Authority(principal=principal, roles=roles))
        await self.append(*([added] if authority_known else []), checked, events_pb2.AttemptStarted(step_id="a"))

    async def append(self, *payloads):
        self._number += 1
        stream_id = f"wf_{self._number}"
        envelope = encode_envelope(shard=SHARD, tenant="default", stream_id=stream_id)
        events = [NewEvent(payload, envelope) for payload in payloads]
        await self.store.append(Append((StreamAppend("default", stream_id, 0, events),)))

    async def guard(self, *limits, at_s, tenants=("default",), **more):
        policy = dataclasses.replace(DEFAULT_POLICY, limits=limits)
        now_us = START_US + at_s * SECOND_US
        return await counted_guard(self.store, self.store.head, now_us, lambda _tenant: policy, tenants, **more)


@pytest.fixture
async def log():
    log = Log()
    await log.store.open()
    return log


def limit_of(**fields):
    return policy_pb2.RateLimit(**{"id": "some", "count": 10, "period_ms": 60_000, **fields})


def left(guard, at_s, **fields):
    """How many calls pass at once."""
    passed = 0
    while isinstance(guard.check(request := a_request(**fields), START_US + at_s * SECOND_US), Allowed):
        guard.started(request, START_US + at_s * SECOND_US)
        passed += 1
    return passed


async def test_in_a_log_that_is_read_from_its_beginning_the_count_is_exact(log):
    for _ in range(7):
        await log.started(0)
    assert left(await log.guard(limit_of(), at_s=1), 1) == 3
    assert left(await log.guard(limit_of(), at_s=12), 12) == 5


async def test_a_decision_that_started_nothing_counts_nothing(log):
    for _ in range(9):
        await log.append(events_pb2.PermissionChecked(step_id="a", tool="search"))
    assert left(await log.guard(limit_of(), at_s=1), 1) == 10


async def test_only_what_the_limit_counts_is_counted_again(log):
    for subject, tool in (("ana", "search"), ("bob", "search"), ("ana", "fetch")):
        for _ in range(3):
            await log.started(0, subject=subject, tool=tool)
    guard = await log.guard(limit_of(per=[policy_pb2.LIMIT_KEY_SUBJECT], tools=["search"]), at_s=1)
    assert left(guard, 1, authority=an_authority("agent", subject="ana")) == 7
    assert left(guard, 1, authority=an_authority("agent", subject="cleo")) == 10
    assert left(guard, 1, tool=a_tool("search"), authority=an_authority("agent", subject="bob")) == 7


async def test_whose_roles_are_not_told_is_counted(log):
    await log.started(0, roles=["admin"])
    await log.started(0, subject="who", authority_known=False)
    guard = await log.guard(limit_of(roles=["agent"]), at_s=1)
    assert left(guard, 1) == 9


async def test_of_a_long_log_the_end_is_enough(log):
    for second in range(0, 6_000, 12):
        await log.started(second)
    pages = []
    read_all = log.store.read_all

    def reading(after, limit):
        if limit > 1:
            pages.append(after)
        return read_all(after, limit=limit)

    log.store.read_all = reading
    guard = await log.guard(limit_of(), at_s=5_989)
    # Four minutes of a hundred were read. Whoever uses half of what there may be is counted as exactly as ever.
    assert min(pages) > 0.95 * log.store.head
    assert left(guard, 5_989) == 9


async def test_what_the_bound_cuts_off_is_taken_to_have_been_as_much_as_there_may_be(log):
    for second in range(20):
        await log.started(second, subject=f"subject-{second}")
    per_subject = limit_of(per=[policy_pb2.LIMIT_KEY_SUBJECT])
    cut = await log.guard(per_subject, at_s=20, events_max=6)
    assert left(cut, 20, authority=an_authority("agent", subject="nobody")) == 0
    assert left(cut, 200, authority=an_authority("agent", subject="nobody")) == 10
    whole = await log.guard(per_subject, at_s=20)
    assert left(whole, 20, authority=an_authority("agent", subject="nobody")) == 10


async def test_without_limits_nothing_is_read(log):
    await log.started(0)
    log.store.read_all = None
    assert left_is_unbounded(await log.guard(at_s=1))
    requests = limit_of(scope=policy_pb2.LIMIT_SCOPE_REQUESTS)
    assert left_is_unbounded(await log.guard(requests, at_s=1))
    assert left_is_unbounded(await log.guard(limit_of(), at_s=1, tenants=()), tenant="another") is False


def left_is_unbounded(guard, **fields):
    for _ in range(100):
        request = a_request(**fields)
        if not isinstance(guard.check(request, START_US), Allowed):
            return False
        guard.started(request, START_US)
    return True
