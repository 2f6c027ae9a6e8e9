"""The client, against a peer that speaks the protocol."""

import pytest

import podium
from podium.v1 import tool_service_pb2, value_pb2, workflow_service_pb2
from tests.unit.sdk.workflow_peer import fails, running_workflow_peer, succeeds


@pytest.fixture
async def peer():
    async with running_workflow_peer(search=succeeds({"hits": [1]}), extract=fails("no text", "NO_TEXT")) as running:
        yield running


@pytest.fixture
async def client(peer):
    async with podium.connect(peer.address, "t") as connected:
        yield connected


def outcome(state, output="", reason="", message="", **more):
    failure = value_pb2.Failure(reason=reason, message=message, **more) if reason else None
    return tool_service_pb2.ToolOutcome(state=state, output_json=output, failure=failure, event="0:7", attempts=1)


async def test_a_workflow_runs_and_its_outputs_are_there_by_step(peer, client):
    workflow = podium.Workflow("research")
    search = workflow.step("search", query="x")
    workflow.step("extract", document=search.output["hits"][0])
    result = await client.run(workflow, {"a": 1}, on_behalf_of="ana")
    assert (result.id, result.state, result.ok, result.failure) == ("wf", "succeeded", True, None)
    assert result["step_1"] == {"hits": [1]}
    assert result.states == {"step_1": "succeeded", "step_2": "failed"}
    with pytest.raises(podium.ToolFailed, match=r"no text \(NO_TEXT, event 0:3\)"):
        _ = result["step_2"]
    with pytest.raises(KeyError):
        _ = result["step_9"]
    [run] = peer.requests_of(workflow_service_pb2.RunWorkflowRequest)
    start = run.workflow
    assert (start.input_json, start.on_behalf_of, start.narrowed) == ('{"a":1}', "ana", False)


async def test_a_run_survives_a_restart_of_the_service_and_is_started_once(peer, client):
    workflow = podium.Workflow()
    for _ in range(3):
        workflow.step("search")
    peer.unavailable = 2
    result = await client.run(workflow)
    assert list(result.steps) == ["step_1", "step_2", "step_3"], "what the answer has no room for is listed"
    requests = peer.requests_of(workflow_service_pb2.RunWorkflowRequest)
    assert len(requests) == 3
    assert len({request.workflow.request_id for request in requests}) == 1
    assert len(peer.requests_of(workflow_service_pb2.ListStepsRequest)) == 2


async def test_the_result_of_a_run_is_awaited_through_a_restart_of_the_service(peer, client):
    workflow = podium.Workflow()
    workflow.step("search")
    run = await client.start(workflow)
    peer.unavailable = 2
    result = await run.result()
    assert (result.state, result["step_1"]) == ("succeeded", {"hits": [1]})
    assert len(peer.requests_of(workflow_service_pb2.AwaitWorkflowRequest)) == 3
    assert peer.watches == 0


async def test_starting_the_same_builder_twice_gives_two_requests(peer, client):
    workflow = podium.Workflow()
    workflow.step("search")
    await client.start(workflow)
    await client.start(workflow, request_id="mine", permissions=[])
    first, second = peer.requests_of(workflow_service_pb2.StartWorkflowRequest)
    assert first.request_id != second.request_id == "mine"
    assert second.narrowed


async def test_watching_goes_on_over_broken_streams_and_gives_everything_once(peer, client):
    workflow = podium.Workflow()
    for _ in range(3):
        workflow.step("search")
    run = await client.start(workflow)
    peer.cut_after = [1, 2, 4]
    updates = [update async for update in run.watch()]
    assert [update.kind for update in updates] == ["workflow_started", *["step_succeeded"] * 3, "workflow_succeeded"]
    assert [update.step_id for update in updates] == ["", "step_1", "step_2", "step_3", ""]
    rest = [update.event.position async for update in run.watch(updates[1].cursor)]
    assert rest == [3, 4, 5]


@pytest.mark.parametrize(
    ("said", "error", "retry_after"),
    [
        (outcome(value_pb2.STEP_STATE_DENIED, reason="MISSING", message="needs x"), podium.PermissionDenied, None),
        (
            outcome(value_pb2.STEP_STATE_DENIED, reason="RATE_LIMITED", message="slow", retry_after_ms=1500),
            podium.RateLimited,
            1.5,
        ),
        (outcome(value_pb2.STEP_STATE_DENIED, reason="CIRCUIT_OPEN", message="open"), podium.CircuitOpen, None),
        (outcome(value_pb2.STEP_STATE_FAILED, reason="NO_MONEY", message="no"), podium.ToolFailed, None),
        (outcome(value_pb2.STEP_STATE_FAILED, reason="TIMEOUT", message="late"), podium.TimedOut, None),
        (outcome(value_pb2.STEP_STATE_CANCELED), podium.Canceled, None),
    ],
)
async def test_a_call_raises_what_became_of_it(peer, client, said, error, retry_after):
    peer.outcomes["refund"] = said
    with pytest.raises(error) as raised:
        await client.call("refund", {"invoice": "i"}, cents=5)
    assert (raised.value.event, raised.value.retry_after) == ("0:7", retry_after)
    [request] = peer.requests_of(tool_service_pb2.CallToolRequest)
    assert request.call.arguments_json == '{"invoice":"i","cents":5}'
    assert request.request_id


async def test_an_output_that_cannot_be_read_any_more_is_an_error(peer, client):
    said = outcome(value_pb2.STEP_STATE_SUCCEEDED)
    said.output_failure.CopyFrom(value_pb2.Failure(reason="SEAL_BROKEN", message="its key was destroyed"))
    peer.outcomes["search"] = said
    with pytest.raises(podium.Unreadable, match=r"its key was destroyed \(SEAL_BROKEN, event 0:7\)"):
        await client.call("search")


async def test_a_call_returns_the_output(peer, client):
    peer.outcomes["search"] = outcome(value_pb2.STEP_STATE_SUCCEEDED, '{"hits": 3}')
    assert await client.call("search", query="x") == {"hits": 3}
    tried = await client.try_call("search", {"query": "x"}, timeout="2s", on_behalf_of="ana", request_id="r")
    assert (tried.ok, tried.output, tried.event, tried.attempts) == (True, {"hits": 3}, "0:7", 1)
    request = peer.requests_of(tool_service_pb2.CallToolRequest)[-1]
    assert (request.timeout_ms, request.on_behalf_of, request.request_id) == (2000, "ana", "r")


async def test_a_batch_gives_an_outcome_for_each_call_in_order(peer, client):
    peer.outcomes = {
        "search": outcome(value_pb2.STEP_STATE_SUCCEEDED, "1"),
        "refund": outcome(value_pb2.STEP_STATE_FAILED, reason="NO_MONEY", message="no"),
    }
    outcomes = await client.call_batch(
        [podium.Call("search"), ("refund", {"cents": 5}), podium.Call("search", {"q": "x"})], max_workers=2
    )
    assert [each.ok for each in outcomes] == [True, False, True]
    assert [each.output for each in outcomes] == [1, None, 1]
    assert outcomes[1].error.reason == "NO_MONEY"
    [request] = peer.requests_of(tool_service_pb2.CallToolBatchRequest)
    assert request.max_workers == 2


async def test_a_call_survives_a_restart_of_the_service(peer, client):
    peer.unavailable = 2
    peer.outcomes["search"] = outcome(value_pb2.STEP_STATE_SUCCEEDED, "1")
    assert await client.call("search") == 1
    assert len({request.request_id for request in peer.requests_of(tool_service_pb2.CallToolRequest)}) == 1


async def test_arguments_that_are_no_json_are_refused_here(client):
    with pytest.raises(podium.InvalidInput, match="has no JSON form") as raised:
        await client.call("search", query=object())
    assert raised.value.field == "arguments"


async def test_a_missing_method_is_an_error_of_the_family(client):
    with pytest.raises(podium.PodiumError) as raised:
        await client.cancel("wf")
    assert raised.value.reason == "UNIMPLEMENTED"
