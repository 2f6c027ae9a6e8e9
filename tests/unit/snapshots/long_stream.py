"""A workflow with a long stream: steps one after the other, each begun, done and recorded."""

from podium.v1 import definition_pb2, events_pb2, value_pb2
from service.engine.keys import WorkflowKey
from store.contract import SHARD, NewEvent, RecordedEvent
from store.records import encode_envelope, encode_record, type_number

KEY = WorkflowKey("acme", "wf_long")
ANA = value_pb2.Principal(subject="ana")
STARTED_US = 1_767_225_600_000_000
STEPS_A_BATCH = 500
ENVELOPE = encode_envelope(shard=SHARD, tenant=KEY.tenant, stream_id=KEY.workflow_id, principal=ANA)


def payloads(count):
    """The events of a workflow with `count` steps, of which the last is still running."""
    yield events_pb2.WorkflowStarted(name="long", open=True, request_digest=b"digest")
    authority = value_pb2.Authority(principal=ANA, roles=["admin"])
    for first in range(0, count, STEPS_A_BATCH):
        steps = [definition(number) for number in range(first, min(count, first + STEPS_A_BATCH))]
        yield events_pb2.StepsAdded(steps=steps, authority=authority)
    for number in range(count):
        place = {"step_id": f"step_{number}", "attempt": 1}
        yield events_pb2.PermissionChecked(**place, tool="work", decision=events_pb2.DECISION_ALLOW)
        deadline_us = STARTED_US + 10**9 + number
        yield events_pb2.AttemptStarted(
            **place, fence=number + 1, executor="worker", session_id="session", deadline_at_us=deadline_us
        )
        if number < count - 1:
            yield events_pb2.StepSucceeded(**place, output=value_pb2.Value(json=f'{{"number":{number}}}'))


def definition(number):
    return definition_pb2.StepDefinition(
        id=f"step_{number}",
        tool="work",
        tool_version=1,
        arguments=definition_pb2.Template(literal_json='{"limit":5}'),
        depends_on=[f"step_{number - 1}"] if number else [],
    )


def new_events(count):
    return [NewEvent(payload, ENVELOPE) for payload in payloads(count)]


def recorded(events):
    """The records that the events become in a log where nothing else is."""
    return [record_of(payload, version) for version, (payload, _) in enumerate(events, 1)]


def record_of(payload, version):
    record = encode_record(
        payload,
        ENVELOPE,
        position=version,
        tenant_sequence=version,
        stream_version=version,
        recorded_at_us=STARTED_US + version,
    )
    return RecordedEvent(version, *KEY, version, type_number(payload), STARTED_US + version, record)
