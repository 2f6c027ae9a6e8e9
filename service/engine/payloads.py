"""Values over the inline limit: written before the event that names them, kept in memory while they are in use."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Protocol

from podium.v1 import value_pb2
from service.domain.values import PayloadNotLoadedError

SEALED_MARK = b"\xffsealed\x01"
"""What the bytes of a sealed payload begin with. No JSON text does: none begins with this byte."""


class PayloadStore(Protocol):
    """Where payloads are durable."""

    async def read_payload(self, tenant: str, digest: bytes) -> bytes:
        """Read a payload. Raises when there is none."""

    async def write_payload(self, tenant: str, data: bytes) -> bytes:
        """Make a payload durable and return its SHA-256."""


class PayloadCache:
    """The payloads in memory, at most so many bytes, the least recently used evicted first."""

    def __init__(self, store: PayloadStore, limit_bytes: int = 64 * 1024 * 1024) -> None:
        self._store = store
        self._limit_bytes = limit_bytes
        self._values: OrderedDict[tuple[str, bytes], str | bytes] = OrderedDict()
        """The text of each, or the bytes of one that is sealed."""
        self._size_bytes = 0

    def of(self, tenant: str) -> TenantPayloads:
        """The view of one tenant, as the domain's port."""
        return TenantPayloads(self, tenant)

    def get(self, tenant: str, digest: bytes) -> str | bytes | None:
        """The text, or the bytes of a sealed payload, when it is in memory."""
        value = self._values.get((tenant, digest))
        if value is not None:
            self._values.move_to_end((tenant, digest))
        return value

    async def fetch(self, tenant: str, digest: bytes) -> str | bytes:
        """The text, or the bytes of a sealed payload, read from the store when need be. Raises when there is none."""
        value = self.get(tenant, digest)
        if value is None:
            value = self._keep(tenant, digest, await self._store.read_payload(tenant, digest))
        return value

    async def load(self, tenant: str, digest: bytes) -> str:
        """The text; see `fetch`. Raises ValueError when the payload is sealed."""
        return _as_text(await self.fetch(tenant, digest))

    async def write(self, tenant: str, data: bytes) -> value_pb2.PayloadReference:
        """Make a JSON text, or a sealed payload, durable and keep it in memory."""
        digest = hashlib.sha256(data).digest()
        if self.get(tenant, digest) is None:
            await self._store.write_payload(tenant, data)
            self._keep(tenant, digest, data)
        return value_pb2.PayloadReference(digest=digest, size_bytes=len(data))

    def _keep(self, tenant: str, digest: bytes, data: bytes) -> str | bytes:
        kept = self._values.get((tenant, digest))
        if kept is not None:
            return kept
        value = self._values[tenant, digest] = data if data.startswith(SEALED_MARK) else data.decode()
        self._size_bytes += len(value)
        # The newest stays even when it alone is over the limit: whoever loaded it is about to read it.
        while self._size_bytes > self._limit_bytes and len(self._values) > 1:
            _, evicted = self._values.popitem(last=False)
            self._size_bytes -= len(evicted)
        return value


class TenantPayloads:
    """One tenant's payloads in memory."""

    def __init__(self, cache: PayloadCache, tenant: str) -> None:
        self._cache = cache
        self._tenant = tenant

    def text(self, reference: value_pb2.PayloadReference) -> str:
        """The JSON text. Raises PayloadNotLoadedError when it is not in memory."""
        return _as_text(self._get(reference))

    def blob(self, reference: value_pb2.PayloadReference) -> bytes:
        """The bytes of a payload that should be sealed. Raises PayloadNotLoadedError when it is not in memory."""
        value = self._get(reference)
        return value if isinstance(value, bytes) else value.encode()

    def _get(self, reference: value_pb2.PayloadReference) -> str | bytes:
        value = self._cache.get(self._tenant, reference.digest)
        if value is None:
            raise PayloadNotLoadedError(reference)
        return value


def _as_text(value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("the payload is sealed")
