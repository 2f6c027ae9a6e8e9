"""Surrounds the handlers of RPCs with something that happens before and after, whatever kind of RPC they are for."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeAlias

import grpc
import grpc.aio

# As text: the classes of grpc are generic for type checkers only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"
Around: TypeAlias = "Callable[[Context], AbstractAsyncContextManager[None]]"


class SurroundingInterceptor(grpc.aio.ServerInterceptor):
    """An interceptor that surrounds RPCs. A method's handler is surrounded once and kept."""

    def __init__(self) -> None:
        self._surrounded: dict[str, tuple[Handler, Handler]] = {}

    @abstractmethod
    def passes_over(self, method: str) -> bool:
        """Whether the interceptor leaves a method alone."""

    @abstractmethod
    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[None]:
        """What is entered for as long as an RPC runs."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """See grpc.aio.ServerInterceptor."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or self.passes_over(method):
            return handler
        known = self._surrounded.get(method)
        if known is None or known[0] is not handler:
            known = self._surrounded[method] = handler, surround(handler, lambda context: self.around(method, context))
        return known[1]


def surround(handler: Handler, around: Around) -> Handler:
    """Return the handler with `around(context)` entered for as long as an RPC runs.

    What `around` sets in context variables is seen by the RPC alone, because every RPC is a task of its own.
    """
    behaviour: Any = _behaviour(handler)
    constructors = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    construct: Any = constructors[handler.request_streaming, handler.response_streaming]
    surrounded = (
        _generating(behaviour, around) if inspect.isasyncgenfunction(behaviour) else _calling(behaviour, around)
    )
    return construct(surrounded, handler.request_deserializer, handler.response_serializer)  # type: ignore[no-any-return]  # the stubs leave the constructors untyped


def _behaviour(handler: Handler) -> object:
    if handler.request_streaming:
        return handler.stream_stream if handler.response_streaming else handler.stream_unary
    return handler.unary_stream if handler.response_streaming else handler.unary_unary


def _calling(behaviour: Callable[[Any, Context], Awaitable[Any]], around: Around) -> object:
    async def call(request: object, context: Context) -> object:
        async with around(context):
            return await behaviour(request, context)

    return call


def _generating(behaviour: Callable[[Any, Context], Any], around: Around) -> object:
    async def generate(request: object, context: Context) -> AsyncIterator[object]:
        # aclosing: a client that goes away ends the servicer's generator now and not when it is collected.
        async with around(context), aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                yield response

    return generate
