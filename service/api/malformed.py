"""Requests that are no message of the contract: refused by the edge as every other bad request is.

grpc answers a deserializer that raises with an error of its own that names a place in the program, or cuts a stream
off without a word. So the deserializer returns a mark instead, and what reads the request refuses it, after the guards:
who may not call is not told more.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Final, TypeVar

from google.protobuf.message import DecodeError

from service.domain.errors import InvalidInput

Request = TypeVar("Request")
MALFORMED: Final = object()
"""Stands for a request whose bytes are no message of the method's type."""


def tolerant(deserialize: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """The deserializer, with MALFORMED where it raises."""

    def deserialize_or_mark(data: bytes) -> object:
        try:
            return deserialize(data)
        except DecodeError:
            return MALFORMED

    return deserialize_or_mark


def well_formed(request: Request) -> Request:
    """Return the request. Raises InvalidInput when it is malformed: without a field, because there is no message."""
    if request is MALFORMED:
        raise InvalidInput("MALFORMED_REQUEST", "the request is no message of the type that the method takes")
    return request


async def all_well_formed(requests: AsyncIterable[Request]) -> AsyncIterator[Request]:
    """Yield the requests of a stream. Raises InvalidInput at one that is malformed."""
    async for request in requests:
        yield well_formed(request)
