"""Begins nothing new while the service stops: what runs may end, and who would begin something shall come again."""

from __future__ import annotations

from service.api.handlers import Context
from service.domain.errors import Unavailable

RETRY_AFTER_MS = 1_000
BEGINNINGS = frozenset(
    {
        "/podium.v1.WorkflowService/StartWorkflow",
        "/podium.v1.WorkflowService/RunWorkflow",
        "/podium.v1.WorkflowService/AddSteps",
        "/podium.v1.ToolService/CallTool",
        "/podium.v1.ToolService/CallToolBatch",
        "/podium.v1.ExecutorService/Session",
    }
)
"""The methods that begin something. All others read, or let what was begun end."""


def stopping() -> Unavailable:
    """What is said to whoever the service has no time for any more. A new one each time: it keeps who raised it."""
    message = "the service is stopping: send the request again in a moment"
    return Unavailable("STOPPING", message, retry_after_ms=RETRY_AFTER_MS)


class Draining:
    """A guard: refuses what would begin something, once draining has begun."""

    def __init__(self) -> None:
        self.has_begun = False

    def __call__(self, method: str, context: Context) -> None:
        """See service.api.handlers.Guard."""
        if self.has_begun and method in BEGINNINGS:
            raise stopping()
