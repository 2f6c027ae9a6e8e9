"""The table from errors to statuses, and the interceptor that applies it."""

import asyncio
import logging

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from podium.v1 import event_service_pb2, workflow_service_pb2
from service.api.errors import STATUSES, to_status
from service.domain import errors
from service.projections.database import DatabaseUnavailableError
from tests.unit.api_edge.refusals import reason, refusal

CODES = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.IllegalState: grpc.StatusCode.FAILED_PRECONDITION,
    errors.LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Denied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
}


@pytest.fixture
def raising(edge):
    """A call of a servicer that raises."""

    async def call(error):
        edge.script.error = error
        await edge.get(edge.bearer("admin"))

    return call


@pytest.mark.parametrize("kind", CODES)
async def test_each_error_has_its_status_and_keeps_its_reason(raising, kind):
    error, details = await refusal(raising(kind("SOME_REASON", "in words")))
    assert (error.code(), error.details()) == (CODES[kind], "in words")
    assert details == {"ErrorInfo": error_details_pb2.ErrorInfo(reason="SOME_REASON", domain="podium")}


def test_the_table_has_every_error_of_the_domain():
    assert set(STATUSES) == set(errors.DomainError.__subclasses__()) == set(CODES)


def test_an_error_without_a_row_is_found():
    with pytest.raises(TypeError, match="has no gRPC status"):
        to_status(errors.DomainError("X", "y"))


async def test_a_more_special_error_has_the_status_of_its_kind(raising):
    class TooManySteps(errors.LimitExceeded):
        pass

    assert await reason(raising(TooManySteps("TOO_MANY", "x"))) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY")


async def test_wrong_fields_are_named(raising):
    violations = [("steps[0].tool", "is not registered"), ("steps[1].id", "is taken")]
    _, details = await refusal(raising(errors.InvalidInput("INVALID_WORKFLOW", "two problems", violations)))
    found = [(v.field, v.description) for v in details["BadRequest"].field_violations]
    assert found == violations


async def test_a_wrong_state_names_what_is_in_it(raising):
    _, details = await refusal(raising(errors.IllegalState("WORKFLOW_ENDED", "ended", [("wf_1", "it has ended")])))
    (violation,) = details["PreconditionFailure"].violations
    assert (violation.type, violation.subject, violation.description) == ("WORKFLOW_ENDED", "wf_1", "it has ended")


async def test_a_limit_says_when_to_try_again(raising):
    error = errors.LimitExceeded("QUEUE_FULL", "full", [("workflow wf_1", "1000 commands wait")], retry_after_ms=1500)
    _, details = await refusal(raising(error))
    assert details["QuotaFailure"].violations[0].subject == "workflow wf_1"
    assert details["RetryInfo"].retry_delay == Duration(seconds=1, nanos=500_000_000)


async def test_a_wait_of_nothing_is_told_too(raising):
    _, details = await refusal(raising(errors.Unavailable("STOPPING", "x", retry_after_ms=0)))
    assert details["RetryInfo"].retry_delay == Duration()


async def test_the_event_of_a_decision_is_told(raising):
    _, details = await refusal(raising(errors.Denied("PERMISSION_DENIED", "no", event="0:42")))
    assert details["ErrorInfo"].metadata == {"event": "0:42"}


@pytest.mark.parametrize("character", ["x", "é", "字", "%", "\n"])
async def test_a_refusal_with_very_much_to_say_still_arrives(raising, character):
    many = [(f"steps[{n}]." + character * 1000, character * 2000) for n in range(1000)]
    error, details = await refusal(raising(errors.InvalidInput("INVALID_WORKFLOW", character * 100_000, many)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    shown = details["BadRequest"].field_violations
    assert shown[0].field.startswith("steps[0].")
    assert shown[-1].description == f"{1000 - len(shown) + 1} more"


async def test_a_bug_is_told_to_the_log_and_not_to_the_caller(raising, caplog):
    with caplog.at_level(logging.ERROR):
        error, details = await refusal(raising(RuntimeError("password is hunter2")))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert error.details() == "internal error in podium.v1.WorkflowService/GetWorkflow; the service's log tells more"
    assert details["ErrorInfo"].reason == "INTERNAL"
    assert "hunter2" not in str(error)
    (record,) = [record for record in caplog.records if record.name == "service.api.errors"]
    assert "hunter2" in str(record.exc_info[1])
    assert "GetWorkflow" in record.getMessage()


async def test_a_database_of_the_projections_that_is_away_says_to_ask_again_and_the_log_says_why(raising, caplog):
    error, details = await refusal(raising(DatabaseUnavailableError("the projections' file: database is locked")))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert details["ErrorInfo"].reason == "PROJECTIONS_UNAVAILABLE"
    assert details["RetryInfo"].retry_delay.ToMilliseconds() == 1000
    assert "locked" not in str(error)
    assert "GetWorkflow cannot be answered: the projections' file: database is locked" in caplog.text


async def test_a_refusal_is_not_told_to_the_log(raising, caplog):
    with caplog.at_level(logging.INFO):
        await refusal(raising(errors.NotFound("WORKFLOW_NOT_FOUND", "none")))
    assert [record for record in caplog.records if record.name.startswith("service")] == []


async def test_a_stream_ends_with_a_refusal_after_what_it_has_sent(edge):
    edge.script.error = errors.Unavailable("STOPPING", "stopping")
    received = []

    async def read():
        request = event_service_pb2.ReadStreamRequest()
        received.extend([1 async for _ in edge.events.ReadStream(request, metadata=edge.bearer("admin"))])

    stream = edge.events.ReadStream(event_service_pb2.ReadStreamRequest(), metadata=edge.bearer("admin"))
    await stream.read()
    assert await reason(stream.read()) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
    assert await reason(read()) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")


async def test_a_client_that_goes_away_ends_the_servicer(edge, caplog):
    stream = edge.events.Subscribe(event_service_pb2.SubscribeRequest(), metadata=edge.bearer("admin"))
    await stream.read()
    stream.cancel()
    async with asyncio.timeout(5):
        await edge.script.ended.wait()
    assert [record for record in caplog.records if record.name.startswith("service")] == []


async def test_a_deadline_ends_the_call_as_a_deadline(edge, caplog):
    edge.script.hold = asyncio.Event()
    request = workflow_service_pb2.GetWorkflowRequest()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.workflows.GetWorkflow(request, metadata=edge.bearer("admin"), timeout=0.05)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert [record for record in caplog.records if record.name.startswith("service")] == []


async def test_a_servicer_that_aborts_by_itself_is_left_alone(edge):
    edge.script.abort = grpc.StatusCode.OUT_OF_RANGE, "by itself"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.get(edge.bearer("admin"))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.OUT_OF_RANGE, "by itself")
