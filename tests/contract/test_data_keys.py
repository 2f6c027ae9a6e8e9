"""What data keys promise: durable, replaceable, and gone for good once they are destroyed."""

from store.contract import DataKey
from tests.contract.events import append_to


async def test_data_keys_are_read_in_the_order_of_their_ids_after_a_restart(make_store):
    store = make_store()
    await store.open()
    assert await store.read_data_keys() == []
    await store.write_data_key(DataKey("b", b"second"))
    await store.write_data_key(DataKey("a", b"first"))
    await store.write_data_key(DataKey("b", b"wrapped again"))
    await store.close()
    store = make_store()
    await store.open()
    assert await store.read_data_keys() == [DataKey("a", b"first"), DataKey("b", b"wrapped again")]
    await store.close()


async def test_a_destroyed_data_key_does_not_come_back(store):
    destroyed = DataKey("a", None, 17)
    await store.write_data_key(DataKey("a", b"wrapped"))
    await store.write_data_key(destroyed)
    await store.write_data_key(DataKey("a", b"wrapped"))
    assert await store.read_data_keys() == [destroyed]


async def test_data_keys_take_no_place_in_the_log(store):
    await store.append(append_to("a"))
    await store.write_data_key(DataKey("a", b"wrapped"))
    assert store.head == 1
    [event] = await store.read_all()
    assert event.position == 1
