"""Reading what a refusal carries, as a client would."""

import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

KINDS = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.PreconditionFailure,
        error_details_pb2.QuotaFailure,
        error_details_pb2.RetryInfo,
    )
}


async def refusal(call):
    """The error an awaitable ends with, and its details by the names of their types."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(Trailing(caught.value))
    details = {}
    for packed in status.details:
        detail = KINDS[packed.type_url.rpartition("/")[2]]()
        assert packed.Unpack(detail)
        details[type(detail).__name__] = detail
    return caught.value, details


class Trailing:
    """An AioRpcError as grpc_status reads a call."""

    def __init__(self, error):
        self._error = error

    def code(self):
        return self._error.code()

    def details(self):
        return self._error.details()

    def trailing_metadata(self):
        return self._error.trailing_metadata()


async def reason(call):
    """The code and the stable reason of a refusal."""
    error, details = await refusal(call)
    assert details["ErrorInfo"].domain == "podium"
    return error.code(), details["ErrorInfo"].reason
