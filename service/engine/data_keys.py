"""The data keys that values are sealed with: one at a time for each tenant, wrapped by a key outside of the database.

A key is durable before anything names it. A key that is gone erases what it sealed; the records, and every proof over
them, stay what they are.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.domain.values import SealBrokenError
from store.contract import DataKey

KEY_BYTES = 32
NONCE_BYTES = 12
SEALS_A_KEY = 2**31
"""A key is followed by a new one after so many seals of a process: with random nonces GCM allows 2^32 in all."""


class MasterKeyError(Exception):
    """The master key is not the one that wrapped the data keys. The message is for the operator."""


class DataKeyStore(Protocol):
    """Where wrapped data keys are durable."""

    async def read_data_keys(self) -> list[DataKey]:
        """Read all of them."""

    async def write_data_key(self, key: DataKey) -> None:
        """Make one durable."""


class OpenedKey:
    """A data key in the clear, as the two keys that are derived from it."""

    __slots__ = ("_digest_key", "cipher", "id", "seals")

    def __init__(self, key_id: str, secret: bytes) -> None:
        self.id = key_id
        self.cipher = AESGCM(_derived(secret, b"podium seal"))
        self._digest_key = _derived(secret, b"podium digest")
        self.seals = 0
        """How many values this process sealed with it."""

    def digest(self, data: bytes) -> bytes:
        """HMAC-SHA-256: tells equal values from others, and nobody without the key can try values out."""
        return hmac.digest(self._digest_key, data, "sha256")


class Keyring:
    """The data keys of all tenants, in memory."""

    def __init__(
        self,
        store: DataKeyStore,
        master_key: bytes,
        *,
        now_us: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        spawn: Callable[[Coroutine[Any, Any, object]], None],
    ) -> None:
        self._store = store
        self._wrapping = AESGCM(_derived(master_key, b"podium wrap"))
        self._now_us = now_us
        self._random_bytes = random_bytes
        self._spawn = spawn
        self._opened: dict[tuple[str, str], OpenedKey] = {}
        self._current: dict[str, OpenedKey] = {}
        self._making = asyncio.Lock()

    async def load(self) -> None:
        """Open every key that is stored. Raises MasterKeyError when one was wrapped by another master key."""
        for stored in await self._store.read_data_keys():
            if stored.wrapped_key is not None:
                tenant, key = self._unwrap(stored.key_id, stored.wrapped_key)
                self._opened[tenant, key.id] = key
                # Ids begin with the time at which a key was made, so the last is the newest.
                self._current[tenant] = key

    async def ready(self, tenant: str) -> None:
        """Make sure that the tenant has a key to seal with."""
        if tenant in self._current:
            return
        async with self._making:
            if tenant not in self._current:
                await self._make(tenant)

    async def rotate(self, tenant: str) -> str:
        """Seal with a new key from now on, and return its id. What the earlier keys sealed stays readable."""
        async with self._making:
            return await self._make(tenant)

    def current(self, tenant: str) -> OpenedKey:
        """The key of the moment. Raises SealBrokenError when `ready` was not asked for."""
        key = self._current.get(tenant)
        if key is None:
            raise SealBrokenError("the tenant has no data key to seal with")
        return key

    def take(self, tenant: str) -> OpenedKey:
        """The key to seal one more value with. Raises SealBrokenError as `current` does."""
        key = self.current(tenant)
        key.seals += 1
        if key.seals == SEALS_A_KEY:
            self._spawn(self.rotate(tenant))
        return key

    def find(self, tenant: str, key_id: str) -> OpenedKey:
        """The key that a sealed value names. Raises SealBrokenError when it is not the tenant's or was destroyed."""
        key = self._opened.get((tenant, key_id))
        if key is None:
            raise SealBrokenError(f"the data key {key_id[:64]} was destroyed or is not known")
        return key

    async def _make(self, tenant: str) -> str:
        secret = self._random_bytes(KEY_BYTES)
        key_id = f"{self._now_us():014x}{self._random_bytes(6).hex()}"
        nonce = self._random_bytes(NONCE_BYTES)
        wrapped = nonce + self._wrapping.encrypt(nonce, secret + tenant.encode(), _wrap_context(key_id))
        await self._store.write_data_key(DataKey(key_id, wrapped))
        key = self._opened[tenant, key_id] = self._current[tenant] = OpenedKey(key_id, secret)
        return key.id

    def _unwrap(self, key_id: str, wrapped: bytes) -> tuple[str, OpenedKey]:
        nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            content = self._wrapping.decrypt(nonce, sealed, _wrap_context(key_id))
        except (InvalidTag, ValueError):
            raise MasterKeyError(
                f"the master key does not open the data key {key_id}: the database belongs to another master key, "
                "whose file must be put back (PODIUM_MASTER_KEY_FILE), or the row was altered"
            ) from None
        return content[KEY_BYTES:].decode(), OpenedKey(key_id, content[:KEY_BYTES])


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(secret)


def _wrap_context(key_id: str) -> bytes:
    return b"podium data key\0" + key_id.encode()
