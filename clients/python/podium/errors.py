"""What goes wrong, as Python sees it: one family, each with a stable reason.

An error is raised for a request that Podium refused, and for the outcome of a tool when its output was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from podium.durations import Duration, seconds


class PodiumError(Exception):
    """Something was refused or failed.

    Attributes:
        message: What happened, for a person or a model to read.
        reason: Stable, in upper snake case: [A-Z][A-Z0-9_]{0,62}. What a tool gives in another form is recorded as
            INVALID_REASON.
        retryable: Whether the same might succeed later.
        retry_after: The shortest wait before another try, in seconds; None when nothing is known.
        event: The event that recorded it, shard:position; empty when nothing was recorded.
        field: The field of the request that is at fault, the first where there are several; empty when none is.
        violations: Every field at fault and what is wrong with it.
    """

    default_reason = "INTERNAL"
    default_retryable = False

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        retryable: bool | None = None,
        retry_after: Duration | None = None,
        event: str = "",
        field: str = "",
        violations: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = self.default_reason if reason is None else reason
        self.retryable = self.default_retryable if retryable is None else retryable
        self.retry_after = None if retry_after is None else seconds(retry_after)
        self.event = event
        self.field = field
        self.violations = tuple(violations)

    def __str__(self) -> str:
        details = [self.reason]
        if self.field:
            details.append(f"field {self.field}")
        if self.event:
            details.append(f"event {self.event}")
        return f"{self.message} ({', '.join(details)})"

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross into worker processes and out of them with all of their attributes."""
        return type(self), (self.message,), self.__dict__.copy()


class InvalidInput(PodiumError):
    """The request, or an argument in it, is not what it must be."""

    default_reason = "INVALID_ARGUMENT"


class Unauthenticated(PodiumError):
    """The token is missing, wrong or expired."""

    default_reason = "UNAUTHENTICATED"


class PermissionDenied(PodiumError):
    """The caller may not do this."""

    default_reason = "PERMISSION_DENIED"


class NotFound(PodiumError):
    """What the request names does not exist, or not for this caller."""

    default_reason = "NOT_FOUND"


class Conflict(PodiumError):
    """Something else was there first: a version, or the same request id with another body."""

    default_reason = "CONFLICT"


class IllegalState(PodiumError):
    """What the request names is not in a state that allows it."""

    default_reason = "FAILED_PRECONDITION"


class RateLimited(PodiumError):
    """Too much at once. `retry_after` says when there is room again."""

    default_reason = "RATE_LIMITED"
    default_retryable = True


class CircuitOpen(PodiumError):
    """The tool failed so often that its circuit breaker lets nothing through for now."""

    default_reason = "CIRCUIT_OPEN"
    default_retryable = True


class Unavailable(PodiumError):
    """The service cannot be reached, or is about to stop."""

    default_reason = "UNAVAILABLE"
    default_retryable = True


class TimedOut(PodiumError):
    """The time given to it is over. What was asked for may still happen."""

    default_reason = "TIMEOUT"
    default_retryable = True


class Canceled(PodiumError):
    """Someone asked for it to end."""

    default_reason = "CANCELED"


class Unreadable(PodiumError):
    """An output was recorded and cannot be read any more: the key that sealed it was destroyed, for example."""

    default_reason = "SEAL_BROKEN"


class ToolFailed(PodiumError):
    """A tool failed. Raise it in a tool to say how; the client raises it to whoever asked for the output."""

    default_reason = "TOOL_ERROR"
    default_retryable = True
