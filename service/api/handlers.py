"""The edge: what every RPC passes before its servicer, and how it ends when something is raised."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc_status import rpc_status

from service.api.errors import status_of
from service.api.malformed import all_well_formed, tolerant, well_formed
from service.api.methods import OPEN_SERVICES
from service.domain.errors import DomainError

# As text: the classes of grpc are generic for type checkers only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"
Guard: TypeAlias = "Callable[[str, Context], None]"
"""Lets an RPC of a method through, or raises what refuses it."""
Read: TypeAlias = "Callable[[Any], Any]"
"""Gives a request, or a stream of them, to the servicer when it is a message at all."""
Refused: TypeAlias = "Callable[[str, Context, DomainError], Awaitable[None]]"
"""Takes note of what refused an RPC of a method, before its caller is told."""


class EdgeInterceptor(grpc.aio.ServerInterceptor):
    """Stands before every RPC: asks the guards in order, and ends with a status what they or the servicer raise.

    One interceptor and plain calls, because each layer of interceptors and context managers costs every RPC a step's
    worth of time. A method's handler is surrounded once and kept.
    """

    def __init__(
        self,
        guards: Sequence[Guard],
        refused: Refused,
        lasting: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        """`lasting` surrounds a stream of answers that passed the guards for as long as it lasts."""
        self._guards = tuple(guards)
        self._refused = refused
        self._lasting = lasting
        self._surrounded: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """See grpc.aio.ServerInterceptor."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or method.startswith(OPEN_SERVICES):
            return handler
        known = self._surrounded.get(method)
        if known is None or known[0] is not handler:
            known = self._surrounded[method] = handler, self._surround(method, handler)
        return known[1]

    def _surround(self, method: str, handler: Handler) -> Handler:
        """The handler behind the guards.

        What a guard sets in context variables is seen by the RPC alone, because every RPC is a task of its own.
        """
        behaviour: Any = _behaviour(handler)
        constructors = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        construct: Any = constructors[handler.request_streaming, handler.response_streaming]
        deserialize: Any = handler.request_deserializer
        read = all_well_formed if handler.request_streaming else well_formed
        surround = self._generating if inspect.isasyncgenfunction(behaviour) else self._calling
        surrounded = surround(method, behaviour, read)
        return construct(surrounded, tolerant(deserialize), handler.response_serializer)  # type: ignore[no-any-return]  # the stubs leave the constructors untyped

    def _calling(self, method: str, behaviour: Callable[[Any, Context], Awaitable[Any]], read: Read) -> object:
        async def call(request: object, context: Context) -> object:
            try:
                for guard in self._guards:
                    guard(method, context)
                return await behaviour(read(request), context)
            except Exception as error:
                await self._end(method, context, error)
                raise

        return call

    def _generating(self, method: str, behaviour: Callable[[Any, Context], Any], read: Read) -> object:
        # It writes and does not yield: what ends a stream from outside then meets it here, even while it sends.
        async def stream(request: object, context: Context) -> None:
            try:
                for guard in self._guards:
                    guard(method, context)
                # aclosing: a client that goes away ends the servicer's generator now and not when it is collected.
                async with self._lasting(), aclosing(behaviour(read(request), context)) as responses:
                    async for response in responses:
                        await context.write(response)
            except Exception as error:
                await self._end(method, context, error)
                raise

        return stream

    async def _end(self, method: str, context: Context, error: Exception) -> None:
        """End an RPC with the status of an exception. A cancel is none, and leaves as it came."""
        # What was aborted has its status already.
        if isinstance(error, grpc.aio.AbortError):
            return
        if isinstance(error, DomainError):
            await self._refused(method, context, error)
        await context.abort_with_status(rpc_status.to_status(status_of(method, error)))


def _behaviour(handler: Handler) -> object:
    if handler.request_streaming:
        return handler.stream_stream if handler.response_streaming else handler.stream_unary
    return handler.unary_stream if handler.response_streaming else handler.unary_unary
