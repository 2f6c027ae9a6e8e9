"""The keys of sealed values: one at a time a tenant, opened by one master key, gone when they are destroyed."""

import asyncio
import os

import pytest

from service.domain.errors import NotFound
from service.domain.values import SealBrokenError
from service.engine import data_keys
from service.engine.data_keys import MasterKeyError
from store.contract import DataKey, QueueFullError, StoreClosedError
from tests.unit.sealing.conftest import MASTER_KEY


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


async def test_a_row_that_names_another_tenant_is_refused(open_keyring, store):
    await (await open_keyring()).ready("a")
    [stored] = store.keys.values()
    assert stored.tenant == "a"
    store.keys[stored.key_id] = stored._replace(tenant="b")
    with pytest.raises(MasterKeyError):
        await open_keyring()


async def test_a_row_from_before_tenants_were_recorded_is_opened(open_keyring, store):
    await (await open_keyring()).ready("a")
    [stored] = store.keys.values()
    store.keys[stored.key_id] = stored._replace(tenant="")
    assert (await open_keyring()).current("a").id == stored.key_id


async def test_a_destroyed_key_opens_nothing_and_is_replaced_before(open_keyring, store):
    keyring = await open_keyring()
    await keyring.ready("a")
    destroyed = keyring.current("a").id
    await keyring.destroy("a", destroyed)
    assert store.keys[destroyed].wrapped_key is None
    assert store.keys[destroyed].tenant == "a"
    for each in (keyring, await open_keyring()):
        with pytest.raises(SealBrokenError, match="destroyed"):
            each.find("a", destroyed)
        assert each.current("a").id != destroyed


async def test_a_key_is_forgotten_only_once_its_end_is_durable(open_keyring, store):
    keyring = await open_keyring()
    await keyring.ready("a")
    earlier = keyring.current("a").id
    await keyring.rotate("a")

    async def refuse(_key):
        raise QueueFullError("nothing more fits")

    store.write_data_key = refuse
    with pytest.raises(QueueFullError):
        await keyring.destroy("a", earlier)
    assert keyring.find("a", earlier).id == earlier


async def test_a_destruction_that_nobody_waits_for_any_more_is_one_all_the_same(open_keyring, store):
    keyring = await open_keyring()
    await keyring.ready("a")
    destroyed = keyring.current("a").id
    await keyring.rotate("a")
    write = store.write_data_key

    async def write_and_wait(key):
        await write(key)
        await asyncio.Event().wait()

    store.write_data_key = write_and_wait
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await keyring.destroy("a", destroyed)
    assert store.keys[destroyed].wrapped_key is None
    with pytest.raises(SealBrokenError, match="destroyed"):
        keyring.find("a", destroyed)


async def test_a_destruction_of_which_nobody_knows_whether_it_is_durable_can_be_asked_for_again(open_keyring, store):
    keyring = await open_keyring()
    await keyring.ready("a")
    destroyed = keyring.current("a").id
    await keyring.rotate("a")
    write = store.write_data_key

    async def wait_for_ever(_key):
        await asyncio.Event().wait()

    store.write_data_key = wait_for_ever
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await keyring.destroy("a", destroyed)
    assert store.keys[destroyed].wrapped_key is not None
    with pytest.raises(SealBrokenError, match="destroyed"):
        keyring.find("a", destroyed)
    store.write_data_key = write
    await keyring.destroy("a", destroyed)
    assert store.keys[destroyed].wrapped_key is None


async def test_destroying_twice_changes_nothing_and_what_is_not_the_tenants_is_not_found(open_keyring, store):
    keyring = await open_keyring()
    await keyring.ready("a")
    await keyring.ready("b")
    destroyed = keyring.current("a").id
    await keyring.destroy("a", destroyed)
    before = dict(store.keys)
    await keyring.destroy("a", destroyed)
    for key_id in (keyring.current("b").id, destroyed, "nothing"):
        with pytest.raises(NotFound):
            await keyring.destroy("b" if key_id == destroyed else "a", key_id)
    assert store.keys == before


async def test_what_may_be_told_of_the_keys(open_keyring):
    keyring = await open_keyring()
    await keyring.ready("a")
    await keyring.ready("b")
    first = keyring.current("a").id
    second = await keyring.rotate("a")
    await keyring.destroy("a", first)
    for each in (keyring, await open_keyring()):
        told = each.keys("a")
        assert [(key.key_id, key.destroyed_at_us > 0, key.current) for key in told] == [
            (first, True, False),
            (second, False, True),
        ]
        assert 1_700_000_000_000_000 <= told[0].made_at_us < told[1].made_at_us < told[0].destroyed_at_us
        assert each.keys("nobody") == []


NEW_MASTER_KEY = bytes(32)


async def test_a_new_master_key_takes_over_what_the_previous_one_wrapped(open_keyring, store):
    keyring = await open_keyring()
    await keyring.ready("a")
    await keyring.ready("b")
    digests = {tenant: keyring.current(tenant).digest(b"value") for tenant in "ab"}
    await open_keyring(NEW_MASTER_KEY, previous=MASTER_KEY)
    again = await open_keyring(NEW_MASTER_KEY)
    assert {tenant: again.current(tenant).digest(b"value") for tenant in "ab"} == digests
    with pytest.raises(MasterKeyError):
        await open_keyring()


async def test_a_change_of_the_master_key_that_was_cut_short_is_finished_at_the_next_start(open_keyring, store):
    keyring = await open_keyring()
    for tenant in "abc":
        await keyring.ready(tenant)
    write, written = store.write_data_key, []

    async def die_at_the_second(key):
        if written:
            raise StoreClosedError("the process was killed")
        written.append(key.key_id)
        await write(key)

    store.write_data_key = die_at_the_second
    with pytest.raises(StoreClosedError):
        await open_keyring(NEW_MASTER_KEY, previous=MASTER_KEY)
    for master_key in (MASTER_KEY, NEW_MASTER_KEY):
        with pytest.raises(MasterKeyError):
            await open_keyring(master_key)
    wrapped_anew = store.keys[written[0]]
    store.write_data_key = write
    await open_keyring(NEW_MASTER_KEY, previous=MASTER_KEY)
    assert store.keys[written[0]] == wrapped_anew, "what was done is not done again"
    assert (await open_keyring(NEW_MASTER_KEY)).current("c").id == keyring.current("c").id


async def test_a_key_that_neither_master_key_opens_is_refused(open_keyring):
    await (await open_keyring()).ready("a")
    with pytest.raises(MasterKeyError, match="PODIUM_PREVIOUS_MASTER_KEY_FILE"):
        await open_keyring(NEW_MASTER_KEY, previous=bytes([1] * 32))
