"""W3C trace context, and the ids of spans.

Invariant: an id follows from what its span is of and from nothing else, so that whoever derives it, before or after a
restart, on this replica or another, finds the same one and nobody has to remember any.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_LENGTH = 55
_LENGTH_MAX = 256
"""Of the header of a version to come, of which only the beginning is read."""
_INVALID_VERSION, _THIS_VERSION = "ff", "00"
_SAMPLED = 1
_RATIO_RANGE = 1 << 64


class SpanContext(NamedTuple):
    """Names a span. The ids are lower-case hexadecimal."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """As it travels in metadata."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"


def parse_traceparent(text: str) -> SpanContext | None:
    """Read a traceparent; None: it is none, and whoever gets it goes on as if it were not there."""
    if not _LENGTH <= len(text) <= _LENGTH_MAX:
        return None
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == _INVALID_VERSION or (version == _THIS_VERSION and rest):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return SpanContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


class WorkflowTrace(NamedTuple):
    """The trace that a workflow's spans are in."""

    trace_id: str
    parent_span_id: str
    """The span of the caller's; empty: the workflow is the root."""
    sampled: bool


def trace_of(tenant: str, workflow_id: str, caller: str, ratio: float) -> WorkflowTrace:
    """The trace of a workflow, from the caller's traceparent where there is one.

    The caller has decided whether its trace is sampled; of traces that begin here the part `ratio` is, by their ids.
    """
    parent = parse_traceparent(caller) if caller else None
    if parent is not None:
        return WorkflowTrace(*parent)
    trace_id = _digest(tenant, workflow_id)[:32]
    return WorkflowTrace(trace_id, "", int(trace_id[16:], 16) < ratio * _RATIO_RANGE)


def span_id(tenant: str, workflow_id: str, step_id: str = "", attempt: int = 0) -> str:
    """The id of a workflow's span, of a step's, or of an attempt's."""
    return _digest(tenant, workflow_id, "span", step_id, str(attempt))[:16]


def attempt_traceparent(trace: WorkflowTrace, tenant: str, workflow_id: str, step_id: str, attempt: int) -> str:
    """What an executor is given, so that the spans of a tool are children of the attempt's."""
    return SpanContext(trace.trace_id, span_id(tenant, workflow_id, step_id, attempt), trace.sampled).traceparent


def _digest(*names: str) -> str:
    # No name holds a NUL, so different names are different texts. All zeros would be no id, and will not be met.
    return hashlib.sha256("\0".join(names).encode()).hexdigest()
