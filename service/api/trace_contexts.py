"""Takes the caller's trace context from the metadata of an RPC, for the events that it causes and for its log lines.

What is no W3C traceparent is as good as none: a caller's broken tracing refuses nothing.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar

from service.api.authentication import current_caller
from service.api.handlers import Context
from service.domain.trace_context import parse_traceparent

HEADER = "traceparent"
_traceparent: ContextVar[str] = ContextVar("traceparent", default="")


def take_trace_context(_method: str, context: Context) -> None:
    """A guard that lets everything through; see service.api.handlers.Guard."""
    for name, value in context.invocation_metadata() or ():
        if name == HEADER:
            caller = parse_traceparent(str(value))
            if caller is not None:
                _traceparent.set(caller.traceparent)
            return


def current_traceparent() -> str:
    """The traceparent of the RPC that the current task serves, in its normal form; empty: it has none."""
    return _traceparent.get()


def current_request() -> dict[str, str]:
    """What a line of the log tells of the RPC that the current task serves; nothing outside of one."""
    fields = {"traceparent": _traceparent.get()}
    with suppress(LookupError):
        fields["tenant"] = current_caller().tenant
    return fields
