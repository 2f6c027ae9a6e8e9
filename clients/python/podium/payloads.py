"""Values over the inline limit, on streams of their own: they never delay the session's heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc.aio

from podium.backoff import Backoff
from podium.connection import Connection
from podium.errors import PodiumError, RateLimited, TimedOut, ToolFailed, Unavailable
from podium.rpc_errors import error_of
from podium.v1 import executor_service_pb2, executor_service_pb2_grpc, value_pb2

PART_BYTES = 1024 * 1024
UPLOAD_TIMEOUT_S = 120.0


async def upload(
    connection: Connection, attempt: executor_service_pb2.AttemptReference, text: bytes
) -> value_pb2.PayloadReference:
    """Stores an attempt's output, JSON text, and returns its reference. Tries for as long as the service is away.

    Raises:
        ToolFailed: The service refuses the value, for its size for example.
    """
    stub = executor_service_pb2_grpc.ExecutorServiceStub(connection.channel)
    backoff = Backoff()

    async def parts() -> AsyncIterator[executor_service_pb2.UploadRequest]:
        for start in range(0, len(text), PART_BYTES):
            # Whose output it is decides how it is kept; once is enough.
            whose = attempt if start == 0 else None
            yield executor_service_pb2.UploadRequest(data=text[start : start + PART_BYTES], attempt=whose)

    while True:
        try:
            answer = await stub.Upload(parts(), metadata=connection.metadata(), timeout=UPLOAD_TIMEOUT_S)
        except grpc.aio.AioRpcError as rpc_error:
            error = error_of(rpc_error)
            too_large = isinstance(error, RateLimited) and error.retry_after is None
            if too_large or not isinstance(error, Unavailable | TimedOut | RateLimited):
                message = f"the output of {len(text)} bytes was refused: {error.message}"
                raise ToolFailed(message, reason="INVALID_OUTPUT", retryable=False) from rpc_error
        else:
            return answer.payload
        await asyncio.sleep(max(backoff.next_delay(), error.retry_after or 0.0))


async def fetch_arguments(connection: Connection, attempt: executor_service_pb2.AttemptReference) -> str:
    """Returns the arguments of an attempt that were too large to be sent with it."""
    stub = executor_service_pb2_grpc.ExecutorServiceStub(connection.channel)
    request = executor_service_pb2.GetArgumentsRequest(attempt=attempt)
    try:
        return (await connection.call(stub.GetArguments, request)).arguments_json
    except PodiumError as error:
        message = f"the arguments could not be fetched: {error.message}"
        raise ToolFailed(message, reason="ARGUMENTS_UNAVAILABLE", retryable=True) from error
