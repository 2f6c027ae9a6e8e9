"""Rate limits on the running service: how many pass, what the others are told, and what is on record."""

import asyncio
import time

import pytest

import podium
from podium.v1 import tool_service_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import kinds, payload, payloads
from tests.integration.rig.refusal import refusal_if_any, refusal_of

TEN_A_MINUTE = {
    "id": "file-reads",
    "tools": ["file_*"],
    "per": ["LIMIT_KEY_SUBJECT", "LIMIT_KEY_TOOL"],
    "count": 10,
    "periodMs": 60_000,
}
SUCCEEDED = value_pb2.STEP_STATE_SUCCEEDED
DENIED = value_pb2.STEP_STATE_DENIED


def files():
    """An executor with tools that read files."""
    app = podium.Executor("files")

    @app.tool(permissions=["read_files"])
    async def file_read(path: str) -> str:
        """Read a file."""
        return f"contents of {path}"

    @app.tool
    async def clock_read() -> str:
        """Tell the time."""
        return "noon"

    return app


async def test_the_tenth_read_of_a_minute_is_allowed_and_the_eleventh_limited(served, admit, connect):
    service = await served(limits=[TEN_A_MINUTE])
    await connect(files(), to=service)
    ana = admit(to=service)
    for number in range(10):
        answer = await ana.call("file_read", {"path": f"notes/{number}.txt"})
        assert answer.outcome.state == SUCCEEDED
    eleventh = await ana.call("file_read", {"path": "notes/10.txt"})
    failure = eleventh.outcome.failure
    assert (eleventh.outcome.state, failure.reason) == (DENIED, "RATE_LIMITED")
    assert 0 < failure.retry_after_ms <= 6_000

    events = await ana.history(eleventh.workflow_id)
    assert kinds(events)[-4:] == ["permission_checked", "rate_limited", "step_denied", "workflow_succeeded"]
    limited, denied = payload(events, "rate_limited"), payload(events, "step_denied")
    assert (limited.limit, limited.policy_revision) == ("file-reads", 1)
    assert (denied.guard, denied.failure) == ("rate_limit", failure)
    assert limited.retry_at_us > events[-1].recorded_at_us
    # Another tool and another subject have limits of their own.
    assert (await ana.call("clock_read")).outcome.state == SUCCEEDED
    assert (await admit("bob", to=service).call("file_read", {"path": "b"})).outcome.state == SUCCEEDED


async def test_a_step_over_the_limit_waits_and_then_runs(served, admit, connect):
    service = await served(limits=[{**TEN_A_MINUTE, "count": 2, "periodMs": 2_000}])
    await connect(files(), to=service)
    ana = admit(to=service)
    began = time.monotonic()
    workflow_id = await ana.start(*(step("file_read", {"path": str(number)}, id=f"s{number}") for number in range(4)))
    assert (await ana.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
    assert time.monotonic() - began >= 1.9
    events = await ana.history(workflow_id)
    assert [each.step_id for each in payloads(events, "attempt_started")] == ["s0", "s1", "s2", "s3"]
    assert [each.step_id for each in payloads(events, "rate_limited")] == ["s2", "s3"]
    assert {each.waits_for for each in payloads(events, "step_queued")} == {"the limit file-reads"}


async def test_of_a_thousand_calls_at_once_exactly_the_burst_passes(served, admit, connect):
    burst = 137
    service = await served(limits=[{"id": "all", "count": 1_000, "periodMs": 86_400_000, "burst": burst}])
    await connect(files(), to=service)
    callers = [admit(f"caller-{number}", to=service) for number in range(10)]
    answers = await asyncio.gather(*(callers[n % 10].call("clock_read") for n in range(1_000)))
    assert sum(answer.outcome.state == SUCCEEDED for answer in answers) == burst
    assert {a.outcome.failure.reason for a in answers if a.outcome.state != SUCCEEDED} == {"RATE_LIMITED"}


async def test_a_batch_takes_what_is_left_and_the_rest_of_it_is_refused(served, admit, connect):
    service = await served(limits=[TEN_A_MINUTE])
    await connect(files(), to=service)
    ana = admit(to=service)
    calls = [tool_service_pb2.ToolCall(tool="file_read", arguments_json='{"path": "x"}') for _ in range(13)]
    answer = await ana.tools.CallToolBatch(tool_service_pb2.CallToolBatchRequest(calls=calls))
    assert [each.state for each in answer.outcomes].count(SUCCEEDED) == 10


@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_what_was_counted_is_found_again_after_a_restart(served, admit, connect, ending):
    service = await served(limits=[{**TEN_A_MINUTE, "periodMs": 3_600_000}])
    await connect(files(), to=service)
    ana = admit(to=service)
    for _ in range(7):
        assert (await ana.call("file_read", {"path": "x"})).outcome.state == SUCCEEDED
    await asyncio.to_thread(getattr(service, ending))
    await asyncio.to_thread(service.start)
    await connect(files(), to=service)
    ana = admit(to=service)
    states = [(await ana.call("file_read", {"path": "x"})).outcome.state for _ in range(5)]
    assert states == [SUCCEEDED] * 3 + [DENIED] * 2


async def test_requests_are_limited_by_subject_and_told_when_to_come_back(served, admit):
    limit = {"id": "polls", "scope": "LIMIT_SCOPE_REQUESTS", "per": ["LIMIT_KEY_SUBJECT"], "roles": ["viewer"]}
    service = await served(limits=[{**limit, "count": 5, "periodMs": 3_600_000}])
    victor, ana = admit("victor", roles=["viewer"], to=service), admit(to=service)
    asked = tool_service_pb2.ListToolsRequest()
    refusals = [await refusal_if_any(victor.tools.ListTools(asked)) for _ in range(8)]
    assert refusals[:5] == [None] * 5
    sixth = refusals[5]
    assert (sixth.code, sixth.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert sixth.fields == {"polls"}
    assert 0 < sixth.retry_after_s <= 720
    assert [await refusal_if_any(ana.tools.ListTools(asked)) for _ in range(20)] == [None] * 20
    (denied,) = await ana.refusals()
    assert (denied.reason, denied.rule, denied.principal.subject, denied.count) == (
        "RATE_LIMITED",
        "polls",
        "victor",
        1,
    )
    assert (await refusal_of(victor.tools.ListTools(asked))).metadata["event"].startswith("0:")
