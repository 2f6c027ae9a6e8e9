"""What an attempt gives back, in the form in which it is recorded: checked, and sealed when its tool's output is.

Nothing that is to be sealed reaches the store, or whoever watches, before it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import orjson

from podium.v1 import value_pb2
from service.admission.nesting import nested_within
from service.engine.attempts import LiveAttempt
from service.engine.keys import ToolVersion
from service.engine.payloads import PayloadCache
from service.engine.sealing import TenantSeals
from store.contract import EventStore

SealerOf = Callable[[ToolVersion], TenantSeals | None]
"""What seals the outputs and the chunks of a version of a tool; None: they are not sealed."""


class Outputs:
    """The outputs of a tenant's attempts. What is wrong with one is a ValueError, or a SealBrokenError."""

    def __init__(
        self,
        store: EventStore,
        payloads: PayloadCache,
        sealer_of: SealerOf,
        *,
        inline_limit_bytes: int,
        payload_limit_bytes: int,
        depth_limit: int,
    ) -> None:
        self._store = store
        self._payloads = payloads
        self._sealer_of = sealer_of
        self._inline_limit_bytes = inline_limit_bytes
        self._payload_limit_bytes = payload_limit_bytes
        self._depth_limit = depth_limit

    def chunk(self, live: LiveAttempt, data: bytes) -> bytes:
        """A chunk as it is recorded."""
        seals = self._sealer_of(live.tool)
        return data if seals is None else seals.seal_chunk(data)

    def inline(self, live: LiveAttempt, output: value_pb2.Value) -> value_pb2.Value:
        """An output that came with the result. It must be JSON, because it becomes part of other JSON text."""
        text = output.json
        if len(text) > self._inline_limit_bytes or len(text.encode()) > self._inline_limit_bytes:
            raise ValueError(f"the output is larger than {self._inline_limit_bytes} bytes: upload it")
        if not nested_within(text, self._depth_limit):
            raise ValueError(f"the output is nested more than {self._depth_limit} levels deep")
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"the output is not valid JSON: {error}") from None
        seals = self._sealer_of(live.tool)
        return output if seals is None else seals.seal_inline(text)

    async def uploaded(self, live: LiveAttempt, output: value_pb2.Value) -> value_pb2.Value:
        """An output that was uploaded before. Raises StoreError when it was not."""
        seals = self._sealer_of(live.tool)
        if seals is not None:
            return await seals.adopt(output.payload)
        await self._payloads.load(live.key.tenant, output.payload.digest)
        return output

    async def joined_chunks(self, live: LiveAttempt) -> value_pb2.Value:
        """The output of a tool whose chunks are its output: their text, joined."""
        key = live.key
        seals = self._sealer_of(live.tool)
        chunks = await self._store.read_attempt_chunks(key.tenant, key.workflow_id, key.step_id, live.attempt)
        pieces = [chunk.data if seals is None else seals.chunk(chunk.data) for chunk in chunks]
        try:
            joined = b"".join(pieces).decode()
        except UnicodeDecodeError:
            raise ValueError("the streamed output is not UTF-8 text: let the tool return a value of its own") from None
        data = json.dumps(joined, ensure_ascii=False).encode()
        if len(data) > self._payload_limit_bytes:
            raise ValueError(f"the streamed output is larger than {self._payload_limit_bytes} bytes")
        if seals is not None:
            return await seals.seal(data)
        if len(data) <= self._inline_limit_bytes:
            return value_pb2.Value(json=data.decode())
        return value_pb2.Value(payload=await self._payloads.write(key.tenant, data))
