"""How long an authority lasts, on virtual time: what was submitted starts no attempt when it is older."""

import dataclasses

from service.config import AccessSettings
from tests.simulation.service_life import SETTINGS
from tests.simulation.stage import play, step
from tests.simulation.virtual_time import elapse

MAX_S = 10
SHORT = dataclasses.replace(SETTINGS, access=AccessSettings(run_authority_max_s=MAX_S))
THREE = (step("a"), step("b", needs=["a"]), step("c", needs=["b"]))


async def two_steps_of_six_seconds(stage):
    """A workflow of three steps, of which the first two are done when twelve seconds are over."""
    executor = await stage.executor()
    workflow_id = await stage.start(*THREE, is_open=True)
    for _ in range(2):
        assigned = await executor.hear("assign")
        await elapse(6)
        executor.succeed(assigned)
    return executor, workflow_id


def started(stage, workflow_id):
    return [each.step_id for each in stage.log.of_kind(workflow_id, "attempt_started")]


def test_the_next_attempt_under_an_old_authority_is_denied_and_what_runs_goes_on():
    async def scene(stage):
        _, workflow_id = await two_steps_of_six_seconds(stage)
        await stage.until(lambda: stage.log.of_kind(workflow_id, "step_denied"))
        assert started(stage, workflow_id) == ["a", "b"]
        assert [each.step_id for each in stage.log.of_kind(workflow_id, "step_succeeded")] == ["a", "b"]
        last = stage.log.of_kind(workflow_id, "permission_checked")[-1]
        assert (last.step_id, last.rule) == ("c", "authority-expired")
        (denied,) = stage.log.of_kind(workflow_id, "step_denied")
        assert (denied.guard, denied.failure.reason) == ("authority-age", "AUTHORITY_EXPIRED")

    play(scene, SHORT)


def test_within_the_default_the_same_steps_run():
    async def scene(stage):
        executor, workflow_id = await two_steps_of_six_seconds(stage)
        executor.succeed(await executor.hear("assign"))
        await stage.until(lambda: len(stage.log.of_kind(workflow_id, "step_succeeded")) == len(THREE))

    play(scene)


def test_each_step_is_as_old_as_its_own_submission():
    async def scene(stage):
        executor = await stage.executor()
        workflow_id = await stage.start(step("a"), is_open=True)
        executor.succeed(await executor.hear("assign"))
        await elapse(MAX_S + 1)
        await stage.add(workflow_id, step("late"))
        executor.succeed(await executor.hear("assign"))
        await stage.until(lambda: started(stage, workflow_id) == ["a", "late"])
        assert stage.log.of_kind(workflow_id, "step_denied") == []

    play(scene, SHORT)


def test_a_restart_does_not_make_an_authority_young():
    async def scene(stage):
        workflow_id = await stage.start(step("a"))
        await elapse(MAX_S - 1)
        await stage.crash_and_begin()
        await elapse(2)
        await stage.executor()
        await stage.until_ended(workflow_id)
        assert started(stage, workflow_id) == []
        assert [each.failure.reason for each in stage.log.of_kind(workflow_id, "step_denied")] == ["AUTHORITY_EXPIRED"]

    play(scene, SHORT)
