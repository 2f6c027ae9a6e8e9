"""Sealing values and opening them: AES-256-GCM under the tenant's data key.

Only sealed bytes reach the store: an event, a payload or a chunk of a sealed value never holds the value. What is
authenticated with it (tenant, key, purpose and digest) makes a value that was moved or altered fail to open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from google.protobuf.message import DecodeError

from podium.v1 import definition_pb2, value_pb2
from service.domain.values import SealBrokenError
from service.engine.data_keys import NONCE_BYTES, Keyring, OpenedKey
from service.engine.payloads import SEALED_MARK, PayloadCache

_VALUE = b"value"
_TEMPLATE = b"template"
_CHUNK = b"chunk"
_LONG_BYTES = 256 * 1024
"""What is longer is sealed on a thread, so that the loop goes on."""


class Sealing:
    """Seals and opens the values of all tenants."""

    def __init__(
        self,
        keyring: Keyring,
        payloads: PayloadCache,
        random_bytes: Callable[[int], bytes],
        *,
        inline_limit_bytes: int,
    ) -> None:
        self.keyring = keyring
        self.payloads = payloads
        self.random_bytes = random_bytes
        self.inline_limit_bytes = inline_limit_bytes
        self._tenants: dict[str, TenantSeals] = {}

    def of(self, tenant: str) -> TenantSeals:
        """The view of one tenant, which is also the domain's port."""
        seals = self._tenants.get(tenant)
        if seals is None:
            seals = self._tenants[tenant] = TenantSeals(self, tenant)
        return seals


class TenantSeals:
    """Seals and opens the values of one tenant. Everything that opens raises SealBrokenError."""

    def __init__(self, sealing: Sealing, tenant: str) -> None:
        self._keyring = sealing.keyring
        self._cache = sealing.payloads
        self._payloads = sealing.payloads.of(tenant)
        self._random_bytes = sealing.random_bytes
        self._inline_limit_bytes = sealing.inline_limit_bytes
        self._tenant = tenant

    # Sealing

    async def ready(self) -> None:
        """Make sure that there is a key to seal with."""
        await self._keyring.ready(self._tenant)

    def seal_inline(self, text: str) -> value_pb2.Value:
        """Seal JSON text that is within the inline limit."""
        return value_pb2.Value(sealed=self._seal(text.encode(), _VALUE))

    async def seal(self, data: bytes) -> value_pb2.Value:
        """Seal JSON text of any size; a large one is stored as a payload."""
        if len(data) <= self._inline_limit_bytes:
            return value_pb2.Value(sealed=self._seal(data, _VALUE))
        sealed, reference = await self._store(data)
        return _large(sealed, reference)

    async def seal_upload(self, data: bytes) -> value_pb2.PayloadReference:
        """Seal JSON text and store it as a payload that says by itself what it is."""
        return (await self._store(data))[1]

    def seal_template(self, template: definition_pb2.Template) -> definition_pb2.Template:
        """Seal a template as a whole."""
        return definition_pb2.Template(sealed=self._seal(template.SerializeToString(), _TEMPLATE))

    def seal_chunk(self, data: bytes) -> bytes:
        """Seal a piece of streamed output."""
        return _blob(self._seal(data, _CHUNK))

    def keyed_digest(self, data: bytes) -> bytes:
        """HMAC-SHA-256 under the key of the moment, for digests of what holds something sealed."""
        return self._keyring.current(self._tenant).digest(data)

    def named_digest(self, digest: bytes) -> bytes:
        """A digest that nobody without the key can try bodies out on: its HMAC, followed by the key's id."""
        key = self._keyring.current(self._tenant)
        return key.digest(digest) + key.id.encode()

    # Opening

    def text(self, sealed: value_pb2.SealedValue) -> str:
        """The JSON text of a sealed value. Raises PayloadNotLoadedError when its payload is not in memory."""
        if sealed.HasField("payload"):
            held = _parse(self._payloads.blob(sealed.payload))
            if (held.key_id, held.keyed_digest) != (sealed.key_id, sealed.keyed_digest):
                raise SealBrokenError("the sealed payload is not the one that was recorded")
            sealed = held
        return self._open(sealed, _VALUE).decode()

    async def read(self, sealed: value_pb2.SealedValue) -> str:
        """The JSON text of a sealed value, whose payload is loaded when it must be."""
        if sealed.HasField("payload"):
            await self._cache.fetch(self._tenant, sealed.payload.digest)
        return self.text(sealed)

    async def adopt(self, reference: value_pb2.PayloadReference) -> value_pb2.Value:
        """The value of a payload that `seal_upload` stored. Raises SealBrokenError for any other payload."""
        await self._cache.fetch(self._tenant, reference.digest)
        value = _large(_parse(self._payloads.blob(reference)), reference)
        self.text(value.sealed)
        return value

    def template(self, sealed: value_pb2.SealedValue) -> definition_pb2.Template:
        """The template that was sealed as a whole."""
        return definition_pb2.Template.FromString(self._open(sealed, _TEMPLATE))

    def chunk(self, data: bytes) -> bytes:
        """A piece of streamed output."""
        return self._open(_parse(data), _CHUNK)

    def same_digest(self, recorded: bytes, digest: bytes) -> bool:
        """Whether `named_digest` of this digest was recorded. False also when its key is gone."""
        try:
            key = self._keyring.find(self._tenant, recorded[len(digest) :].decode(errors="replace"))
        except SealBrokenError:
            return False
        return recorded[: len(digest)] == key.digest(digest)

    # How

    def _seal(self, data: bytes, purpose: bytes) -> value_pb2.SealedValue:
        return self._seal_with(self._keyring.take(self._tenant), self._random_bytes(NONCE_BYTES), data, purpose)

    def _seal_with(self, key: OpenedKey, nonce: bytes, data: bytes, purpose: bytes) -> value_pb2.SealedValue:
        digest = key.digest(data)
        ciphertext = key.cipher.encrypt(nonce, data, self._context(purpose, key.id, digest))
        return value_pb2.SealedValue(key_id=key.id, nonce=nonce, ciphertext=ciphertext, keyed_digest=digest)

    def _open(self, sealed: value_pb2.SealedValue, purpose: bytes) -> bytes:
        key = self._keyring.find(self._tenant, sealed.key_id)
        context = self._context(purpose, sealed.key_id, sealed.keyed_digest)
        try:
            return key.cipher.decrypt(sealed.nonce, sealed.ciphertext, context)
        except (InvalidTag, ValueError):
            raise SealBrokenError("a sealed value is not what was sealed: it was altered or moved") from None

    def _context(self, purpose: bytes, key_id: str, digest: bytes) -> bytes:
        parts = (b"podium", purpose, self._tenant.encode(), key_id.encode(), digest)
        return b"".join([len(part).to_bytes(4, "big") + part for part in parts])

    async def _store(self, data: bytes) -> tuple[value_pb2.SealedValue, value_pb2.PayloadReference]:
        key, nonce = self._keyring.take(self._tenant), self._random_bytes(NONCE_BYTES)
        if len(data) < _LONG_BYTES:
            sealed = self._seal_with(key, nonce, data, _VALUE)
        else:
            sealed = await asyncio.to_thread(self._seal_with, key, nonce, data, _VALUE)
        return sealed, await self._cache.write(self._tenant, _blob(sealed))


def is_sealed(data: bytes) -> bool:
    """Whether a chunk was sealed. An unsealed one that begins with the mark is taken for sealed and stays unread."""
    return data.startswith(SEALED_MARK)


def _blob(sealed: value_pb2.SealedValue) -> bytes:
    return SEALED_MARK + sealed.SerializeToString()


def _parse(blob: bytes) -> value_pb2.SealedValue:
    if not blob.startswith(SEALED_MARK):
        raise SealBrokenError("a value that should be sealed is not")
    try:
        return value_pb2.SealedValue.FromString(blob[len(SEALED_MARK) :])
    except DecodeError:
        raise SealBrokenError("a sealed value cannot be read") from None


def _large(sealed: value_pb2.SealedValue, reference: value_pb2.PayloadReference) -> value_pb2.Value:
    return value_pb2.Value(
        sealed=value_pb2.SealedValue(key_id=sealed.key_id, keyed_digest=sealed.keyed_digest, payload=reference)
    )
