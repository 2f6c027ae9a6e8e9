"""The stream of a policy: nothing decides before it is durable, and nobody who goes away leaves it half known."""

import asyncio

import pytest

from podium.v1 import policy_pb2, value_pb2
from service.domain.errors import Basis, Conflict, Denied, IllegalState, LimitExceeded
from service.engine.policies import PROPOSALS_MAX, Policies
from service.engine.policy_book import Change
from service.engine.policy_expressions import PolicyExpressions
from service.engine.resident import Cause
from store.contract import QueueFullError
from tests.contract.events import FakeClock
from tests.contract.model import ModelDatabase, ModelStore

CONDITIONS = PolicyExpressions()


class HeldStore(ModelStore):
    """A store whose commits wait for a test."""

    def __init__(self, database, clock):
        super().__init__(database, clock)
        self.held = None
        self.full = False

    def submit(self, append, done):
        if self.full:
            done(QueueFullError("full"))
        elif self.held is None:
            super().submit(append, done)
        else:
            self.held.append((append, done))

    def let_go(self):
        held, self.held = self.held, None
        for append, done in held:
            super().submit(append, done)


@pytest.fixture
async def store():
    store = HeldStore(ModelDatabase(), FakeClock())
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def policies(store):
    policies = Policies(CONDITIONS)
    await policies.load(store)
    return policies


def change(name="p", **fields):
    return Change(policy_pb2.Policy(name=name, **fields.pop("policy", {})), **fields)


def by(subject, request_id="", on_behalf_of=""):
    return Cause(value_pb2.Principal(subject=subject, on_behalf_of=on_behalf_of), request_id)


async def in_background(group, work):
    task = group.create_task(work)
    await asyncio.sleep(0)
    return task


async def folded_anew(store):
    """What a process that starts now would know."""
    policies = Policies(CONDITIONS)
    await policies.load(store)
    return policies


async def test_a_policy_decides_only_once_it_is_durable(store, policies):
    seen = []
    policies.on_change(lambda tenant: seen.append((tenant, policies.policy_of(tenant).revision)))
    store.held = []
    async with asyncio.TaskGroup() as group:
        task = await in_background(group, policies.apply("t", change(), by("ana"), "pp_1"))
        assert (policies.policy_of("t").revision, seen, task.done()) == (0, [], False)
        store.let_go()
    assert (policies.policy_of("t").revision, policies.policy_of("u").revision) == (1, 0)
    assert seen == [("t", 1)]


async def test_changes_wait_for_each_other_and_one_of_two_that_replace_the_same_is_refused(store, policies):
    store.held = []
    async with asyncio.TaskGroup() as group:
        first = await in_background(group, policies.apply("t", change(expected_revision=0), by("ana"), "pp_1"))
        second = await in_background(
            group, refused(Conflict, policies.apply("t", change(expected_revision=0), by("bob"), "pp_2"))
        )
        assert len(store.held) == 1, "the second is not decided before the first is known"
        store.let_go()
    assert (first.result().revision, second.result()) == (1, "POLICY_CHANGED")


async def refused(kind, work):
    with pytest.raises(kind) as caught:
        await work
    return caught.value.reason


@pytest.mark.parametrize(
    ("proposer", "approver", "is_own"),
    [
        (("ana",), ("ana",), True),
        (("bot", "", "ana"), ("ana",), True),
        (("ana",), ("bot", "", "ana"), True),
        (("bot", "", "ana"), ("other-bot", "", "ana"), True),
        (("bot", "", "ana"), ("other-bot", "", "zoe"), False),
        (("bot",), ("other-bot",), False),
    ],
)
async def test_a_second_person_is_neither_who_proposed_nor_for_whom(policies, proposer, approver, is_own):
    await policies.apply("t", change(policy={"changes_need_approval": True}), by("ana"), "pp_0")
    await policies.apply("t", change("next"), by(*proposer), "pp_1")
    if not is_own:
        assert (await policies.approve("t", "pp_1", by(*approver))).revision == 2
        return
    with pytest.raises(Denied) as caught:
        await policies.approve("t", "pp_1", by(*approver))
    assert caught.value.reason == "OWN_PROPOSAL"
    assert caught.value.basis == Basis("policies.approve", "pp_1", "own-proposal", "p", 1)


@pytest.mark.parametrize("turns", range(5))
async def test_a_request_that_goes_away_leaves_memory_as_the_log_is(store, policies, turns):
    task = asyncio.get_running_loop().create_task(policies.apply("t", change("gone"), by("ana", "r1"), "pp_1"))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    applied = await policies.apply("t", change("next"), by("ana"), "pp_2")
    anew = await folded_anew(store)
    assert anew.policy_of("t") == policies.policy_of("t")
    assert anew.newest("t") == policies.newest("t") == applied.revision
    assert (await policies.apply("t", change("gone"), by("ana", "r1"), "pp_3")).revision in (1, applied.revision + 1)


async def test_what_could_not_be_recorded_changes_nothing(store, policies):
    store.full = True
    with pytest.raises(QueueFullError):
        await policies.apply("t", change(), by("ana"), "pp_1")
    store.full = False
    assert policies.newest("t") == 0
    assert (await policies.apply("t", change(), by("ana"), "pp_2")).revision == 1


async def test_a_tenants_first_own_policy_is_never_taken_for_the_built_in_one(policies):
    await policies.apply("t", change("default"), by("ana"), "pp_1")
    mine, built_in = policies.policy_of("t"), policies.policy_of("u")
    assert mine.name == built_in.name
    assert mine.revision != built_in.revision


async def test_only_so_many_proposals_wait(policies):
    await policies.apply("t", change(policy={"changes_need_approval": True}), by("ana"), "pp")
    for number in range(PROPOSALS_MAX):
        await policies.apply("t", change(f"p{number}"), by("ana"), f"pp_{number}")
    with pytest.raises(LimitExceeded):
        await policies.apply("t", change(), by("ana"), "pp_more")
    await policies.approve("t", "pp_0", by("zoe"))
    assert policies.proposals("t") == [], "the others are stale"
    with pytest.raises(IllegalState, match="stale"):
        await policies.approve("t", "pp_1", by("zoe"))


async def test_a_stream_of_many_revisions_is_folded_as_it_was_made(store, policies):
    for number in range(250):
        await policies.apply("t", change(f"p{number}"), by("ana", f"r{number}"), f"pp_{number}")
    anew = await folded_anew(store)
    assert (anew.newest("t"), anew.policy_of("t").name) == (250, "p249")
    repeated = await anew.apply("t", change("p7"), by("ana", "r7"), "pp")
    assert repeated.revision == 8
    assert (await anew.revision("t", 8)).stream_version == 8
