"""What a refused RPC tells: its status, and the details in google.rpc.Status."""

from dataclasses import dataclass

import grpc.aio
from google.rpc import error_details_pb2, status_pb2

DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True)
class Refusal:
    """A status with its details."""

    code: str
    message: str
    reason: str
    domain: str
    metadata: dict
    violations: dict
    """By field (or subject): what is wrong with it."""
    retry_after_s: float | None
    raw: bytes

    @property
    def fields(self):
        return set(self.violations)


def read_refusal(error):
    """Reads an error of grpc.aio."""
    raw = next((value for key, value in error.trailing_metadata() or () if key == DETAILS), b"")
    status = status_pb2.Status.FromString(raw)
    info, violations, retry_after_s = error_details_pb2.ErrorInfo(), {}, None
    for packed in status.details:
        bad, failed, over = (
            error_details_pb2.BadRequest(),
            error_details_pb2.PreconditionFailure(),
            error_details_pb2.QuotaFailure(),
        )
        retry = error_details_pb2.RetryInfo()
        if packed.Unpack(info):
            pass
        elif packed.Unpack(bad):
            violations |= {each.field: each.description for each in bad.field_violations}
        elif packed.Unpack(failed):
            violations |= {each.subject: each.description for each in failed.violations}
        elif packed.Unpack(over):
            violations |= {each.subject: each.description for each in over.violations}
        elif packed.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    assert not raw or (status.code == error.code().value[0] and status.message == error.details())
    return Refusal(
        error.code().name,
        error.details(),
        info.reason,
        info.domain,
        dict(info.metadata),
        violations,
        retry_after_s,
        raw,
    )


async def refusal_if_any(call):
    """Makes the call (a coroutine, a unary call or a stream) and returns how it is refused; None: it is not.

    Of a stream that never ends one message is enough.
    """
    try:
        if not hasattr(call, "__aiter__"):
            await call
        elif await call.read() is not grpc.aio.EOF:
            call.cancel()
    except grpc.aio.AioRpcError as error:
        return read_refusal(error)
    return None


async def refusal_of(call):
    """Makes the call and returns how it is refused."""
    refusal = await refusal_if_any(call)
    assert refusal is not None, "it was not refused"
    return refusal


async def invalid(call):
    """The refusal of a bad request, which always says who refuses, why, and which fields are at fault."""
    refusal = await refusal_of(call)
    assert (refusal.code, refusal.domain) == ("INVALID_ARGUMENT", "podium"), refusal
    assert refusal.reason.isupper(), refusal
    assert refusal.violations, refusal
    return refusal
