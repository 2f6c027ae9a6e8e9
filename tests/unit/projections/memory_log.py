"""A log in memory for the projections' tests: real records, delivered as a subscription delivers them."""

import asyncio
import time
from itertools import count

from store.contract import RecordedEvent, SubscriptionBatch
from store.records import encode_envelope, encode_record, type_number

STARTED_AT_US = 1_700_000_000_000_000
EVENT_EVERY_US = 1_000_003


class MemoryLog:
    """A log whose clock moves by EVENT_EVERY_US with each event, or by what is given."""

    def __init__(self, batch_events=1000, event_every_us=EVENT_EVERY_US):
        self.events = []
        self.batch_events = batch_events
        self._event_every_us = event_every_us
        self._versions = {}
        self._sequences = {}
        self._appended = asyncio.Condition()

    @property
    def head(self):
        return len(self.events)

    def record(self, tenant, stream_id, *payloads, principal=None):
        """Record events without telling the subscribers."""
        envelope = encode_envelope(shard=0, tenant=tenant, stream_id=stream_id, principal=principal)
        for payload in payloads:
            version = self._versions[tenant, stream_id] = self._versions.get((tenant, stream_id), 0) + 1
            sequence = self._sequences[tenant] = self._sequences.get(tenant, 0) + 1
            position = self.head + 1
            at_us = STARTED_AT_US + position * self._event_every_us
            record = encode_record(
                payload,
                envelope,
                position=position,
                tenant_sequence=sequence,
                stream_version=version,
                recorded_at_us=at_us,
            )
            self.events.append(RecordedEvent(position, tenant, stream_id, version, type_number(payload), at_us, record))

    def record_bytes(self, tenant, stream_id, kind, record):
        """Record what a newer version might have written."""
        position = self.head + 1
        self.events.append(RecordedEvent(position, tenant, stream_id, position, kind, STARTED_AT_US, record))

    async def append(self, tenant, stream_id, *payloads, principal=None):
        """Record events and tell the subscribers."""
        self.record(tenant, stream_id, *payloads, principal=principal)
        async with self._appended:
            self._appended.notify_all()

    async def read_all(self, after_position=0, limit=1000, tenant=None):
        if tenant is None:
            return self.events[after_position : after_position + limit]
        return [event for event in self.events[after_position:] if event.tenant == tenant][:limit]

    async def read_stream(self, tenant, stream_id, after_version=0, limit=None):
        stream = [event for event in self.events if (event.tenant, event.stream_id) == (tenant, stream_id)]
        return [event for event in stream if event.stream_version > after_version][:limit]

    async def subscribe(self, after_position=0, tenant=None):
        assert tenant is None
        position = after_position
        for batch in count():
            if batch and position == self.head:
                async with self._appended:
                    while position == self.head:
                        await self._appended.wait()
            events = self.events[position : position + self.batch_events]
            position += len(events)
            yield SubscriptionBatch(events, position, caught_up=position == self.head)


class LogClock:
    """A clock that shows when the newest event of a log was recorded."""

    def __init__(self, log):
        self._log = log

    def now_us(self):
        return STARTED_AT_US + self._log.head * EVENT_EVERY_US


def next_epoch():
    """An epoch of the log's: whoever opens it later has a higher one, in whatever process."""
    return time.time_ns()
