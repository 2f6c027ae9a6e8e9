"""A service that is asked to stop says so, and takes the results of what runs before it ends."""

import asyncio
import signal

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

import podium
from podium.v1 import value_pb2
from tests.integration.rig.caller import Caller, step
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.toolbox import toolbox

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_it_says_so_lets_calls_end_and_takes_results(own_service):
    service = own_service(drain_ms=20_000).start()
    token, tools = service.token(), toolbox()
    ana = Caller(service.address, token)
    async with (
        grpc.aio.insecure_channel(service.address) as watching,
        podium.connect(service.address, token, serve=tools) as client,
        raw_executor(ana, "work") as executor,
    ):
        watch = health_pb2_grpc.HealthStub(watching).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        call = asyncio.create_task(client.call("gated", gate="g"))
        await tools.entered["g"].wait()
        workflow_id = await ana.start(step("work"))
        given = await executor.work()
        service.signal(signal.SIGTERM)
        assert (await watch.read()).status == NOT_SERVING
        await executor.expect("drain")
        await executor.succeed(given.attempt, "in time")
        assert (await executor.expect("outcome_acknowledged")).accepted
        tools.gates["g"].set()
        assert await call == "g", "a call that runs when the service stops is answered"
        await executor.stream.done_writing()
        assert await executor.next() is None
    await ana.close()
    assert await asyncio.to_thread(service.ended) == 0
    service.start()
    again = Caller(service.address, token)
    assert (await again.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
    await again.close()
    assert service.complaints() == []
