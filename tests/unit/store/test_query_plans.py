"""What is read often must not cost more as the log grows: no statement scans or sorts what grows with it."""

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import Select
from sqlalchemy.dialects import sqlite

from store import queries
from store.sqlite import sqlite_log
from tests.contract.events import append_to, chunks, opening

GROWING = ("events", "streams", "output_chunks", "payloads")
STATEMENTS = {
    name: statement for name, statement in vars(queries).items() if name.isupper() and isinstance(statement, Select)
}


def plan(connection, statement):
    text = str(statement.compile(dialect=sqlite.dialect()))
    return [step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {text}", [0] * text.count("?"))]


def costs_of_growth(steps, *, may_sort):
    scans = [step for step in steps for table in GROWING if step.startswith(f"SCAN {table}")]
    by_shard_alone = [step for step in steps if step.endswith("(shard=?)")]
    sorts = [step for step in steps if "TEMP B-TREE" in step and not may_sort]
    return scans + by_shard_alone + sorts


@pytest.fixture
async def connection(database, clock):
    log = sqlite_log(database, clock=clock)
    await log.open()
    await log.append(append_to("a", 300))
    await log.append(opening("b"))
    await log.append_chunks(chunks("a", range(1, 100)))
    await log.close()
    with closing(sqlite3.connect(database)) as connection:
        yield connection


def test_there_are_statements_to_look_at():
    assert {"READ_STREAM", "READ_ALL", "READ_TENANT", "READ_CHUNKS", "OPEN_WORKFLOWS"} <= set(STATEMENTS)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_a_statement_takes_an_index_in_the_order_that_it_needs(connection, name):
    # Open workflows and data keys are few.
    may_sort = name in {"OPEN_WORKFLOWS", "READ_DATA_KEYS"}
    assert costs_of_growth(plan(connection, STATEMENTS[name]), may_sort=may_sort) == []


def test_a_sort_of_the_whole_log_would_be_found(connection):
    by_time = queries.READ_ALL.order_by(None).order_by(queries.READ_ALL.selected_columns.recorded_at_us)
    assert costs_of_growth(plan(connection, by_time), may_sort=False) != []
