"""The data keys that values are sealed with: one at a time for each tenant, wrapped by a key outside of the database.

A key is durable before anything names it, and its end is durable before it is forgotten. A key that is gone erases what
it sealed; the records, and every proof over them, stay what they are.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.domain.errors import NotFound
from service.domain.values import SealBrokenError
from store.contract import DataKey

logger = logging.getLogger(__name__)

KEY_BYTES = 32
NONCE_BYTES = 12
_TIME_DIGITS = 14
"""How many hexadecimal digits of a key's id are the time at which it was made, in microseconds."""
SEALS_A_KEY = 2**31
"""A key is followed by a new one after so many seals of a process: with random nonces GCM allows 2^32 in all."""


class MasterKeyError(Exception):
    """The master key is not the one that wrapped the data keys. The message is for the operator."""


class KeyFacts(NamedTuple):
    """What may be told of a data key. Times are microseconds since the Unix epoch."""

    key_id: str
    made_at_us: int
    destroyed_at_us: int
    """0: it was not."""
    current: bool
    """Values are sealed with it now."""


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
        self.cipher = AESGCM(derived(secret, b"podium seal"))
        self._digest_key = derived(secret, b"podium digest")
        self.seals = 0
        """How many values this process sealed with it."""

    def digest(self, data: bytes) -> bytes:
        """HMAC-SHA-256: tells equal values from others, and nobody without the key can try values out."""
        return hmac.digest(self._digest_key, data, "sha256")


def require_master_key(stored: Iterable[DataKey], master_key: bytes, previous: bytes | None) -> None:
    """Raise MasterKeyError unless each of these keys was wrapped by the master key, or by the previous one."""
    unwrappings = [_wrapping(key) for key in (master_key, previous) if key]
    for key in stored:
        if key.wrapped_key is not None:
            _unwrap(key, unwrappings)


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
        previous_master_key: bytes | None = None,
    ) -> None:
        """With `previous_master_key`, keys that it wrapped are wrapped by the master key as they are loaded."""
        self._store = store
        self._wrapping = _wrapping(master_key)
        self._unwrappings = [self._wrapping, *([_wrapping(previous_master_key)] if previous_master_key else [])]
        self._now_us = now_us
        self._random_bytes = random_bytes
        self._spawn = spawn
        self._opened: dict[tuple[str, str], OpenedKey] = {}
        self._current: dict[str, OpenedKey] = {}
        self._destroyed: dict[tuple[str, str], int] = {}
        """When each was destroyed."""
        self._changing = asyncio.Lock()

    async def load(self) -> None:
        """Open every key that is stored, and wrap anew, durably, what the previous master key wrapped.

        A start that ends between two of them does the rest at the next. Raises MasterKeyError when a key was wrapped by
        neither master key, and StoreError.
        """
        rewrapped = 0
        for stored in await self._store.read_data_keys():
            if stored.wrapped_key is None:
                self._destroyed[stored.tenant, stored.key_id] = stored.destroyed_at_us or 0
                continue
            content, wrapping = _unwrap(stored, self._unwrappings)
            tenant, secret = content[KEY_BYTES:].decode(), content[:KEY_BYTES]
            if wrapping is not self._wrapping:
                await self._write(tenant, stored.key_id, secret)
                rewrapped += 1
            # Ids begin with the time at which a key was made, so the last is the newest.
            self._opened[tenant, stored.key_id] = self._current[tenant] = OpenedKey(stored.key_id, secret)
        if len(self._unwrappings) > 1:
            logger.info("%d data keys were wrapped anew: the previous master key is not needed any more", rewrapped)

    async def ready(self, tenant: str) -> None:
        """Make sure that the tenant has a key to seal with."""
        if tenant in self._current:
            return
        async with self._changing:
            if tenant not in self._current:
                await self._make(tenant)

    async def rotate(self, tenant: str) -> str:
        """Seal with a new key from now on, and return its id. What the earlier keys sealed stays readable."""
        async with self._changing:
            return await self._make(tenant)

    async def destroy(self, tenant: str, key_id: str) -> None:
        """Destroy a key for good, and erase with it whatever it sealed. Destroying one twice changes nothing.

        The tenant's current key is followed by a new one first. Raises NotFound when the tenant has no such key.
        """
        async with self._changing:
            destroyed_at_us = self._destroyed.get((tenant, key_id))
            if destroyed_at_us is None:
                if (tenant, key_id) not in self._opened:
                    raise NotFound("DATA_KEY_NOT_FOUND", f"the tenant has no data key {key_id[:64]!r}")
                if self._current[tenant].id == key_id:
                    await self._make(tenant)
                destroyed_at_us = self._now_us()
            try:
                # Once more for one that is destroyed: perhaps nobody waited to hear how that ended.
                await self._store.write_data_key(DataKey(key_id, None, destroyed_at_us, tenant))
            except asyncio.CancelledError:
                # It may be durable by now, so that it must not open anything any more.
                self._forget(tenant, key_id, destroyed_at_us)
                raise
            self._forget(tenant, key_id, destroyed_at_us)

    def keys(self, tenant: str) -> list[KeyFacts]:
        """The keys of a tenant, the oldest first."""
        current = self._current.get(tenant)
        opened = [(key_id, 0, key is current) for (of, key_id), key in self._opened.items() if of == tenant]
        destroyed = [(key_id, at_us, False) for (of, key_id), at_us in self._destroyed.items() if of == tenant]
        return [
            KeyFacts(key_id, int(key_id[:_TIME_DIGITS], 16), at_us, is_current)
            for key_id, at_us, is_current in sorted(opened + destroyed)
        ]

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
            if (tenant, key_id) in self._destroyed:
                raise SealBrokenError(f"the data key {key_id[:64]} was destroyed, and what it sealed is erased")
            raise SealBrokenError(f"the data key {key_id[:64]} is not known")
        return key

    def _forget(self, tenant: str, key_id: str, destroyed_at_us: int) -> None:
        self._opened.pop((tenant, key_id), None)
        self._destroyed[tenant, key_id] = destroyed_at_us

    async def _make(self, tenant: str) -> str:
        secret = self._random_bytes(KEY_BYTES)
        key_id = f"{self._now_us():0{_TIME_DIGITS}x}{self._random_bytes(6).hex()}"
        await self._write(tenant, key_id, secret)
        self._opened[tenant, key_id] = self._current[tenant] = OpenedKey(key_id, secret)
        return key_id

    async def _write(self, tenant: str, key_id: str, secret: bytes) -> None:
        nonce = self._random_bytes(NONCE_BYTES)
        wrapped = nonce + self._wrapping.encrypt(nonce, secret + tenant.encode(), _wrap_context(key_id))
        await self._store.write_data_key(DataKey(key_id, wrapped, tenant=tenant))


def _unwrap(stored: DataKey, unwrappings: Sequence[AESGCM]) -> tuple[bytes, AESGCM]:
    """The key with its tenant, and what it was wrapped by. Only what is wrapped says whose key it is."""
    wrapped = stored.wrapped_key or b""
    for wrapping in unwrappings:
        try:
            content = wrapping.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _wrap_context(stored.key_id))
        except (InvalidTag, ValueError):
            continue
        if stored.tenant in ("", content[KEY_BYTES:].decode()):
            return content, wrapping
    raise MasterKeyError(
        f"the master key does not open the data key {stored.key_id}: the database belongs to another master key, "
        "whose file must be put back (PODIUM_MASTER_KEY_FILE, or PODIUM_PREVIOUS_MASTER_KEY_FILE to replace it), "
        "or the row was altered"
    )


def _wrapping(master_key: bytes) -> AESGCM:
    return AESGCM(derived(master_key, b"podium wrap"))


def derived(secret: bytes, purpose: bytes) -> bytes:
    """A key of KEY_BYTES for one purpose, from which nobody finds the secret or another."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(secret)


def _wrap_context(key_id: str) -> bytes:
    return b"podium data key\0" + key_id.encode()
