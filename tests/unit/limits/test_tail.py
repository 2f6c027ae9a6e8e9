"""What limits have counted is found again in the end of a log, and never less than it was."""

import dataclasses
from hashlib import sha256

import pytest

from podium.v1 import events_pb2, policy_pb2, value_pb2
from service.admission.rate_limit import InForce, RateLimitGuard, always
from service.admission.verdicts import Allowed
from service.domain.permissions import DEFAULT_POLICY
from service.engine.limit_tail import counted_guard
from service.engine.policy_book import Book, fold
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

    async def started(self, at_s, *, subject="ana", roles=("agent",), tool="search", authority_known=True, revision=0):
        """An attempt that was allowed and started."""
        self.clock.now = START_US + at_s * SECOND_US
        principal = value_pb2.Principal(subject=subject)
        checked = events_pb2.PermissionChecked(
            step_id="a",
            tool=tool,
            decision=events_pb2.DECISION_ALLOW,
            principal=principal,
            policy_revision=revision,
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


def since(limit, revision, position):
    return lambda _tenant: [InForce(limit, revision, position)]


async def test_what_was_started_before_the_limit_came_is_not_counted_by_it(log):
    for _ in range(10):
        await log.started(0)
    for _ in range(6):
        await log.started(1, revision=2)
    # One that was let through before, and is recorded behind the change.
    await log.started(1, revision=1)
    found = await log.guard(limit_of(), at_s=1, since=since(limit_of(), 2, 20))
    assert left(found, 1) == 4
    # The negative control: whoever counts all leaves nothing.
    assert left(await log.guard(limit_of(), at_s=1), 1) == 0


async def test_what_is_cut_off_is_no_matter_of_a_limit_that_came_later(log):
    for second in range(20):
        await log.started(second)
    head = log.store.head
    await log.started(20, revision=1)
    cut = {"at_s": 20, "events_max": 6}
    assert left(await log.guard(limit_of(), since=since(limit_of(), 1, head), **cut), 20) == 9
    assert left(await log.guard(limit_of(), since=since(limit_of(), 1, head - 5), **cut), 20) == 0


POLICIES = (
    (limit_of(),),
    (limit_of(), limit_of(id="other", per=[policy_pb2.LIMIT_KEY_SUBJECT], count=5)),
    (limit_of(count=7), limit_of(id="other", per=[policy_pb2.LIMIT_KEY_SUBJECT], count=5)),
    (limit_of(burst=30),),
    (),
)


class Life:
    """A process with its policies, and a log of what it did."""

    def __init__(self, log):
        self.log = log
        self.book = Book()
        self.policy = DEFAULT_POLICY
        self.guard = RateLimitGuard(self.policy_of)

    def policy_of(self, _tenant):
        return self.policy

    async def apply(self, limits):
        revision = self.policy.revision + 1
        applied = events_pb2.PolicyApplied(revision=revision, policy=policy_pb2.Policy(limits=limits))
        await self.log.append(applied)
        [recorded] = await self.log.store.read_all(self.log.store.head - 1, limit=1)
        fold(self.book, recorded)
        self.policy = dataclasses.replace(DEFAULT_POLICY, limits=limits, revision=revision)
        self.guard.policy_changed("default")

    async def attempt(self, subject, at_s):
        request = a_request(authority=an_authority("agent", subject=subject))
        if isinstance(self.guard.check(request, START_US + at_s * SECOND_US), Allowed):
            self.guard.started(request, START_US + at_s * SECOND_US)
            await self.log.started(at_s, subject=subject, revision=self.policy.revision)

    async def found(self, at_s, limits_of):
        now_us = START_US + at_s * SECOND_US
        store = self.log.store
        return await counted_guard(store, store.head, now_us, self.policy_of, ["default"], since=limits_of)


def counts(guard):
    """What each limit says of every key."""
    keys = [(), ("ana",), ("bob",)]
    return [[limit.arrival_ticks(key) for key in keys] for limit in guard.limits_of("default")]


async def lives(log, limits_of, lines=150):
    """Whether a restart would have found what the process knew, after each act of a pseudo-random life."""
    life = Life(log)
    at_s = 0
    for number in range(lines):
        draw = sha256(f"limits/{number}".encode()).digest()
        at_s += draw[0] % 4
        log.clock.now = START_US + at_s * SECOND_US
        if draw[1] < 40:
            await life.apply(POLICIES[draw[2] % len(POLICIES)])
        else:
            await life.attempt(("ana", "bob")[draw[2] % 2], at_s)
        yield counts(await life.found(at_s, limits_of(life))) == counts(life.guard), life.policy.limits


async def test_whatever_became_of_the_policy_a_restart_finds_what_was_counted(log):
    seen = set()
    async for is_alike, limits in lives(log, lambda life: lambda _tenant: life.book.limits):
        assert is_alike
        seen.add(POLICIES.index(limits) if limits in POLICIES else -1)
    assert seen >= set(range(len(POLICIES)))


async def test_a_restart_that_counts_every_start_by_the_policy_of_today_is_found_out(log):
    assert not all([is_alike async for is_alike, _ in lives(log, lambda _life: always)])


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
