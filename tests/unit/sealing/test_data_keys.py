"""The keys of sealed values: one at a time a tenant, opened by one master key, gone when they are destroyed."""

import os

import pytest

from service.domain.values import SealBrokenError
from service.engine import data_keys
from service.engine.data_keys import MasterKeyError
from store.contract import DataKey


async def test_a_tenant_gets_one_key_and_keeps_it_over_a_restart(open_keyring, store):
    keyring = await open_keyring()
    await keyring.ready("a")
    await keyring.ready("a")
    [stored] = store.keys.values()
    digest = keyring.current("a").digest(b"value")
    again = await open_keyring()
    assert again.current("a").id == stored.key_id
    assert again.current("a").digest(b"value") == digest


async def test_two_tenants_have_keys_of_their_own(open_keyring):
    keyring = await open_keyring()
    await keyring.ready("a")
    await keyring.ready("b")
    assert keyring.current("a").digest(b"value") != keyring.current("b").digest(b"value")
    with pytest.raises(SealBrokenError):
        keyring.find("b", keyring.current("a").id)


async def test_a_stored_key_is_wrapped(open_keyring, store):
    given = []

    def random_bytes(count):
        given.append(os.urandom(count))
        return given[-1]

    keyring = await open_keyring(random_bytes=random_bytes)
    await keyring.ready("tenant")
    [stored] = store.keys.values()
    [secret] = [data for data in given if len(data) == 32]
    assert secret not in stored.wrapped_key
    assert b"tenant" not in stored.wrapped_key


async def test_without_a_key_nothing_is_sealed(open_keyring):
    with pytest.raises(SealBrokenError, match="no data key"):
        (await open_keyring()).take("a")


async def test_after_a_rotation_the_newest_key_seals_and_the_earlier_opens(open_keyring):
    keyring = await open_keyring()
    await keyring.ready("a")
    first = keyring.current("a").id
    second = await keyring.rotate("a")
    for each in (keyring, await open_keyring()):
        assert each.current("a").id == second != first
        assert each.find("a", first).id == first


async def test_a_key_that_has_sealed_enough_is_followed_by_a_new_one(open_keyring, spawned, monkeypatch):
    monkeypatch.setattr(data_keys, "SEALS_A_KEY", 3)
    keyring = await open_keyring()
    await keyring.ready("a")
    first = keyring.current("a").id
    for _ in range(5):
        assert keyring.take("a").id == first
    [rotation] = spawned
    await rotation
    assert keyring.take("a").id != first


async def test_another_master_key_is_refused(open_keyring):
    await (await open_keyring()).ready("a")
    with pytest.raises(MasterKeyError, match="must be put back"):
        await open_keyring(bytes(32))


@pytest.mark.parametrize("place", [0, 20, -1])
async def test_an_altered_row_is_refused(open_keyring, store, place):
    await (await open_keyring()).ready("a")
    [stored] = store.keys.values()
    altered = bytearray(stored.wrapped_key)
    altered[place] ^= 1
    store.keys[stored.key_id] = DataKey(stored.key_id, bytes(altered))
    with pytest.raises(MasterKeyError):
        await open_keyring()


async def test_a_row_under_another_id_is_refused(open_keyring, store):
    await (await open_keyring()).ready("a")
    [stored] = store.keys.values()
    store.keys = {"other": DataKey("other", stored.wrapped_key)}
    with pytest.raises(MasterKeyError):
        await open_keyring()


async def test_a_destroyed_key_opens_nothing_and_is_replaced(open_keyring, store):
    keyring = await open_keyring()
    await keyring.ready("a")
    destroyed = keyring.current("a").id
    store.keys[destroyed] = DataKey(destroyed, None, 1)
    keyring = await open_keyring()
    with pytest.raises(SealBrokenError, match="destroyed"):
        keyring.find("a", destroyed)
    await keyring.ready("a")
    assert keyring.current("a").id != destroyed
