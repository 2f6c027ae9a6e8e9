"""Output that is streamed while the log's writer has too much to do, in virtual time."""

from tests.simulation.stage import play, step
from tests.simulation.virtual_time import elapse

BUSY_S = 3.0


def test_chunks_wait_for_a_busy_writer_and_their_executor_stays():
    async def scene(stage):
        executor = await stage.executor()
        workflow_id = await stage.start(step("a"))
        given = await executor.hear("assign")
        with stage.refusing_appends():
            executor.stream(given, b"one", b"two")
            await elapse(BUSY_S)
            assert stage.log.chunks(workflow_id, "a", 1) == [], "nothing was refused"
        while (await executor.hear("chunks_acknowledged")).sequence < 2:
            pass
        executor.stream(given, b"three", after=2)
        executor.succeed(given, chunks=3)
        assert await executor.outcome()
        await stage.until_ended(workflow_id)
        assert stage.log.chunks(workflow_id, "a", 1) == [b"one", b"two", b"three"]
        assert len(stage.log.of_kind(workflow_id, "attempt_started")) == 1

    play(scene)


def test_a_session_that_ends_while_its_chunks_wait_leaves_them_to_the_next():
    async def scene(stage):
        executor = await stage.executor()
        workflow_id = await stage.start(step("a"))
        given = await executor.hear("assign")
        with stage.refusing_appends():
            executor.stream(given, b"one")
            await elapse(BUSY_S)
            executor.vanish()
            await elapse(BUSY_S)
        executor = await stage.executor(holding=[given])
        assert stage.kept(executor) == [True]
        assert executor.welcome.held[0].resume_after_chunk == 0
        executor.stream(given, b"one")
        executor.succeed(given, chunks=1)
        await stage.until_ended(workflow_id)
        assert stage.log.chunks(workflow_id, "a", 1) == [b"one"]

    play(scene)
