"""The service is killed and started again: rate limits have counted what they had counted, by whatever policy."""

import asyncio

import pytest

from podium.v1 import policy_pb2
from tests.integration.rig.policies import apply, policy, roll_back
from tests.integration.rig.toolbox import toolbox

HOUR_MS = 3_600_000


def an_hour(count, name="echoes", **fields):
    return policy_pb2.RateLimit(id=name, tools=["echo"], count=count, period_ms=HOUR_MS, **fields)


@pytest.fixture(params=["sqlite", "postgres"])
def mortal(request, own_service):
    """A service of this test's own, to kill."""
    database = None
    if request.param == "postgres":
        database = asyncio.run(request.getfixturevalue("postgres").create_database(migrated=False))
    return own_service(database=database).start()


async def passed(caller, most):
    """How many of so many calls are let through."""
    outcomes = [(await caller.call("echo", {"value": 1})).outcome for _ in range(most)]
    assert {each.failure.reason for each in outcomes} <= {"", "RATE_LIMITED"}
    return sum(not each.failure.reason for each in outcomes)


async def killed(service, connect):
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)
    await connect(toolbox(), to=service)


async def test_a_limit_counts_from_when_it_came_also_after_a_restart(mortal, admit, connect):
    ana = admit(to=mortal)
    await connect(toolbox(), to=mortal)
    assert await passed(ana, 10) == 10
    await apply(ana, policy(limits=[an_hour(10)]))
    assert await passed(ana, 6) == 6
    await killed(mortal, connect)
    # Four, and not none because of the ten before there was a limit.
    assert await passed(ana, 6) == 4
    await killed(mortal, connect)
    assert await passed(ana, 2) == 0


async def test_a_limit_that_was_changed_counts_anew_and_one_that_was_not_goes_on(mortal, admit, connect):
    ana = admit(to=mortal)
    await connect(toolbox(), to=mortal)
    await apply(ana, policy(limits=[an_hour(5), an_hour(20, "slower")]))
    assert await passed(ana, 5) == 5
    await apply(ana, policy(limits=[an_hour(8), an_hour(20, "slower")]))
    assert await passed(ana, 3) == 3
    await killed(mortal, connect)
    assert await passed(ana, 6) == 5
    # Another part of the policy changes nothing about its limits, before a restart and after it.
    await apply(ana, policy(name="another", limits=[an_hour(100), an_hour(20, "slower")]))
    await killed(mortal, connect)
    # Of twenty thirteen were used.
    assert await passed(ana, 9) == 7
    # What is taken back counts anew, because it was not in force in between.
    await apply(ana, policy())
    await roll_back(ana, 3)
    assert await passed(ana, 2) == 2
    await killed(mortal, connect)
    assert await passed(ana, 20) == 18
