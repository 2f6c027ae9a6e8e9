"""A log of given events, for what follows or reads one."""

from store.contract import RecordedEvent
from store.records import encode_envelope, encode_record, type_number


class Log:
    """A log of given events, a millisecond apart: (stream, payload)."""

    head = 0

    def __init__(self, *events):
        self.events = []
        versions = {}
        for position, (stream_id, payload) in enumerate(events, 1):
            versions[stream_id] = version = versions.get(stream_id, 0) + 1
            at_us = position * 1000
            record = encode_record(
                payload,
                encode_envelope(shard=0, tenant="acme", stream_id=stream_id),
                position=position,
                tenant_sequence=position,
                stream_version=version,
                recorded_at_us=at_us,
            )
            kind = type_number(payload)
            self.events.append(RecordedEvent(position, "acme", stream_id, version, kind, at_us, record))

    async def read_stream(self, tenant, stream_id, after_version=0, limit=None):
        found = [each for each in self.events if each.stream_id == stream_id and each.stream_version > after_version]
        return found[:limit]
