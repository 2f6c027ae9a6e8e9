"""Whatever an executor calls a failure, and whenever it gets to say so, its attempt has failed once, with a reason."""

import pytest

from podium.v1 import definition_pb2, value_pb2
from service.domain.reasons import is_reason
from service.executors import outputs
from tests.simulation.stage import play, step

TEXT = "db.down: host 10.0.0.1"
TWICE = definition_pb2.RetryPolicy(max_attempts=2, initial_backoff_ms=100, jitter=0)


ONCE = definition_pb2.RetryPolicy(max_attempts=1)
NEVER_SOME = definition_pb2.RetryPolicy(max_attempts=3, retry_on=["*"], never_retry_on=["DB_DOWN"])


async def stays(_stage, executor, _held):
    return executor


async def reconnects(stage, executor, held):
    executor.vanish()
    return await stage.executor("one", holding=[held])


async def restarts(stage, _executor, held):
    await stage.crash_and_begin()
    return await stage.executor("one", holding=[held])


def failures(*reasons, meanwhile=stays, retry=ONCE):
    """What is on record of a step whose attempts fail with these reasons, the first after this happened."""

    async def scene(stage):
        executor = await stage.executor("one")
        workflow_id = await stage.start(step("a", retry=retry))
        for number, reason in enumerate(reasons):
            given = await executor.hear("assign")
            if number == 0:
                executor = await meanwhile(stage, executor, given)
            executor.fail(given, reason)
            assert await executor.outcome(), "an executor that is not believed says it again and again"
        await stage.until_ended(workflow_id)
        assert executor.hears_nothing()
        attempts = [each.failure for each in stage.log.of_kind(workflow_id, "attempt_failed")]
        [ended] = stage.log.of_kind(workflow_id, "step_failed")
        assert ended.failure == attempts[-1]
        return attempts

    return play(scene)


def check_reasons(recorded):
    assert [failure.reason for failure in recorded if not is_reason(failure.reason)] == []


@pytest.mark.parametrize("meanwhile", [stays, reconnects, restarts])
def test_a_text_for_a_reason_is_recorded_in_the_message(meanwhile):
    first, last = recorded = failures(TEXT, "BROKEN", meanwhile=meanwhile, retry=TWICE)
    check_reasons(recorded)
    assert first == value_pb2.Failure(reason="INVALID_REASON", message=f"{TEXT}: no", retryable=True)
    assert last == value_pb2.Failure(reason="BROKEN", message="no", retryable=True)


@pytest.mark.parametrize("meanwhile", [stays, reconnects, restarts])
def test_what_is_written_without_looking_at_it_is_found(meanwhile, monkeypatch):
    monkeypatch.setattr(outputs, "is_reason", lambda _text: True)
    recorded = failures(TEXT, "BROKEN", meanwhile=meanwhile, retry=TWICE)
    with pytest.raises(AssertionError, match=r"db\.down"):
        check_reasons(recorded)


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("broken", "broken: no"),
        ("X" * 64, "X" * 64 + ": no"),
        ("A\nB", "A\nB: no"),
        (" ", " : no"),
        ("\u0391", "\u0391: no"),
    ],
)
def test_no_text_passes_for_a_reason(reason, message):
    [failure] = failures(reason)
    assert (failure.reason, failure.message) == ("INVALID_REASON", message)


def test_a_message_is_no_longer_for_it():
    [failure] = failures("x" * 100_000)
    assert (failure.reason, failure.message) == ("INVALID_REASON", "x" * 256 + ": no")


def test_no_reason_is_an_error_of_the_tool_and_a_reason_is_its_own():
    assert [failures("")[0].reason, failures("E2BIG")[0].reason] == ["TOOL_ERROR", "E2BIG"]


def test_what_may_be_one_of_those_that_are_never_to_be_repeated_is_not():
    [failure] = failures(TEXT, retry=NEVER_SOME)
    assert failure.reason == "INVALID_REASON"
