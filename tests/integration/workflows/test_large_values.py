"""Values of any allowed size flow between steps; what is over the inline limit is stored once and named in the log."""

import hashlib
import json

import pytest

import podium
from podium.v1 import definition_pb2, executor_service_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import payloads
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.refusal import refusal_of

SUCCEEDED = value_pb2.WORKFLOW_STATE_SUCCEEDED
KIB = 1024
INLINE_BYTES = 64 * KIB


@pytest.fixture
async def tools(connect):
    """Tools that make and measure text."""
    app = podium.Executor("text", max_parallel=4)

    @app.tool(read_only=True)
    async def make(size: int, letter: str = "x") -> dict:
        """Make a text."""
        return {"text": letter * size, "size": size}

    @app.tool(read_only=True)
    async def measure(document: dict) -> dict:
        """Measure a text."""
        data = document["text"].encode()
        return {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    @app.tool(read_only=True)
    async def double(document: dict) -> dict:
        """Write a text twice."""
        return {"text": document["text"] * 2}

    await connect(app)
    return app


def measured(text):
    return {"length": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


@pytest.mark.parametrize("size", [200 * KIB, 1024 * KIB, 5 * 1024 * KIB])
async def test_a_large_output_is_the_next_steps_large_argument(caller, tools, size):
    workflow_id = await caller.start(
        step("make", {"size": size}),
        step("measure", {"document": "${steps.step_1.output}"}),
        step("measure", {"document": {"text": "${steps.step_1.output.text}!"}}),
    )
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    steps = await caller.steps(workflow_id)
    assert json.loads(steps["step_1"].output_json) == {"text": "x" * size, "size": size}
    assert json.loads(steps["step_2"].output_json) == measured("x" * size)
    assert json.loads(steps["step_3"].output_json) == measured("x" * size + "!")
    stored = payloads(await caller.history(workflow_id), "step_succeeded")[0].output.payload
    text = steps["step_1"].output_json.encode()
    assert (stored.digest, stored.size_bytes) == (hashlib.sha256(text).digest(), len(text))
    assert (await caller.replay(workflow_id)).matches


async def test_a_chain_of_values_that_grow_through_the_limit(caller, tools):
    workflow_id = await caller.start(
        step("make", {"size": 40 * KIB}),
        *[step("double", {"document": f"${{steps.step_{n}.output}}"}) for n in range(1, 5)],
        step("measure", {"document": "${steps.step_5.output}"}),
    )
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    steps = await caller.steps(workflow_id)
    assert json.loads(steps["step_6"].output_json) == measured("x" * 640 * KIB)
    outputs = payloads(await caller.history(workflow_id), "step_succeeded")
    kinds = [each.output.WhichOneof("kind") for each in outputs]
    assert kinds == ["json", "payload", "payload", "payload", "payload", "json"]


async def test_many_large_outputs_are_collected_in_order(caller, tools):
    letters = list("abcdef")
    each_letter = definition_pb2.ForEach(items_json=json.dumps(letters))
    each_text = definition_pb2.ForEach(items_json='"${steps.step_1.output}"')
    workflow_id = await caller.start(
        step("make", {"size": 300 * KIB, "letter": "${item}"}, for_each=each_letter),
        step("measure", {"document": "${item}"}, for_each=each_text),
        step("measure", {"document": "${steps.step_1.output[-1]}"}),
    )
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    steps = await caller.steps(workflow_id)
    expected = [measured(letter * 300 * KIB) for letter in letters]
    assert json.loads(steps["step_2"].output_json) == expected
    assert json.loads(steps["step_3"].output_json) == expected[-1]
    assert [each["text"][0] for each in json.loads(steps["step_1"].output_json)] == letters


async def test_a_large_input_and_large_literal_arguments_reach_the_tool(caller, tools):
    text = "y" * 3 * 1024 * KIB
    workflow_id = await caller.start(
        step("measure", {"document": "${input}"}),
        step("measure", {"document": {"text": text}}),
        input_json=json.dumps({"text": text}),
    )
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    steps = await caller.steps(workflow_id)
    assert json.loads(steps["step_1"].output_json) == json.loads(steps["step_2"].output_json) == measured(text)


async def test_a_condition_reads_the_part_it_names_of_a_large_value(caller, tools):
    workflow_id = await caller.start(
        step("make", {"size": 500 * KIB}),
        step("measure", {"document": {"text": "ran"}}, condition="steps.step_1.output.size > 1"),
        step("measure", {"document": {"text": "no"}}, condition="steps.step_1.output.text == 'x'"),
    )
    await caller.ended(workflow_id)
    steps = await caller.steps(workflow_id)
    assert steps["step_2"].state == value_pb2.STEP_STATE_SUCCEEDED
    assert steps["step_3"].failure.reason == "CONDITION_ERROR"
    assert "reads more than 65536 bytes" in steps["step_3"].failure.message


async def test_arguments_over_the_inline_limit_are_fetched_by_who_runs_the_attempt(caller):
    small, large = "s" * (INLINE_BYTES - 100), "l" * INLINE_BYTES
    async with raw_executor(caller, "take") as executor:
        await caller.start(step("take", {"text": small}), step("take", {"text": large}, depends_on=["step_1"]))
        first = await executor.work()
        assert json.loads(first.arguments_json) == {"text": small}
        await executor.succeed(first.attempt)
        await executor.expect("outcome_acknowledged")
        second = await executor.work()
        assert second.arguments_json == ""
        asked = executor_service_pb2.GetArgumentsRequest(attempt=second.attempt)
        assert json.loads((await caller.executors.GetArguments(asked)).arguments_json) == {"text": large}
        asked.attempt.fence += 1
        assert (await refusal_of(caller.executors.GetArguments(asked))).reason == "ATTEMPT_NOT_RUNNING"
        await executor.succeed(second.attempt)
        await executor.expect("outcome_acknowledged")
        asked.attempt.fence -= 1
        assert (await refusal_of(caller.executors.GetArguments(asked))).reason == "ATTEMPT_NOT_RUNNING"


async def failure_after(caller, executor, output):
    workflow_id = await caller.start(step("give"))
    attempt = (await executor.work()).attempt
    await executor.succeed(attempt, output)
    assert (await executor.expect("outcome_acknowledged")).accepted
    await caller.ended(workflow_id)
    return (await caller.steps(workflow_id))["step_1"].failure


async def test_an_output_over_the_inline_limit_must_be_uploaded(caller):
    fits = json.dumps("i" * (INLINE_BYTES - 2))
    wide = json.dumps("ü" * (INLINE_BYTES - 2), ensure_ascii=False)
    async with raw_executor(caller, "give") as executor:
        assert (await failure_after(caller, executor, value_pb2.Value(json=fits))).reason == ""
        for too_large in (json.dumps("i" * (INLINE_BYTES - 1)), wide):
            failure = await failure_after(caller, executor, value_pb2.Value(json=too_large))
            assert (failure.reason, failure.retryable) == ("INVALID_OUTPUT", False)
            assert "upload" in failure.message


async def test_an_output_that_was_never_uploaded_is_refused(caller):
    missing = value_pb2.PayloadReference(digest=b"\0" * 32, size_bytes=7)
    async with raw_executor(caller, "give") as executor:
        failure = await failure_after(caller, executor, value_pb2.Value(payload=missing))
    assert failure.reason == "INVALID_OUTPUT"


NO_OUTPUT = {
    "text that is no JSON": value_pb2.Value(json="{"),
    "a number that JSON does not have": value_pb2.Value(json="[NaN]"),
    "nothing at all": value_pb2.Value(json=""),
    "more than one value": value_pb2.Value(json="1 2"),
    "a value nested too deeply": value_pb2.Value(json="[" * 65 + "1" + "]" * 65),
    "a value nested beyond reason": value_pb2.Value(json="[" * 20_000 + "]" * 20_000),
    "a list that was never collected": value_pb2.Value(collected=value_pb2.CollectedOutputs(count=3)),
    "a value sealed by a stranger": value_pb2.Value(sealed=value_pb2.SealedValue(key_id="k")),
}


@pytest.mark.parametrize("output", NO_OUTPUT.values(), ids=NO_OUTPUT)
async def test_no_output_is(caller, output):
    async with raw_executor(caller, "give") as executor:
        failure = await failure_after(caller, executor, output)
    assert (failure.reason, failure.retryable) == ("INVALID_OUTPUT", False)


async def test_an_uploaded_output_that_is_nested_too_deeply_is_refused(caller):
    async def pieces():
        yield executor_service_pb2.UploadRequest(data=b"[" * 65 + b'"' + b"x" * INLINE_BYTES + b'"' + b"]" * 65)

    refusal = await refusal_of(caller.executors.Upload(pieces()))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", {"data"})


async def test_an_output_that_has_no_json_form_fails_the_attempt_once(caller, connect):
    app = podium.Executor("odd")

    @app.tool(read_only=True)
    async def an_object() -> object:
        """Return what JSON does not have."""
        return object()

    @app.tool(read_only=True)
    async def not_a_number() -> float:
        """Return what JSON does not have."""
        return float("nan")

    await connect(app)
    for name in ("an_object", "not_a_number"):
        outcome = (await caller.call(name)).outcome
        assert (outcome.failure.reason, outcome.attempts) == ("INVALID_OUTPUT", 1), name


async def test_an_output_over_8_mib_fails_the_attempt_with_a_clear_word(caller, tools):
    outcome = (await caller.call("make", {"size": 8 * 1024 * KIB})).outcome
    assert (outcome.failure.reason, outcome.attempts) == ("INVALID_OUTPUT", 1)
    assert str(8 * 1024 * KIB) in outcome.failure.message
