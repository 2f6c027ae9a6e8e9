"""A service that is full takes no new work of low priority first, then of normal, and tells health checks in time."""

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from podium.v1 import definition_pb2, value_pb2
from podium.v1.monitoring_service_pb2 import GetStatusRequest
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import raw_executor, tool

LOW, NORMAL, HIGH = (definition_pb2.PRIORITY_LOW, definition_pb2.PRIORITY_NORMAL, definition_pb2.PRIORITY_HIGH)
WORK = tool("work", read_only=True)
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Held:
    """A service that is as full as the test says."""

    def __init__(self, service):
        self.service = service
        self._file = service.directory / "load"

    def at(self, level):
        written = self._file.with_suffix(".new")
        written.write_text(str(level))
        written.replace(self._file)

    def start(self):
        self.at(0)
        self.service.start(fault="TEST_SAYS_ITS_LOAD")
        return self


@pytest.fixture
def held(own_service):
    return Held(own_service()).start()


async def refusals_begin(caller, priority):
    """Starts workflows of a priority until one is refused; returns the refusal."""
    while True:
        try:
            await caller.start(step("work"), priority=priority)
        except grpc.aio.AioRpcError as error:
            return error


async def accepted_again(caller, priority):
    """Starts workflows of a priority until one is accepted."""
    while True:
        try:
            return await caller.start(step("work"), priority=priority)
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 - any other ends the test


async def test_as_it_fills_up_low_is_refused_then_normal_then_all_and_what_was_accepted_goes_on(held, admit):
    caller = admit(to=held.service)
    async with raw_executor(caller, WORK, max_attempts=9) as executor:
        accepted = await caller.start(step("work"), priority=LOW)
        for level, refused, taken in ((0.6, [LOW], [NORMAL, HIGH]), (0.9, [LOW, NORMAL, 0], [HIGH])):
            held.at(level)
            for priority in refused:
                error = await refusals_begin(caller, priority)
                assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "OVERLOADED" in str(error.trailing_metadata()) or "OVERLOADED" in error.details()
                assert "google.rpc.RetryInfo" in str(error.trailing_metadata())
            for priority in taken:
                await caller.start(step("work"), priority=priority)
        assert (await admit(to=held.service).monitoring.GetStatus(GetStatusRequest())).load > 0.8
        held.at(1.0)
        await executor.succeed((await executor.work()).attempt)
        assert (await caller.ended(accepted)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
        held.at(0)
        await accepted_again(caller, LOW)
    refused = [each.request_denied for each in await caller.history("requests") if each.HasField("request_denied")]
    assert {each.reason for each in refused} == {"OVERLOADED"}


async def test_a_direct_call_is_refused_as_early_and_a_batch_too(held, admit):
    caller = admit(to=held.service)
    await caller.register("work")
    held.at(0.6)
    await refusals_begin(caller, LOW)
    with pytest.raises(grpc.aio.AioRpcError, match="takes no more work"):
        # The tool is unknown, which is not even looked at.
        await caller.call("unheard-of", priority=LOW)
    with pytest.raises(grpc.aio.AioRpcError, match="unheard-of"):
        await caller.call("unheard-of", priority=HIGH)


async def test_health_checks_are_told_before_the_process_suffers_and_when_it_is_over(held, admit):
    operator = admit(tenant="default", to=held.service)
    async with grpc.aio.insecure_channel(held.service.address) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""), timeout=30)
        told = (answer.status async for answer in watched)
        assert await anext(told) == SERVING
        assert (await operator.monitoring.GetStatus(GetStatusRequest())).serving
        held.at(1.0)
        assert await anext(told) == NOT_SERVING
        status = await operator.monitoring.GetStatus(GetStatusRequest())
        assert (status.serving, status.load > 0.9) == (False, True), "the status says what health checks are told"
        held.at(0.5)
        assert await anext(told) == SERVING
        assert (await operator.monitoring.GetStatus(GetStatusRequest())).serving
        watched.cancel()
