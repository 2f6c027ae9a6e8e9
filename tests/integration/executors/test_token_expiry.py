"""A session ends with its token; with a fresh one the executor is back, and what runs there does not notice."""

import asyncio

import pytest

import podium
from podium.v1 import tool_service_pb2, value_pb2
from tests.integration.rig.caller import Caller, step
from tests.integration.rig.history import payloads
from tests.integration.rig.toolbox import toolbox

SUCCEEDED = value_pb2.WORKFLOW_STATE_SUCCEEDED
LIFETIME_S = 3
WITHIN_S = 30


@pytest.fixture
def service(own_service):
    return own_service(token_leeway_s=0, heartbeat_interval_ms=1000, reconnect_grace_ms=5000).start()


class Fresh:
    """Gives tokens that do not last, and counts them."""

    def __init__(self, service, tokens_to_come):
        self._service = service
        self._left = tokens_to_come
        self.all_given = asyncio.Event()

    def __call__(self):
        self._left -= 1
        if self._left == 0:
            self.all_given.set()
        return self._service.token("robot", ttl_s=LIFETIME_S)


async def test_an_attempt_goes_on_over_the_sessions_of_several_tokens(service):
    app, token = toolbox(), Fresh(service, 3)
    serving = asyncio.ensure_future(app.serve(service.address, token))
    caller = Caller(service.address, service.token())
    async with asyncio.timeout(WITHIN_S):
        while "gated" not in await _served(caller):
            pass
        workflow_id = await caller.start(step("gated", {"gate": "g"}))
        await token.all_given.wait()
        app.gates["g"].set()
        assert (await caller.ended(workflow_id)).state == SUCCEEDED
    assert len(payloads(await caller.history(workflow_id), "attempt_started")) == 1
    await app.stop("1s")
    await serving
    await caller.close()


async def test_a_watch_goes_on_with_another_token_and_ends_without_one(service):
    caller = Caller(service.address, service.token())
    workflow_id = await caller.start(open=True)
    token = Fresh(service, 2)

    async def watched(by):
        async with podium.connect(service.address, by) as client:
            return [update.kind async for update in client.watch(workflow_id)]

    async with asyncio.timeout(WITHIN_S):
        watching = asyncio.ensure_future(watched(token))
        with pytest.raises(podium.Unauthenticated) as refused:
            await watched(service.token("robot", ttl_s=LIFETIME_S))
        assert refused.value.reason == "TOKEN_EXPIRED"
        await token.all_given.wait()
        await caller.finish(workflow_id)
        kinds = await watching
    assert kinds == ["workflow_started", "steps_added", "workflow_finish_requested", "workflow_succeeded"]
    await caller.close()


async def _served(caller):
    tools = (await caller.tools.ListTools(tool_service_pb2.ListToolsRequest())).tools
    return {tool.definition.name for tool in tools if tool.sessions}
