"""What is read from the log, as statements for either database.

A statement names every value it takes; the reader of a database binds them. A number that callers choose is bound as a
large one, even where its column is small: what lies beyond the column is not found, and is no error.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, BindParameter, Table, bindparam, case, func, literal, select

from store.tables import schema

# The keys differ between the databases, the columns do not.
_TABLES = schema("sqlite").tables
_events: Table = _TABLES["events"]
_streams: Table = _TABLES["streams"]
_tenants: Table = _TABLES["tenants"]
_open: Table = _TABLES["open_workflows"]
_chunks: Table = _TABLES["output_chunks"]
_payloads: Table = _TABLES["payloads"]
_data_keys: Table = _TABLES["data_keys"]
_tiles: Table = _TABLES["tiles"]
_checkpoints: Table = _TABLES["checkpoints"]
_snapshots: Table = _TABLES["snapshots"]
_shards: Table = _TABLES["shards"]

_SHARD: BindParameter[int] = bindparam("shard")
_RECORDED_EVENT = (
    _events.c.position,
    _tenants.c.name,
    _streams.c.stream_id,
    _events.c.stream_version,
    _events.c.type,
    _events.c.recorded_at_us,
    _events.c.record,
)

# A stream that was moved to another tenant has no events, rather than those of a stranger.
_stream_of_event = _events.join(
    _streams,
    (_streams.c.shard == _events.c.shard)
    & (_streams.c.stream_key == _events.c.stream_key)
    & (_streams.c.tenant_key == _events.c.tenant_key),
).join(_tenants, (_tenants.c.shard == _events.c.shard) & (_tenants.c.tenant_key == _events.c.tenant_key))

TENANT_KEY = (
    select(_tenants.c.tenant_key)
    .where(_tenants.c.shard == _SHARD, _tenants.c.name == bindparam("tenant"))
    .scalar_subquery()
)
"""shard, tenant → tenant_key."""

STREAM_KEY = (
    select(_streams.c.stream_key)
    .where(
        _streams.c.shard == _SHARD,
        _streams.c.tenant_key == TENANT_KEY,
        _streams.c.stream_id == bindparam("stream_id"),
    )
    .scalar_subquery()
)
"""shard, tenant, stream_id → stream_key."""

READ_STREAM = (
    select(*_RECORDED_EVENT)
    .select_from(_stream_of_event)
    .where(
        _events.c.shard == _SHARD,
        _events.c.stream_key == STREAM_KEY,
        _events.c.stream_version > bindparam("after_version", type_=BigInteger),
    )
    .order_by(_events.c.stream_version)
)
"""shard, tenant, stream_id, after_version → events in order of version."""

# Names are looked up by their keys, not joined: as long as Postgres knows nothing of tables that have just grown, it
# would go through all events once a stream, or through all streams once an event.
_named_event = (
    _events.c.position,
    select(_tenants.c.name)
    .where(_tenants.c.shard == _events.c.shard, _tenants.c.tenant_key == _events.c.tenant_key)
    .scalar_subquery(),
    select(case((_streams.c.tenant_key == _events.c.tenant_key, _streams.c.stream_id)))
    .where(_streams.c.shard == _events.c.shard, _streams.c.stream_key == _events.c.stream_key)
    .scalar_subquery(),
    *_RECORDED_EVENT[3:],
)
READ_ALL = (
    select(*_named_event)
    .where(_events.c.shard == _SHARD, _events.c.position > bindparam("after_position"))
    .order_by(_events.c.position)
    .limit(bindparam("limit"))
)
"""shard, after_position, limit → events in order of position; of one without a stream or a tenant that name is null."""

READ_TENANT = READ_ALL.where(_events.c.tenant_key == TENANT_KEY)
"""shard, tenant, after_position, limit → events of the tenant in order of position, as READ_ALL."""

_RECORDED_CHUNK = (
    _chunks.c.ordinal,
    _chunks.c.position,
    _chunks.c.step_id,
    _chunks.c.attempt,
    _chunks.c.sequence,
    _chunks.c.data,
)
_chunks_of_workflow = select(*_RECORDED_CHUNK).where(_chunks.c.shard == _SHARD, _chunks.c.stream_key == STREAM_KEY)

READ_CHUNKS = (
    _chunks_of_workflow.where(_chunks.c.ordinal > bindparam("after_ordinal"))
    .order_by(_chunks.c.ordinal)
    .limit(bindparam("limit"))
)
"""shard, tenant, stream_id, after_ordinal, limit → chunks in order of ordinal."""

READ_ATTEMPT_CHUNKS = _chunks_of_workflow.where(
    _chunks.c.step_id == bindparam("step_id"), _chunks.c.attempt == bindparam("attempt", type_=BigInteger)
).order_by(_chunks.c.sequence)
"""shard, tenant, stream_id, step_id, attempt → chunks in order of sequence."""

READ_PAYLOAD = select(_payloads.c.data).where(
    _payloads.c.shard == _SHARD, _payloads.c.tenant_key == TENANT_KEY, _payloads.c.digest == bindparam("digest")
)
"""shard, tenant, digest → the payload's bytes."""

READ_DATA_KEYS = select(
    _data_keys.c.key_id, _data_keys.c.wrapped_key, _data_keys.c.destroyed_at_us, func.coalesce(_data_keys.c.tenant, "")
).order_by(_data_keys.c.key_id)
"""→ all data keys, in the order of their ids."""

READ_SNAPSHOT = select(_snapshots.c.stream_version, _snapshots.c.state_schema, _snapshots.c.data).where(
    _snapshots.c.shard == _SHARD, _snapshots.c.stream_key == STREAM_KEY
)
"""shard, tenant, stream_id → the stream's snapshot."""

READ_TILES = (
    select(_tiles.c.level, _tiles.c.tile_index, _tiles.c.hashes)
    .where(
        _tiles.c.shard == _SHARD,
        _tiles.c.level == bindparam("level"),
        _tiles.c.tile_index >= bindparam("first"),
        _tiles.c.tile_index < bindparam("end"),
    )
    .order_by(_tiles.c.tile_index)
)
"""shard, level, first, end → full tiles in order of index."""

READ_CHECKPOINTS = (
    select(_checkpoints.c.size, _checkpoints.c.root, _checkpoints.c.note)
    .where(_checkpoints.c.shard == _SHARD, _checkpoints.c.size > bindparam("after_size"))
    .order_by(_checkpoints.c.size)
    .limit(bindparam("limit"))
)
"""shard, after_size, limit → signed checkpoints in order of size."""

LAST_CHECKPOINT = (
    select(_checkpoints.c.size, _checkpoints.c.root, _checkpoints.c.note)
    .where(_checkpoints.c.shard == _SHARD)
    .order_by(_checkpoints.c.size.desc())
    .limit(1)
)
"""shard → the signed checkpoint of the largest size."""

# The joins are outer ones because those keep their order, from the few that are open to their names.
OPEN_WORKFLOWS = (
    select(_tenants.c.name, _streams.c.stream_id, _open.c.wake_at_us)
    .select_from(
        _open.outerjoin(
            _streams, (_streams.c.shard == _open.c.shard) & (_streams.c.stream_key == _open.c.stream_key)
        ).outerjoin(_tenants, (_tenants.c.shard == _streams.c.shard) & (_tenants.c.tenant_key == _streams.c.tenant_key))
    )
    .where(_open.c.shard == _SHARD)
    .where(_open.c.wake_at_us.is_(None) | (_open.c.wake_at_us <= bindparam("due_by_us")))
    .order_by(_open.c.opened_position, _open.c.stream_key)
)
"""shard, due_by_us → the workflows that have not ended and are not parked for longer than that; of one without a stream
or a tenant that name is null."""

LATEST_US = 2**63 - 1
"""No time that is stored is later."""

TENANTS = select(_tenants.c.tenant_key, _tenants.c.name, _tenants.c.sequence).where(_tenants.c.shard == _SHARD)
"""shard → its tenants."""

LAST_STREAM_KEY = select(func.coalesce(func.max(_streams.c.stream_key), 0)).where(_streams.c.shard == _SHARD)
"""shard → the largest stream key in use; 0: none."""

LAST_RECORDED_AT = select(_events.c.recorded_at_us).where(
    _events.c.shard == _SHARD, _events.c.position == bindparam("position")
)
"""shard, position → when the event there was recorded."""

LIST_STREAMS = (
    select(_tenants.c.name, _streams.c.stream_id)
    .select_from(
        _tenants.join(
            _streams, (_streams.c.shard == _tenants.c.shard) & (_streams.c.tenant_key == _tenants.c.tenant_key)
        )
    )
    .where(
        _tenants.c.shard == _SHARD,
        _streams.c.stream_id >= bindparam("first"),
        _streams.c.stream_id < bindparam("end"),
    )
    .order_by(_tenants.c.name, _streams.c.stream_id)
)
"""shard, first, end → tenant and id of the streams from `first` up to `end`, by tenant and id."""

VERSION_BEFORE = select(func.coalesce(func.max(_events.c.stream_version), 0)).where(
    _events.c.shard == _SHARD,
    _events.c.stream_key == STREAM_KEY,
    _events.c.position < bindparam("position"),
)
"""shard, tenant, stream_id, position → the stream's version before that position; 0: it did not exist."""

_one_row = select(literal(1).label("one")).subquery()

EXTENT = select(
    select(_shards.c.head_position).where(_shards.c.shard == _SHARD).scalar_subquery(),
    select(func.min(_events.c.position)).where(_events.c.shard == _SHARD).scalar_subquery(),
    select(func.max(_events.c.position)).where(_events.c.shard == _SHARD).scalar_subquery(),
    select(func.max(_tiles.c.tile_index)).where(_tiles.c.shard == _SHARD, _tiles.c.level == 0).scalar_subquery(),
    select(func.max(_checkpoints.c.size)).where(_checkpoints.c.shard == _SHARD).scalar_subquery(),
    _tenants.c.name,
    _tenants.c.sequence,
).select_from(_one_row.outerjoin(_tenants, _tenants.c.shard == _SHARD))
"""shard → a row a tenant (or one without): the head, the first and last position, the last tile of level 0, the last
checkpoint's size, and the tenant with the sequence of its last event. One statement, so of one moment."""
