"""Bytes that are no message are refused as any other bad request is, and after who calls was asked."""

import grpc.aio
import pytest

from podium.v1 import executor_service_pb2
from tests.integration.rig.api_rows import OPERATOR_TENANT
from tests.integration.rig.caller import Caller
from tests.integration.rig.raw_executor import raw_executor, tool
from tests.integration.rig.refusal import read_refusal, refusal_of
from tests.integration.rig.requests import METHODS, invoke_with_bytes

NO_MESSAGE = b"\xff\xff\xff"
MALFORMED = ("INVALID_ARGUMENT", "MALFORMED_REQUEST")


@pytest.mark.parametrize("path", METHODS)
async def test_bytes_that_are_no_message_are_an_invalid_argument_of(admit, path):
    operator = admit(tenant=OPERATOR_TENANT)
    refusal = await refusal_of(invoke_with_bytes(operator, path, NO_MESSAGE))
    assert (refusal.code, refusal.reason) == MALFORMED
    assert "Decode" not in refusal.message, "it tells nothing of the program"


@pytest.mark.parametrize("path", [path for path, method in METHODS.items() if not method.client_streaming])
async def test_a_stranger_learns_nothing_of_what_the_bytes_should_be(service, path):
    stranger = Caller(service.address)
    assert (await refusal_of(invoke_with_bytes(stranger, path, NO_MESSAGE))).reason == "TOKEN_MISSING"
    await stranger.close()


async def test_a_text_that_is_not_utf_8_is_malformed(caller):
    refusal = await refusal_of(invoke_with_bytes(caller, "/podium.v1.WorkflowService/GetWorkflow", b"\x0a\x01\xff"))
    assert (refusal.code, refusal.reason) == MALFORMED


async def test_an_empty_request_is_a_message(caller):
    refusal = await refusal_of(invoke_with_bytes(caller, "/podium.v1.WorkflowService/GetWorkflow", b""))
    assert refusal.reason != "MALFORMED_REQUEST"


async def end_of(stream):
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_a_malformed_frame_ends_a_session_with_the_reason(caller, service):
    """A frame later than the first: by then the session has begun."""
    hello = executor_service_pb2.SessionRequest()
    hello.items.add().hello.CopyFrom(executor_service_pb2.Hello(executor="odd", max_attempts=1, tools=[tool("odd")]))
    session = caller.channel.stream_stream("/podium.v1.ExecutorService/Session")(metadata=caller.metadata, timeout=10)
    await session.write(hello.SerializeToString())
    assert await session.read() is not grpc.aio.EOF
    await session.write(NO_MESSAGE)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await end_of(session)
    refusal = read_refusal(ended.value)
    assert (refusal.code, refusal.reason) == MALFORMED
    async with raw_executor(caller, "odd"):
        """The tool can be served again."""
