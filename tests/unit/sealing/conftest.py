"""Seals over stores that are dictionaries."""

import hashlib
import itertools
import os

import pytest

from service.engine.data_keys import Keyring
from service.engine.payloads import PayloadCache
from service.engine.sealing import Sealing
from store.contract import DataKey

MASTER_KEY = bytes(range(32))


class MemoryStore:
    """Payloads and data keys that outlive a keyring."""

    def __init__(self):
        self.payloads = {}
        self.keys = {}

    async def read_payload(self, tenant, digest):
        return self.payloads[tenant, digest]

    async def write_payload(self, tenant, data):
        digest = hashlib.sha256(data).digest()
        self.payloads[tenant, digest] = data
        return digest

    async def read_data_keys(self):
        return [self.keys[key_id] for key_id in sorted(self.keys)]

    async def write_data_key(self, key):
        self.keys[key.key_id] = key


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def spawned():
    """What a keyring wanted to run in the background."""
    return []


@pytest.fixture
def open_keyring(store, spawned):
    """Opens a keyring as a start of the service does: `await open_keyring(master_key)`."""
    moments = itertools.count(1_700_000_000_000_000)

    async def make(master_key=MASTER_KEY, *, previous=None, random_bytes=os.urandom):
        keyring = Keyring(
            store,
            master_key,
            now_us=lambda: next(moments),
            random_bytes=random_bytes,
            spawn=spawned.append,
            previous_master_key=previous,
        )
        await keyring.load()
        return keyring

    return make


@pytest.fixture
async def sealing(store, open_keyring):
    """Seals of tenants `a` and `b`; what is over 1,000 bytes becomes a payload."""
    sealing = Sealing(await open_keyring(), PayloadCache(store), os.urandom, inline_limit_bytes=1000)
    for tenant in ("a", "b"):
        await sealing.of(tenant).ready()
    return sealing


@pytest.fixture
def seals(sealing):
    return sealing.of("a")


@pytest.fixture
async def lost_seals(store, open_keyring, sealing):
    """The seals of tenant `a` after its keys were destroyed."""
    store.keys = {key_id: DataKey(key_id, None, 1, key.tenant) for key_id, key in store.keys.items()}
    return Sealing(await open_keyring(), PayloadCache(store), os.urandom, inline_limit_bytes=1000).of("a")
