"""What a data key sealed is erased with the key: no file of the database still holds it."""

import pytest

from store.contract import DataKey
from store.sqlite import sqlite_log
from tests.contract.events import append_to

SECRET = b"a key that was wrapped"


def files_that_hold(path, secret):
    return [file.name for file in path.parent.iterdir() if secret in file.read_bytes()]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_destroyed_key_is_in_no_file(log, database, clock, restarted):
    await log.write_data_key(DataKey("key", SECRET))
    await log.append(append_to("a"))
    assert files_that_hold(database, SECRET)
    if restarted:
        await log.close()
        await log.open()
    await log.write_data_key(DataKey("key", None, clock.now))
    await log.append(append_to("b"))
    assert files_that_hold(database, SECRET) == []


async def test_a_key_that_was_only_overwritten_may_still_be_found(log, database):
    """Which is why destroying is more than writing."""
    await log.write_data_key(DataKey("key", SECRET))
    await log.write_data_key(DataKey("key", b""))
    assert files_that_hold(database, SECRET)


async def test_nothing_lingers_after_a_close(database, clock):
    log = sqlite_log(database, clock=clock)
    await log.open()
    await log.write_data_key(DataKey("key", SECRET))
    await log.write_data_key(DataKey("key", None, clock.now))
    await log.close()
    assert files_that_hold(database, SECRET) == []
