"""Events, appends and a clock for the tests of the store."""

from podium.v1 import events_pb2
from store.contract import SHARD, Append, NewEvent, OpenWorkflow, OutputChunk, StreamAppend
from store.records import encode_envelope

TENANT = "acme"


class FakeClock:
    """The time is what the test says."""

    def __init__(self, now_us=1_700_000_000_000_000):
        self.now = now_us

    def now_us(self):
        return self.now


def new_events(stream_id, count=1, *, tenant=TENANT, step_id="step_1"):
    envelope = encode_envelope(shard=SHARD, tenant=tenant, stream_id=stream_id, correlation_id="a test")
    return [NewEvent(events_pb2.StepSkipped(step_id=step_id), envelope) for _ in range(count)]


def to_stream(stream_id, count=1, *, at=0, tenant=TENANT):
    """`count` events for a stream that is expected at version `at`."""
    return StreamAppend(tenant, stream_id, at, new_events(stream_id, count, tenant=tenant))


def append_to(stream_id, count=1, *, at=0, tenant=TENANT):
    return Append([to_stream(stream_id, count, at=at, tenant=tenant)])


def opening(stream_id, *, at=0, wake_at_us=None, tenant=TENANT):
    """An append that adds an event to a workflow and leaves it open."""
    return Append([to_stream(stream_id, at=at, tenant=tenant)], opened=[OpenWorkflow(tenant, stream_id, wake_at_us)])


def closing(stream_id, *, at, tenant=TENANT):
    """An append that adds an event to a workflow and ends it."""
    return Append([to_stream(stream_id, at=at, tenant=tenant)], closed=[(tenant, stream_id)])


def chunks(stream_id, sequences, *, step_id="step_1", attempt=1, tenant=TENANT):
    return [
        OutputChunk(tenant, stream_id, step_id, attempt, sequence, f"{step_id}.{attempt}.{sequence}".encode())
        for sequence in sequences
    ]
