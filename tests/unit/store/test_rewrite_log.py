"""A write-ahead log that a dead process left is written over itself, and is what it was."""

import pytest

from store.contract import StoreError
from store.sqlite_engine import rewrite_log

SIZES = [0, 1, (1 << 20) - 1, 1 << 20, (2 << 20) + 17]


@pytest.mark.parametrize("size", SIZES)
def test_a_log_of_any_size_keeps_its_bytes(tmp_path, size):
    data = bytes(number % 251 for number in range(4096)) * (size // 4096 + 1)
    log = tmp_path / "podium.db-wal"
    log.write_bytes(data[:size])
    rewrite_log(tmp_path / "podium.db")
    assert log.read_bytes() == data[:size]


def test_where_there_is_none_nothing_is_made(tmp_path):
    rewrite_log(tmp_path / "podium.db")
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_made_durable_is_named(tmp_path):
    (tmp_path / "podium.db-wal").mkdir()
    with pytest.raises(StoreError, match=r"cannot make .*podium\.db-wal durable"):
        rewrite_log(tmp_path / "podium.db")
