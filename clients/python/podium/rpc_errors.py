"""One table from a gRPC status to the SDK's errors.

Invariant: only the service's own word, which comes with its ErrorInfo, says that there was too much at once. gRPC gives
the same status to what is too large for it, and that is too large the next time too.
"""

from __future__ import annotations

import grpc

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
    Unauthenticated,
    Unavailable,
)
from podium.status_details import METADATA_KEY, StatusDetails, read_details

_BY_CODE: dict[grpc.StatusCode, type[PodiumError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE: InvalidInput,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: IllegalState,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimited,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    # A cancel of our own is asyncio.CancelledError. This one is a server that stops.
    grpc.StatusCode.CANCELLED: Unavailable,
}
_BY_REASON: dict[str, type[PodiumError]] = {
    "CIRCUIT_OPEN": CircuitOpen,
    "RATE_LIMITED": RateLimited,
    "PERMISSION_DENIED": PermissionDenied,
    "TIMEOUT": TimedOut,
    "CANCELED": Canceled,
}


_TOO_LARGE = {
    "received metadata size exceeds": (
        "METADATA_TOO_LARGE",
        "what goes with the request is larger than the service takes: use a shorter token",
    ),
    "CLIENT: Sent message larger than max": (
        "MESSAGE_TOO_LARGE",
        "the request is larger than this client sends: split it, or leave large values where the tools can fetch them",
    ),
    "SERVER: Received message larger than max": (
        "MESSAGE_TOO_LARGE",
        (
            "the request is larger than the service takes: split it, leave large values where the tools can fetch "
            "them, or raise PODIUM_LIMIT_PAYLOAD_BYTES of the service"
        ),
    ),
    "SERVER: Sent message larger than max": ("MESSAGE_TOO_LARGE", "the answer is larger than the service sends"),
    "CLIENT: Received message larger than max": ("MESSAGE_TOO_LARGE", "the answer is larger than this client takes"),
}
"""By how gRPC's own words begin: the reason, and what to do."""


def error_of(rpc_error: grpc.aio.AioRpcError) -> PodiumError:
    """Returns the error that tells what the status and its details tell."""
    code = rpc_error.code()
    details = _details_of(rpc_error)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and not details.reason:
        return _refused_by_transport(rpc_error.details() or code.name)
    kind = _BY_REASON.get(details.reason) or _BY_CODE.get(code, PodiumError)
    return kind(
        rpc_error.details() or code.name,
        reason=details.reason or (code.name if kind is PodiumError else None),
        retry_after=details.retry_after_s,
        event=details.metadata.get("event", ""),
        field=details.violations[0][0] if details.violations else "",
        violations=details.violations,
    )


def _refused_by_transport(words: str) -> PodiumError:
    """What gRPC, or something on the way, refused, and will refuse again."""
    for beginning, (reason, remedy) in _TOO_LARGE.items():
        if beginning in words:
            return InvalidInput(f"{remedy} ({words})", reason=reason)
    return PodiumError(f"gRPC or a proxy refused the request: {words}", reason="RESOURCE_EXHAUSTED", retryable=False)


def _details_of(rpc_error: grpc.aio.AioRpcError) -> StatusDetails:
    for key, value in rpc_error.trailing_metadata() or ():
        if key == METADATA_KEY and isinstance(value, bytes):
            return read_details(value)
    return StatusDetails()
