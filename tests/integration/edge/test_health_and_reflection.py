"""Health and reflection answer everybody, and tell the truth."""

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.integration.rig.requests import FILES

SERVICES = {name for file in FILES for name in (s.full_name for s in file.DESCRIPTOR.services_by_name.values())}
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def channel(service):
    async with grpc.aio.insecure_channel(service.address) as opened:
        yield opened


@pytest.mark.parametrize("name", ["", *sorted(SERVICES)])
async def test_every_service_says_that_it_serves(channel, name):
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    assert answer.status == SERVING


async def test_a_service_that_does_not_exist_has_no_health(channel):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="podium.v1.Nothing"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_every_service_and_describes_it_with_all_it_needs(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)

    async def ask(**question):
        stream = stub.ServerReflectionInfo()
        await stream.write(reflection_pb2.ServerReflectionRequest(**question))
        answer = await stream.read()
        stream.cancel()
        return answer

    listed = {each.name for each in (await ask(list_services="")).list_services_response.service}
    assert listed == SERVICES | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    for name in SERVICES:
        assert (await ask(file_containing_symbol=name)).file_descriptor_response.file_descriptor_proto
