"""Requests are read from their bytes behind the guards: who may not call costs no more than what it sent.

A message may take a hundred times the memory of its bytes, so grpc hands over the bytes as they came. Bytes that are no
message of the contract are refused as every other bad request is: grpc's own answer would name a place in the program,
or cut a stream off without a word.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable

from google.protobuf.message import DecodeError

from service.domain.errors import InvalidInput

Deserialize = Callable[[bytes], object]


def read_message(deserialize: Deserialize, data: bytes) -> object:
    """Return the request. Raises InvalidInput when it is malformed: without a field, because there is no message."""
    try:
        return deserialize(data)
    except DecodeError:
        problem = "the request is no message of the type that the method takes"
        raise InvalidInput("MALFORMED_REQUEST", problem) from None


async def read_messages(deserialize: Deserialize, requests: AsyncIterable[bytes]) -> AsyncIterator[object]:
    """Yield the requests of a stream. Raises InvalidInput at one that is malformed."""
    async for data in requests:
        yield read_message(deserialize, data)
