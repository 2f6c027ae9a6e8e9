"""Whatever is done to them, the stores and the model answer the same and hold the same."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from store.contract import Append, DataKey, OpenWorkflow, Snapshot, StoreError, Tile
from store.event_log import EventLog
from store.limits import StoreLimits
from store.migrate import migrate
from store.postgres import postgres_log
from store.sqlite import SqliteBackend
from store.sqlite_reader import SqliteReader
from tests.contract.events import FakeClock, chunks, to_stream
from tests.contract.model import ModelDatabase, ModelStore

TENANTS = st.sampled_from(["one", "two"])
STREAMS = st.sampled_from(["a", "b", "c"])
NAMES = st.tuples(TENANTS, STREAMS)

# Versions that are often right: the state machine adds them to the version that the stream has.
PARTS = st.tuples(NAMES, st.integers(0, 4), st.sampled_from([0, 0, 0, 0, -1, 1]))
APPENDS = st.tuples(
    st.lists(PARTS, max_size=3),
    st.lists(st.tuples(NAMES, st.none() | st.integers(1, 9)), max_size=1),
    st.lists(NAMES, max_size=1),
)
CHUNKS = st.tuples(NAMES, st.sampled_from(["s", "t"]), st.integers(1, 2), st.lists(st.integers(1, 4), max_size=4))

EMPTY = Path(tempfile.mkdtemp()) / "empty.db"


class QuickBackend(SqliteBackend):
    """Does not wait for the disk: no power fails here."""

    synchronous = "OFF"


def empty_database():
    if not EMPTY.exists():
        migrate(f"sqlite:///{EMPTY}")
    return EMPTY


class AgainstModel(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.database = ModelDatabase()
        self.clock = FakeClock()
        self.loop = asyncio.Runner()
        self.stores = []

    @initialize()
    def open(self):
        # A small cache, so that streams are forgotten and looked up again.
        limits = StoreLimits(cached_streams=2, group_events=5)
        self.stores = [
            self.make_store(limits),
            ModelStore(self.database, self.clock),
        ]
        for store in self.stores:
            self.loop.run(store.open())

    def teardown(self):
        self.close()
        self.remove_database()
        self.loop.close()

    def close(self):
        for store in self.stores:
            self.loop.run(store.close())

    def same(self, work):
        """Do the same to both, and hold the answers against each other."""
        found, model = [self.loop.run(work(store)) for store in self.stores]
        assert found == model
        return model

    @rule(groups=st.lists(APPENDS, min_size=1, max_size=5))
    def append(self, groups):
        appends = [self.append_of(*group) for group in groups]

        async def submit(store):
            return await asyncio.gather(*(outcome_of(store.append(append)) for append in appends))

        self.same(submit)

    def append_of(self, parts, opened, closed):
        return Append(
            [
                to_stream(stream_id, count, at=max(0, self.version((tenant, stream_id)) + off), tenant=tenant)
                for (tenant, stream_id), count, off in parts
            ],
            opened=[OpenWorkflow(*name, wake_at_us) for name, wake_at_us in opened],
            closed=closed,
        )

    def version(self, name):
        return len(self.database.streams.get(name, ()))

    @rule(calls=st.lists(CHUNKS, min_size=1, max_size=3))
    def append_chunks(self, calls):
        async def submit(store):
            return await asyncio.gather(
                *(
                    outcome_of(
                        store.append_chunks(
                            chunks(stream_id, sequences, tenant=tenant, step_id=step_id, attempt=attempt)
                        )
                    )
                    for (tenant, stream_id), step_id, attempt, sequences in calls
                )
            )

        self.same(submit)

    @rule(tenant=TENANTS, data=st.binary(max_size=4))
    def write_payload(self, tenant, data):
        self.same(lambda store: store.write_payload(tenant, data))

    @rule(key_id=st.sampled_from("ab"), wrapped=st.none() | st.binary(min_size=1, max_size=2))
    def write_data_key(self, key_id, wrapped):
        self.same(lambda store: store.write_data_key(DataKey(key_id, wrapped, None if wrapped else 7)))
        self.same(lambda store: store.read_data_keys())

    @rule(name=NAMES, version=st.integers(1, 3), data=st.binary(max_size=2))
    def write_snapshot(self, name, version, data):
        self.same(lambda store: outcome_of(store.write_snapshot(Snapshot(*name, version, b"fold", data))))
        self.same(lambda store: store.read_snapshot(*name))

    @rule(tiles=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.binary(max_size=2)), max_size=3))
    def write_tiles(self, tiles):
        self.same(lambda store: store.write_tree([Tile(*tile) for tile in tiles]))
        self.same(lambda store: store.read_tiles(0, 0, 3))

    @rule(by=st.integers(-2_000_000, 2_000_000))
    def move_the_clock(self, by):
        self.clock.now += by

    @rule()
    def open_again(self):
        self.close()
        self.open()

    @rule(after=st.integers(0, 20), limit=st.integers(1, 10), tenant=st.none() | TENANTS)
    def read_the_log(self, after, limit, tenant):
        self.same(lambda store: store.read_all(after, limit, tenant))

    @rule(name=NAMES, after=st.integers(0, 5), limit=st.none() | st.integers(1, 3))
    def read_a_stream(self, name, after, limit):
        self.same(lambda store: store.read_stream(*name, after, limit))

    @rule(name=NAMES, after=st.integers(0, 5), limit=st.integers(1, 4))
    def read_chunks(self, name, after, limit):
        self.same(lambda store: store.read_chunks(*name, after, limit))

    @rule(start=st.integers(0, 20), tenant=st.none() | TENANTS)
    def follow(self, start, tenant):
        async def catch_up(store):
            events = []
            async for batch in store.subscribe(min(start, store.head), tenant):
                events.extend(batch.events)
                if batch.caught_up:
                    return events, batch.position
            return None

        self.same(catch_up)

    @invariant()
    def they_hold_the_same(self):
        if self.stores:
            assert self.stores[0].head == self.stores[1].head
            self.same(lambda store: store.read_all())
            opened = self.same(lambda store: in_order(store.open_workflows()))
            assert len(opened) <= self.stores[0].head


async def outcome_of(attempt):
    try:
        return await attempt
    except StoreError as refusal:
        return type(refusal), str(refusal)


async def in_order(listing):
    # Of workflows that one append opened, either may come first.
    return sorted(await listing, key=lambda entry: (entry.tenant, entry.stream_id))


class SqliteAgainstModel(AgainstModel):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(shutil.copy(empty_database(), self.folder.name))

    def make_store(self, limits):
        return EventLog(
            QuickBackend(self.path), SqliteReader(self.path, connections=1), clock=self.clock, limits=limits
        )

    def remove_database(self):
        self.folder.cleanup()


class PostgresAgainstModel(AgainstModel):
    server = None

    def __init__(self):
        super().__init__()
        self.url = self.loop.run(self.server.create_database())

    def make_store(self, limits):
        return postgres_log(self.url, clock=self.clock, limits=limits, reader_connections=1)

    def remove_database(self):
        self.loop.run(self.server.drop_database(self.url))


@pytest.fixture(autouse=True, scope="module")
def server(postgres):
    # A state machine takes no fixtures.
    PostgresAgainstModel.server = postgres


TestSqliteAgainstModel = SqliteAgainstModel.TestCase
TestPostgresAgainstModel = PostgresAgainstModel.TestCase
TestSqliteAgainstModel.settings = settings(
    max_examples=30, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestPostgresAgainstModel.settings = settings(
    max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
