"""The trace that calls belong to: what is asked of the service within `tracing` is a part of the caller's trace.

Nothing of OpenTelemetry is needed for it; who has it takes the traceparent from its propagator.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_traceparent: ContextVar[str] = ContextVar("podium_traceparent", default="")


@contextmanager
def tracing(traceparent: str) -> Iterator[None]:
    """Lets what is started within be a child of a span.

    Args:
        traceparent: The span, as W3C Trace Context writes it; in a tool `ctx.trace_context`. Empty: there is none.
    """
    token = _traceparent.set(traceparent)
    try:
        yield
    finally:
        _traceparent.reset(token)


def current_traceparent() -> str:
    """Returns the span that calls are children of; empty: there is none."""
    return _traceparent.get()
