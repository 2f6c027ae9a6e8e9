"""The mission's example as it was written, through the shorthand dialect; without the dialect it is only text."""

import pytest

import podium
from podium.v1 import value_pb2, workflow_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import payloads
from tests.integration.rig.refusal import invalid

SHORTHAND = workflow_service_pb2.DIALECT_SHORTHAND
DONE = 2


@pytest.fixture
async def research(connect):
    """An executor with the four tools of the example; `found` is what the text extraction gives."""
    app = podium.Executor("research")
    app.found, app.summarised = "a good text", []

    @app.tool
    async def search_web(query: str) -> list[str]:
        """Search."""
        return [f"https://example.com/{query}"]

    @app.tool
    async def extract_text(urls: list[str]) -> str | None:
        """Extract text."""
        return app.found and f"{app.found} from {urls[0]}"

    @app.tool
    async def analyze_sentiment(text: str) -> dict:
        """Analyze."""
        return {"positive": "good" in text}

    @app.tool
    async def summarize(text: str | None, sentiment: dict | None, note: str = "") -> str:
        """Summarize."""
        app.summarised.append((text, sentiment, note))
        return f"{text} / {sentiment}"

    await connect(app)
    return app


def example(**last):
    return [
        step("search_web", {"query": "podium"}),
        step("extract_text", {"urls": "step_1"}, depends_on=["step_1"]),
        step("analyze_sentiment", {"text": "step_2"}, depends_on=["step_2"], condition="step_2 is not None"),
        step(
            "summarize", {"text": "step_2", "sentiment": "step_3", **last}, depends_on=["step_2", "step_3"], join=DONE
        ),
    ]


async def test_the_example_runs_as_written(caller, research):
    workflow_id = await caller.start(*example(), dialect=SHORTHAND)
    assert (await caller.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
    text = "a good text from https://example.com/podium"
    assert research.summarised == [(text, {"positive": True}, "")]
    assert len(payloads(await caller.history(workflow_id), "condition_met")) == 1


async def test_without_a_text_its_sentiment_is_skipped_and_the_summary_still_made(caller, research):
    research.found = None
    workflow_id = await caller.start(*example(), dialect=SHORTHAND)
    assert (await caller.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
    assert (await caller.steps(workflow_id))["step_3"].state == value_pb2.STEP_STATE_SKIPPED
    assert research.summarised == [(None, None, "")]


async def test_only_an_argument_that_is_exactly_the_name_of_a_step_stands_for_its_output(caller, research):
    workflow_id = await caller.start(*example(note="see step_2"), dialect=SHORTHAND)
    await caller.ended(workflow_id)
    assert research.summarised[0][2] == "see step_2"


async def test_a_step_that_does_not_exist_is_refused_in_shorthand_too(caller, research):
    async with caller.recording_nothing():
        refusal = await invalid(caller.start(*example(note="step_9"), dialect=SHORTHAND))
        unknown = await invalid(
            caller.start(step("search_web", {"query": "x"}, condition="step_9 is None"), dialect=SHORTHAND)
        )
    assert "step_9, which is no step" in refusal.message
    assert "step_9, which is no step" in unknown.message


async def test_without_the_dialect_a_step_name_is_only_text_and_its_condition_no_condition(caller, research):
    plain = [step("search_web", {"query": "q"}), step("analyze_sentiment", {"text": "step_1"})]
    workflow_id = await caller.start(*plain)
    await caller.ended(workflow_id)
    assert (await caller.steps(workflow_id))["step_2"].output_json == '{"positive":false}'
    async with caller.recording_nothing():
        refusal = await invalid(caller.start(*example()))
    assert "steps[2].condition" in refusal.fields


async def test_text_from_outside_that_is_the_name_of_a_step_stays_text(caller, research):
    workflow_id = await caller.start(
        step("analyze_sentiment", {"text": "${input}"}), dialect=SHORTHAND, input_json='"step_1"'
    )
    assert (await caller.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
