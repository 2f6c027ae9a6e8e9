"""The one table from the service's errors to gRPC statuses.

A refusal carries google.rpc.Status with a stable reason; a bug carries nothing but the method's name, and its story
goes to the log.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from service.domain import errors
from service.projections.database import DatabaseError
from store.contract import OutcomeUnknownError, OwnershipLostError, QueueFullError, StoreClosedError, StoreError

DOMAIN = "podium"
MESSAGE_LENGTH_MAX = 1024
"""Of a status message, as it is sent: each byte that is not ASCII takes three."""
DETAILS_BYTES_MAX = 3 * 1024
"""Of violations. They travel in trailing metadata, of which a client takes 8 KiB in all."""
_VIOLATION_LENGTH_MAX = 300

_log = logging.getLogger(__name__)


class _Row(NamedTuple):
    code: grpc.StatusCode
    violations: type[Message] | None
    """The kind of detail that lists the violations."""


STATUSES: dict[type[errors.DomainError], _Row] = {
    errors.InvalidInput: _Row(grpc.StatusCode.INVALID_ARGUMENT, error_details_pb2.BadRequest),
    errors.NotFound: _Row(grpc.StatusCode.NOT_FOUND, None),
    errors.AlreadyExists: _Row(grpc.StatusCode.ALREADY_EXISTS, error_details_pb2.BadRequest),
    errors.Conflict: _Row(grpc.StatusCode.ABORTED, error_details_pb2.PreconditionFailure),
    errors.IllegalState: _Row(grpc.StatusCode.FAILED_PRECONDITION, error_details_pb2.PreconditionFailure),
    errors.LimitExceeded: _Row(grpc.StatusCode.RESOURCE_EXHAUSTED, error_details_pb2.QuotaFailure),
    errors.Unauthenticated: _Row(grpc.StatusCode.UNAUTHENTICATED, None),
    errors.Denied: _Row(grpc.StatusCode.PERMISSION_DENIED, None),
    errors.Unavailable: _Row(grpc.StatusCode.UNAVAILABLE, None),
}
"""Every kind of refusal, with its status and what becomes of its violations."""


def to_status(error: errors.DomainError) -> status_pb2.Status:
    """The google.rpc.Status of a refusal."""
    row = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
    if row is None:
        raise TypeError(f"{type(error).__name__} has no gRPC status")
    code: int = row.code.value[0]
    status = status_pb2.Status(code=code, message=_cut(error.message, MESSAGE_LENGTH_MAX))
    metadata = {"event": error.event} if error.event else {}
    _add(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if row.violations is not None and error.violations:
        _add(status, _violations(row.violations, error))
    if error.retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        _add(status, retry)
    return status


def internal_status(method: str) -> status_pb2.Status:
    """The google.rpc.Status of a bug: where to look, and nothing of what was found."""
    code: int = grpc.StatusCode.INTERNAL.value[0]
    message = f"internal error in {method.removeprefix('/')}; the service's log tells more"
    status = status_pb2.Status(code=code, message=message)
    _add(status, error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN))
    return status


def refusal_by_store(error: StoreError) -> errors.DomainError | None:
    """What a caller is told of a store that takes nothing more, or not now; None: the error is a bug."""
    if isinstance(error, QueueFullError):
        return errors.LimitExceeded(error.reason, "as much waits to be written as may wait", retry_after_ms=500)
    if isinstance(error, StoreClosedError | OwnershipLostError):
        return errors.Unavailable(error.reason, "the log cannot be written now", retry_after_ms=500)
    if type(error) in (StoreError, OutcomeUnknownError):
        # The database is away or refuses; the log of the service tells which and why.
        return errors.Unavailable(error.reason, "the log cannot be reached now", retry_after_ms=1000)
    return None


def status_of(method: str, error: Exception) -> status_pb2.Status:
    """The google.rpc.Status of what a method raised. What was not meant for callers goes to the log."""
    refusal = refusal_by_store(error) if isinstance(error, StoreError) else error
    if isinstance(error, DatabaseError):
        _log.warning("%s cannot be answered: %s", method, error)
        refusal = errors.Unavailable(error.reason, "what is derived cannot be read now", retry_after_ms=1000)
    if isinstance(refusal, errors.DomainError):
        return to_status(refusal)
    _log.error("%s failed", method, exc_info=error)
    return internal_status(method)


def _add(status: status_pb2.Status, detail: Message) -> None:
    status.details.add().Pack(detail)


def _violations(kind: type[Message], error: errors.DomainError) -> Message:
    """As many violations as fit, and how many there are beside them."""
    detail = kind()
    for index, (subject, description) in enumerate(error.violations):
        before = detail.SerializeToString()
        _violation(detail, error.reason, _cut(subject, _VIOLATION_LENGTH_MAX), _cut(description, _VIOLATION_LENGTH_MAX))
        if detail.ByteSize() > DETAILS_BYTES_MAX:
            detail = kind.FromString(before)
            _violation(detail, error.reason, "", f"{len(error.violations) - index} more")
            break
    return detail


def _violation(detail: Message, reason: str, subject: str, description: str) -> None:
    match detail:
        case error_details_pb2.BadRequest():
            detail.field_violations.add(field=subject, description=description)
        case error_details_pb2.PreconditionFailure():
            detail.violations.add(type=reason, subject=subject, description=description)
        case error_details_pb2.QuotaFailure():
            detail.violations.add(subject=subject, description=description)
        case _:
            raise TypeError(f"{type(detail).__name__} lists no violations")


def _cut(text: str, length_max: int) -> str:
    """The text, or as much of its beginning as takes `length_max` once what is not ASCII is escaped."""
    length = 0
    for index, character in enumerate(text):
        length += 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode(errors="replace"))
        if length > length_max:
            return text[:index] + "…"
    return text
