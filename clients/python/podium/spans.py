"""W3C trace context, where the program has OpenTelemetry: spans that a tool makes belong to the attempt.

OpenTelemetry is never asked for: without it the context is only handed over as text, in `ctx.trace_context`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
import sys
from collections.abc import Generator
from typing import Any

TRACEPARENT = "traceparent"
_FORMAT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def enter_trace(traceparent: str) -> None:
    """Lets the rest of this task, and the threads that it starts, run in a trace."""
    if (api := opentelemetry_api()) is not None:
        api.attach(api.extract({TRACEPARENT: traceparent}))


@contextlib.contextmanager
def in_trace(traceparent: str) -> Generator[None, None, None]:
    """Runs the block in a trace; with an empty one as it is."""
    api = opentelemetry_api() if traceparent else None
    if api is None:
        yield
        return
    token = api.attach(api.extract({TRACEPARENT: traceparent}))
    try:
        yield
    finally:
        api.detach(token)


def span_traceparent() -> str:
    """Returns where the caller is in a trace; empty when it is in none."""
    # A program that has not loaded it is in no trace.
    if "opentelemetry.trace" not in sys.modules or (api := opentelemetry_api()) is None:
        return ""
    carrier: dict[str, str] = {}
    api.inject(carrier)
    traceparent = carrier.get(TRACEPARENT, "")
    return traceparent if _FORMAT.fullmatch(traceparent) else ""


class _Api:
    """The four functions that are used."""

    def __init__(self) -> None:
        context: Any = importlib.import_module("opentelemetry.context")
        tracecontext: Any = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
        # Of its own: what the program propagates elsewhere, such as baggage, is not meant for the service.
        propagator = tracecontext.TraceContextTextMapPropagator()
        self.attach = context.attach
        self.detach = context.detach
        self.extract = propagator.extract
        self.inject = propagator.inject


@functools.cache
def opentelemetry_api() -> _Api | None:
    """Returns what is used of OpenTelemetry's API; None where it is not installed."""
    try:
        return _Api()
    except ImportError:
        return None
