"""What `podium bench` measures, as lean as a client can see it, and what one round of a load found.

Requests leave as bytes that were made once, and answers arrive as bytes that are read when the clock has stopped:
the load shares the machine with what it measures.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from podium.v1 import workflow_service_pb2 as pb
from service.clock import SystemClock

if TYPE_CHECKING:
    from grpc.aio import Metadata, UnaryStreamMultiCallable, UnaryUnaryMultiCallable

    from podium.connection import Connection

NOOP = "podium_bench_noop"
STREAM = "podium_bench_stream"
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
    """A connection to the service, with the methods that loads call. Raises grpc.aio.AioRpcError."""

    def __init__(self, connection: Connection) -> None:
        self._channel = connection.channel
        self._metadata = connection.metadata
        self.now_s = SystemClock().monotonic
        self.now_us = SystemClock().now_us
        self._unary: dict[str, UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._watch: UnaryStreamMultiCallable[bytes, bytes] = connection.channel.unary_stream(
            "/podium.v1.WorkflowService/WatchWorkflow"
        )

    def method(self, name: str) -> Callable[[bytes], Awaitable[bytes]]:
        """A unary method by its service and name, which takes a request as bytes and returns its answer so."""
        call: UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(f"/podium.v1.{name}")
        metadata: Metadata = self._metadata()

        def ask(request: bytes) -> Awaitable[bytes]:
            return call(request, timeout=CALL_TIMEOUT_S, metadata=metadata)

        return ask

    async def watched(self, workflow_id: str, *, chunks: bool = False) -> AsyncGenerator[bytes, None]:
        """What WatchWorkflow answers, message by message as bytes, until the workflow has ended."""
        request = pb.WatchWorkflowRequest(workflow_id=workflow_id, without_chunks=not chunks)
        call = self._watch(request.SerializeToString(), metadata=self._metadata())
        try:
            async for message in call:
                yield message
        finally:
            call.cancel()
