"""The edge: what every RPC passes before its servicer, and how it ends when something is raised."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from functools import partial
from typing import Any, Protocol, TypeAlias

import grpc
import grpc.aio
from grpc_status import rpc_status

from service.api.errors import status_of
from service.api.malformed import read_message, read_messages
from service.api.methods import OPEN_SERVICES
from service.domain.errors import DomainError

# As text: the classes of grpc are generic for type checkers only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"
Guard: TypeAlias = "Callable[[str, Context], None]"
"""Lets an RPC of a method through, or raises what refuses it."""
Read: TypeAlias = "Callable[[Any], Any]"
"""Makes of the bytes of a request, or of a stream of them, what the servicer takes."""
Behaviour: TypeAlias = "Callable[[Any, Context], Awaitable[Any]]"
"""Answers an RPC."""
Refused: TypeAlias = "Callable[[str, Context, DomainError], Awaitable[None]]"
"""Takes note of what refused an RPC of a method, before its caller is told."""


class CallersStanding(Protocol):
    """Whether callers that were let in would be let in still."""

    @property
    def revision(self) -> int:
        """Grows when that may have changed for somebody."""

    def check(self, method: str, since: int) -> None:
        """Raise what refuses the current caller, if something changed since a revision."""


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
        standing: CallersStanding | None = None,
    ) -> None:
        """`lasting` surrounds a stream, of requests or answers, that passed the guards for as long as it lasts.

        `standing` is asked before a call is answered that something may have happened to its caller meanwhile.
        """
        self._standing = standing
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
        read = partial(read_messages if handler.request_streaming else read_message, deserialize)
        surround = self._collecting if handler.request_streaming else self._calling
        if inspect.isasyncgenfunction(behaviour):
            surround = self._generating
        surrounded = self._ending(method, surround(method, behaviour, read))
        # Without a deserializer: the bytes of a caller whom a guard refuses become no message.
        return construct(surrounded, None, handler.response_serializer)  # type: ignore[no-any-return]  # the stubs leave the constructors untyped

    def _calling(self, method: str, behaviour: Behaviour, read: Read) -> Behaviour:
        standing = self._standing

        async def call(request: object, context: Context) -> object:
            for guard in self._guards:
                guard(method, context)
            if standing is None:
                return await behaviour(read(request), context)
            began = standing.revision
            answer = await behaviour(read(request), context)
            standing.check(method, began)
            return answer

        return call

    def _collecting(self, method: str, behaviour: Behaviour, read: Read) -> Behaviour:
        async def collect(request: object, context: Context) -> object:
            for guard in self._guards:
                guard(method, context)
            async with self._lasting():
                return await behaviour(read(request), context)

        return collect

    def _generating(self, method: str, behaviour: Callable[[Any, Context], Any], read: Read) -> Behaviour:
        # It writes and does not yield: what ends a stream from outside then meets it here, even while it sends.
        async def stream(request: object, context: Context) -> None:
            for guard in self._guards:
                guard(method, context)
            # aclosing: a client that goes away ends the servicer's generator now and not when it is collected.
            async with self._lasting(), aclosing(behaviour(read(request), context)) as responses:
                async for response in responses:
                    await context.write(response)

        return stream

    def _ending(self, method: str, behaviour: Behaviour) -> Behaviour:
        """The behaviour, which ends with a status when it raises.

        An exception keeps the frames it passed with all they hold, and is kept itself: an abort by grpc beside the RPC,
        another one by a future that a frame waited for. Nothing but the garbage collector would free such a circle, and
        what it holds may be megabytes: so what was raised leads back to no frame once it was told.
        """

        async def end(request: object, context: Context) -> object:
            try:
                return await behaviour(request, context)
            except Exception as error:  # noqa: BLE001 - it ends as the abort that is made of it
                abort = await self._end(method, context, error)
            try:
                raise abort
            finally:
                del abort, request, context

        return end

    async def _end(self, method: str, context: Context, error: Exception) -> Exception:
        """Give an RPC the status of an exception, and return the abort that ends it."""
        # What was aborted has its status already.
        abort = error if isinstance(error, grpc.aio.AbortError) else None
        if abort is None:
            if isinstance(error, DomainError):
                await self._refused(method, context, error)
            try:
                await context.abort_with_status(rpc_status.to_status(status_of(method, error)))
            except grpc.aio.AbortError as raised:
                abort = raised
        assert abort is not None, "an abort raises"
        _forget_frames(abort)
        return abort


def _forget_frames(error: BaseException | None) -> None:
    """Of an exception and of all that it was raised for."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


def _behaviour(handler: Handler) -> object:
    if handler.request_streaming:
        return handler.stream_stream if handler.response_streaming else handler.stream_unary
    return handler.unary_stream if handler.response_streaming else handler.unary_unary
