"""Executors that die, stop and come back: an attempt belongs to one of them, and only its result counts."""

import asyncio
import contextlib
import signal

import grpc.aio
import pytest

from podium.v1 import definition_pb2, executor_service_pb2_grpc, tool_service_pb2, value_pb2
from podium.v1 import executor_service_pb2 as wire
from tests.faults.load import OPTIONS, Client
from tests.faults.processes import battlefield
from tests.faults.verdict import contradictions, read_client_and_tools, read_log

WITHIN_S = 20.0
OUTPUT = value_pb2.Value(json='"forged"')


@pytest.fixture
async def field(tmp_path):
    async with battlefield(tmp_path) as entered:
        await entered.start()
        yield entered


@pytest.fixture
async def client(field):
    entered = Client(field, field.client_ledger())
    yield entered
    await entered.close()


@contextlib.asynccontextmanager
async def calling(client, tool):
    """A client that waits for a tool's outcome."""
    call = asyncio.ensure_future(client.call(f"call-{tool}", tool))
    try:
        yield call
    finally:
        call.cancel()
        await asyncio.wait([call])


class Peer:
    """An executor that is played by hand."""

    def __init__(self, stream):
        self._stream = stream

    async def say(self, **item):
        await self._stream.write(wire.SessionRequest(items=[wire.ExecutorItem(**item)]))

    async def hear(self, kind):
        """The next item of a kind."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                for item in (await self._stream.read()).items:
                    if item.WhichOneof("item") == kind:
                        return getattr(item, kind)

    async def settle(self, entry, **outcome):
        """Report an outcome for the attempt of a ledger's entry, and return what the service says to it."""
        workflow_id, _, step_id = entry["key"].partition("/")
        attempt = wire.AttemptReference(
            workflow_id=workflow_id, step_id=step_id, attempt=entry["attempt"], fence=entry["fence"]
        )
        if "output" in outcome:
            await self.say(result=wire.AttemptResult(attempt=attempt, output=outcome["output"]))
        else:
            await self.say(failure=wire.AttemptFailure(attempt=attempt, failure=outcome["failure"]))
        told = await self.hear("outcome_acknowledged")
        assert told.attempt == attempt
        return told


@contextlib.asynccontextmanager
async def peer(field):
    async with grpc.aio.insecure_channel(field.address, options=OPTIONS) as channel:
        stub = executor_service_pb2_grpc.ExecutorServiceStub(channel)
        stream = stub.Session(metadata=(("authorization", f"Bearer {field.token}"),), wait_for_ready=True)
        tool = definition_pb2.ToolDefinition(name="nothing", input_schema_json='{"type": "object"}')
        played = Peer(stream)
        await played.say(hello=wire.Hello(executor="by hand", instance_id="by hand", tools=[tool], max_attempts=1))
        await played.hear("welcome")
        yield played
        stream.cancel()


async def test_a_killed_executors_attempt_is_given_to_another_and_its_late_result_is_refused(field, client):
    first = await field.executor("first")
    await first.until("welcomed")
    async with calling(client, "patient") as call:
        lost = await first.until("started", tool="patient")
        await first.kill()
        second = await field.executor("second")
        given = await second.until("started", tool="patient")
        assert (given["key"], given["attempt"]) == (lost["key"], 2)
        assert given["fence"] > lost["fence"]

        before = (await read_log(field.database)).recorded
        async with peer(field) as stranger:
            late = await stranger.settle(lost, output=OUTPUT)
            assert (late.accepted, bool(late.reason)) == (False, True)
            failed = await stranger.settle(lost, failure=value_pb2.Failure(reason="LATE", retryable=True))
            assert not failed.accepted
            # Nor does the right fence help somebody else than the executor that has it.
            assert not (await stranger.settle(given, output=OUTPUT)).accepted
        after = [event for event in (await read_log(field.database)).recorded if not is_registration(event)]
        assert after == [event for event in before if not is_registration(event)]

        second.release()
        answer = await call
        assert answer.outcome.output_json == '"second"'
        async with peer(field) as stranger:
            assert not (await stranger.settle(lost, output=OUTPUT)).accepted
            assert not (await stranger.settle(given, output=OUTPUT)).accepted
    await assert_sound(field)


def is_registration(event):
    return event.stream_id.startswith("tool:")


async def test_a_stopped_executor_that_comes_back_in_time_keeps_its_attempt(field, client):
    executor = await field.executor()
    await executor.until("welcomed")
    async with calling(client, "patient") as call:
        running = await executor.until("started", tool="patient")
        mark = executor.mark
        executor.signal(signal.SIGSTOP)
        await sessions_become(client, 0)
        executor.signal(signal.SIGCONT)
        claimed = await executor.until("claimed", key=running["key"], after=mark)
        assert claimed["kept"]
        executor.release()
        answer = await call
        assert (answer.outcome.attempts, answer.outcome.output_json) == (1, '"first"')
    await assert_sound(field)


async def test_a_stopped_executor_that_comes_back_too_late_is_told_to_stop(field, client):
    first = await field.executor("first")
    await first.until("welcomed")
    async with calling(client, "patient") as call:
        lost = await first.until("started", tool="patient")
        mark = first.mark
        first.signal(signal.SIGSTOP)
        second = await field.executor("second")
        await second.until("started", tool="patient", attempt=2)
        first.signal(signal.SIGCONT)
        claimed = await first.until("claimed", key=lost["key"], after=mark)
        assert not claimed["kept"]
        await first.until("failed", key=lost["key"], after=mark)
        first.release()
        second.release()
        assert (await call).outcome.output_json == '"second"'
    await assert_sound(field)


async def sessions_become(client, count):
    """Wait until so many sessions serve the patient tool."""
    request = tool_service_pb2.GetToolRequest(name="patient")
    async with asyncio.timeout(WITHIN_S):
        while (await client.ask_once(client.tools.GetTool, request)).tool.sessions != count:
            pass


async def assert_sound(field):
    assert contradictions(await read_log(field.database), *read_client_and_tools(field)) == []
