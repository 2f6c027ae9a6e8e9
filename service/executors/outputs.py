"""What an attempt gives back, in the form in which it is recorded: checked, and sealed when its tool's output is.

Nothing that is to be sealed reaches the store, or whoever watches, before it is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from podium.v1 import executor_service_pb2 as wire
from podium.v1 import value_pb2
from service.admission.redaction import Redactor
from service.domain.reasons import INVALID_REASON, is_reason
from service.engine.attempts import LiveAttempt
from service.engine.keys import ToolVersion
from service.engine.payloads import PayloadCache
from service.engine.sealing import TenantSeals
from service.executors.chunk_redaction import ChunkRedactor
from service.executors.output_rules import OutputRules
from store.contract import EventStore

_TOLD_LENGTH = 16 * 1024
"""Characters of a message that are looked at at all."""
LONG_LENGTH = 16 * 1024
"""A longer output is cleaned in a thread."""
MESSAGE_LENGTH = 4_000
"""Characters of a failure's message."""
_NAME_LENGTH = 256
"""Characters of what an executor calls a failure, and of the field that it holds at fault."""

SealerOf = Callable[[ToolVersion], TenantSeals | None]
"""What seals the outputs and the chunks of a version of a tool; None: they are not sealed."""


class Outputs:
    """The outputs of a tenant's attempts. What is wrong with one is a ValueError, or a SealBrokenError."""

    def __init__(
        self,
        store: EventStore,
        payloads: PayloadCache,
        sealer_of: SealerOf,
        rules: OutputRules,
        *,
        inline_limit_bytes: int,
        payload_limit_bytes: int,
    ) -> None:
        self._store = store
        self._payloads = payloads
        self._sealer_of = sealer_of
        self._inline_limit_bytes = inline_limit_bytes
        self._payload_limit_bytes = payload_limit_bytes
        self._rules = rules

    def next_chunks(self, live: LiveAttempt, chunk: wire.AttemptChunk) -> list[wire.AttemptChunk]:
        """The chunks that may be recorded now that this one has come, without secrets."""
        if live.stream is None:
            live.stream = ChunkRedactor(self._rules.redactor(live.key.tenant, live.secrets), _names(live))
        chunks: list[wire.AttemptChunk] = live.stream.take(chunk)
        return chunks

    def last_chunks(self, live: LiveAttempt) -> list[wire.AttemptChunk]:
        """The chunks that were held back in case that more follow."""
        chunks: list[wire.AttemptChunk] = [] if live.stream is None else live.stream.end()
        return chunks

    def told(self, live: LiveAttempt, text: str, length: int) -> str:
        """What a tool says beside its output, without secrets, and no longer than this."""
        return self._told(self._rules.redactor(live.key.tenant, live.secrets), text, length) if text else text

    def failure(self, live: LiveAttempt, told: value_pb2.Failure) -> value_pb2.Failure:
        """A failure as it is recorded: without secrets, and with a reason, whatever its executor called it.

        What is no reason is text of the executor's own, and stands where such text does: in the message.
        """
        reason = self.told(live, told.reason, _NAME_LENGTH) or "TOOL_ERROR"
        message = self.told(live, told.message, MESSAGE_LENGTH)
        if not is_reason(reason):
            message = (f"{reason}: {message}" if message else reason)[:MESSAGE_LENGTH]
            reason = INVALID_REASON
        return value_pb2.Failure(
            reason=reason,
            message=message,
            retryable=told.retryable,
            retry_after_ms=told.retry_after_ms,
            field=self.told(live, told.field, _NAME_LENGTH),
        )

    def said(self, tenant: str, text: str, length: int) -> str:
        """What an executor says about itself, without what looks like a secret, and no longer than this."""
        return self._told(self._rules.redactor(tenant, {}), text, length) if text else text

    @staticmethod
    def _told(redactor: Redactor, text: str, length: int) -> str:
        cut = text[:_TOLD_LENGTH]
        if len(cut) < len(text):
            # Where it was cut there may be the beginning of a secret.
            data = cut.encode()
            cut = data[: redactor.pending_from(data)].decode(errors="ignore")
        return redactor.text(cut, {})[:length]

    def chunk(self, live: LiveAttempt, data: bytes) -> bytes:
        """A chunk as it is recorded."""
        seals = self._sealer_of(live.tool)
        return data if seals is None else seals.seal_chunk(data)

    def inline(self, live: LiveAttempt, output: value_pb2.Value) -> value_pb2.Value:
        """An output that came with the result. It must be JSON, because it becomes part of other JSON text."""
        text = self._inline_text(output)
        return self._inlined(live, output, self._clean(live, text))

    async def long_inline(self, live: LiveAttempt, output: value_pb2.Value) -> value_pb2.Value:
        """The same for an output of more than LONG_LENGTH, which does not hold up the loop."""
        text = self._inline_text(output)
        return self._inlined(live, output, await self.cleaned(live, text))

    def _inline_text(self, output: value_pb2.Value) -> str:
        text = output.json
        if len(text) > self._inline_limit_bytes or len(text.encode()) > self._inline_limit_bytes:
            raise ValueError(f"the output is larger than {self._inline_limit_bytes} bytes: upload it")
        return text

    def _inlined(self, live: LiveAttempt, output: value_pb2.Value, cleaned: str) -> value_pb2.Value:
        changed = cleaned != output.json
        seals = self._sealer_of(live.tool)
        if changed and len(cleaned.encode()) > self._inline_limit_bytes:
            # What stands in the place of a secret may be longer than it.
            raise ValueError(
                f"the output is larger than {self._inline_limit_bytes} bytes once it is cleaned: upload it"
            )
        if seals is not None:
            return seals.seal_inline(cleaned)
        return value_pb2.Value(json=cleaned) if changed else output

    async def uploaded(self, live: LiveAttempt, output: value_pb2.Value) -> value_pb2.Value:
        """An output that was uploaded before. Raises StoreError when it was not."""
        seals = self._sealer_of(live.tool)
        if seals is not None:
            output = await seals.adopt(output.payload)
            text = seals.text(output.sealed)
        else:
            text = await self._payloads.load(live.key.tenant, output.payload.digest)
        if live.uploads is not None and _digest(output) in live.uploads:
            return output
        # It was uploaded for another attempt, or before a restart.
        cleaned = await self.cleaned(live, text)
        if cleaned == text:
            return output
        return await self._stored(live, cleaned.encode(), seals)

    async def upload(self, live: LiveAttempt, text: str) -> value_pb2.PayloadReference:
        """Store an output over the inline limit, cleaned and sealed as its tool's are. Raises ValueError."""
        seals = self._sealer_of(live.tool)
        data = (await self.cleaned(live, text)).encode()
        if seals is None:
            reference = await self._payloads.write(live.key.tenant, data)
        else:
            reference = await seals.seal_upload(data)
        live.uploads = {*(live.uploads or ()), reference.digest}
        return reference

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
        text = json.dumps(joined, ensure_ascii=False)
        if len(text) > self._payload_limit_bytes or len(text.encode()) > self._payload_limit_bytes:
            raise ValueError(f"the streamed output is larger than {self._payload_limit_bytes} bytes")
        return await self._stored(live, (await self.cleaned(live, text)).encode(), seals)

    async def _stored(self, live: LiveAttempt, data: bytes, seals: TenantSeals | None) -> value_pb2.Value:
        if seals is not None:
            return await seals.seal(data)
        if len(data) <= self._inline_limit_bytes:
            return value_pb2.Value(json=data.decode())
        return value_pb2.Value(payload=await self._payloads.write(live.key.tenant, data))

    def _clean(self, live: LiveAttempt, text: str) -> str:
        return self._rules.clean(live.tool, text, live.secrets, _names(live))

    async def cleaned(self, live: LiveAttempt, text: str) -> str:
        """An output of any size as it may be recorded; a large one does not hold up the loop. Raises ValueError."""
        if len(text) <= LONG_LENGTH:
            return self._clean(live, text)
        return await asyncio.to_thread(self._clean, live, text)


def _names(live: LiveAttempt) -> dict[str, None]:
    if live.sanitized is None:
        live.sanitized = {}
    return live.sanitized


def _digest(output: value_pb2.Value) -> bytes:
    return output.sealed.payload.digest if output.HasField("sealed") else output.payload.digest
