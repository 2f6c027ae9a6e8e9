"""Values over the inline limit: written before the event that names them, kept in memory while they are in use."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Protocol

from podium.v1 import value_pb2
from service.domain.values import PayloadNotLoadedError


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
        self._texts: OrderedDict[tuple[str, bytes], str] = OrderedDict()
        self._size_bytes = 0

    def of(self, tenant: str) -> TenantPayloads:
        """The view of one tenant, as the domain's port."""
        return TenantPayloads(self, tenant)

    def get(self, tenant: str, digest: bytes) -> str | None:
        """The text when it is in memory."""
        text = self._texts.get((tenant, digest))
        if text is not None:
            self._texts.move_to_end((tenant, digest))
        return text

    async def load(self, tenant: str, digest: bytes) -> str:
        """The text, read from the store when it is not in memory. Raises when there is none."""
        text = self.get(tenant, digest)
        if text is None:
            text = (await self._store.read_payload(tenant, digest)).decode()
            self._keep(tenant, digest, text)
        return text

    async def write(self, tenant: str, data: bytes) -> value_pb2.PayloadReference:
        """Make a JSON text durable and keep it in memory."""
        digest = hashlib.sha256(data).digest()
        if self.get(tenant, digest) is None:
            await self._store.write_payload(tenant, data)
            self._keep(tenant, digest, data.decode())
        return value_pb2.PayloadReference(digest=digest, size_bytes=len(data))

    def _keep(self, tenant: str, digest: bytes, text: str) -> None:
        if (tenant, digest) in self._texts:
            return
        self._texts[tenant, digest] = text
        self._size_bytes += len(text)
        # The newest stays even when it alone is over the limit: whoever loaded it is about to read it.
        while self._size_bytes > self._limit_bytes and len(self._texts) > 1:
            _, evicted = self._texts.popitem(last=False)
            self._size_bytes -= len(evicted)


class TenantPayloads:
    """One tenant's payloads in memory."""

    def __init__(self, cache: PayloadCache, tenant: str) -> None:
        self._cache = cache
        self._tenant = tenant

    def text(self, reference: value_pb2.PayloadReference) -> str:
        """The JSON text. Raises PayloadNotLoadedError when it is not in memory."""
        text = self._cache.get(self._tenant, reference.digest)
        if text is None:
            raise PayloadNotLoadedError(reference)
        return text
