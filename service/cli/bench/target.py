"""What `podium bench` measures, as lean as a client can see it, and what one round of a load found.

Requests leave as bytes that were made once, and answers arrive as bytes that are read when the clock has stopped:
the load shares the machine with what it measures.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grpc.aio import AioRpcError

from podium.rpc_errors import error_of
from podium.v1 import workflow_service_pb2 as pb
from service.clock import SystemClock, SystemRandomness

if TYPE_CHECKING:
    from grpc.aio import Metadata, UnaryStreamMultiCallable, UnaryUnaryMultiCallable

    from podium.connection import Connection

NOOP = "podium_bench_noop"
STREAM = "podium_bench_stream"
CHUNK_BYTES = 64 * 1024
STAMP_BYTES = 8
"""The first chunk of a stream begins with the microseconds since the Unix epoch at which it was made."""
CALL_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of a load found."""

    seconds: float
    """From the first request to the last answer."""
    workflows: int = 0
    """How many ran to their end, each with as many steps as the others."""
    steps: int = 0
    """How many steps those workflows had together."""
    latencies_ms: Sequence[float] = ()
    """Of each request, in no order."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What else the load is about, by name."""


class Target:
    """A connection to the service, with the methods that loads call. They raise podium.PodiumError."""

    def __init__(self, connection: Connection) -> None:
        self.name = f"podium_bench_{SystemRandomness().token()}"
        """What all workflows of this run are called."""
        self._channel = connection.channel
        self._metadata = connection.metadata
        self.now_s = SystemClock().monotonic
        self.now_us = SystemClock().now_us
        self._watch: UnaryStreamMultiCallable[bytes, bytes] = connection.channel.unary_stream(
            "/podium.v1.WorkflowService/WatchWorkflow"
        )

    def method(self, name: str) -> Callable[[bytes], Awaitable[bytes]]:
        """A unary method by its service and name, which takes a request as bytes and returns its answer so."""
        call: UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(f"/podium.v1.{name}")
        metadata: Metadata = self._metadata()

        async def ask(request: bytes) -> bytes:
            try:
                return await call(request, timeout=CALL_TIMEOUT_S, metadata=metadata)
            except AioRpcError as error:
                raise error_of(error) from error

        return ask

    async def watched(self, workflow_id: str, *, chunks: bool = False) -> AsyncGenerator[bytes, None]:
        """What WatchWorkflow answers, message by message as bytes, until the workflow has ended."""
        request = pb.WatchWorkflowRequest(workflow_id=workflow_id, without_chunks=not chunks)
        call = self._watch(request.SerializeToString(), metadata=self._metadata())
        try:
            async for message in call:
                yield message
        except AioRpcError as error:
            raise error_of(error) from error
        finally:
            call.cancel()
