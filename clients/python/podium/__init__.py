"""Podium: run the tool calls of AI agents durably.

The client and the executor SDK. What is named here is loaded when it is first used: the service and the store import
the generated messages in `podium.v1` and must not pay for a client.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podium import sanitize
    from podium.agent_run import AgentRun
    from podium.batching import Batch
    from podium.cached_function import cacheable, get_cache_stats, invalidate_cache
    from podium.caching import Caching
    from podium.client import Call, Client
    from podium.connecting import connect
    from podium.connection import TLS
    from podium.context import Context, Principal
    from podium.errors import (
        Canceled,
        CircuitOpen,
        Conflict,
        IllegalState,
        InvalidInput,
        NotFound,
        PermissionDenied,
        PodiumError,
        RateLimited,
        TimedOut,
        ToolFailed,
        Unauthenticated,
        Unavailable,
        Unreadable,
    )
    from podium.executor import Executor
    from podium.fallback import Fallback
    from podium.function_cache import CacheStats
    from podium.marks import Redacted, Sensitive
    from podium.outcomes import Outcome, Result, StepStatus, WorkflowStatus
    from podium.pieces import Output
    from podium.probing import Health, Probe
    from podium.references import Reference, Text, index, item, text
    from podium.run import Run
    from podium.tool import Tool
    from podium.watching import Update
    from podium.workflow import Retry, Step, Workflow

_HOMES = {
    "AgentRun": "agent_run",
    "Batch": "batching",
    "CacheStats": "function_cache",
    "Caching": "caching",
    "Call": "client",
    "Canceled": "errors",
    "CircuitOpen": "errors",
    "Client": "client",
    "Conflict": "errors",
    "Context": "context",
    "Executor": "executor",
    "Fallback": "fallback",
    "Health": "probing",
    "IllegalState": "errors",
    "InvalidInput": "errors",
    "NotFound": "errors",
    "Outcome": "outcomes",
    "Output": "pieces",
    "PermissionDenied": "errors",
    "PodiumError": "errors",
    "Principal": "context",
    "Probe": "probing",
    "RateLimited": "errors",
    "Redacted": "marks",
    "Reference": "references",
    "Result": "outcomes",
    "Retry": "workflow",
    "Run": "run",
    "Sensitive": "marks",
    "Step": "workflow",
    "StepStatus": "outcomes",
    "TLS": "connection",
    "Text": "references",
    "TimedOut": "errors",
    "Tool": "tool",
    "ToolFailed": "errors",
    "Unauthenticated": "errors",
    "Unavailable": "errors",
    "Unreadable": "errors",
    "Update": "watching",
    "Workflow": "workflow",
    "WorkflowStatus": "outcomes",
    "cacheable": "cached_function",
    "connect": "connecting",
    "get_cache_stats": "cached_function",
    "index": "references",
    "invalidate_cache": "cached_function",
    "item": "references",
    "text": "references",
}

__all__ = [
    "TLS",
    "AgentRun",
    "Batch",
    "CacheStats",
    "Caching",
    "Call",
    "Canceled",
    "CircuitOpen",
    "Client",
    "Conflict",
    "Context",
    "Executor",
    "Fallback",
    "Health",
    "IllegalState",
    "InvalidInput",
    "NotFound",
    "Outcome",
    "Output",
    "PermissionDenied",
    "PodiumError",
    "Principal",
    "Probe",
    "RateLimited",
    "Redacted",
    "Reference",
    "Result",
    "Retry",
    "Run",
    "Sensitive",
    "Step",
    "StepStatus",
    "Text",
    "TimedOut",
    "Tool",
    "ToolFailed",
    "Unauthenticated",
    "Unavailable",
    "Unreadable",
    "Update",
    "Workflow",
    "WorkflowStatus",
    "cacheable",
    "connect",
    "get_cache_stats",
    "index",
    "invalidate_cache",
    "item",
    "sanitize",
    "text",
]


def __getattr__(name: str) -> object:
    if name == "sanitize":
        return import_module("podium.sanitize")
    if name not in _HOMES:
        raise AttributeError(f"module 'podium' has no attribute {name!r}")
    value: object = getattr(import_module(f"podium.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
