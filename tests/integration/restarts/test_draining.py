"""A service that is asked to stop says so, and takes the results of what runs before it ends."""

import asyncio
import signal
import subprocess
import sys

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

import podium
from podium.v1 import value_pb2, workflow_service_pb2
from tests.integration.rig.caller import Caller, step
from tests.integration.rig.forked_process import environment
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.refusal import refusal_of
from tests.integration.rig.toolbox import toolbox

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_it_says_so_lets_calls_end_and_takes_results(own_service):
    service = own_service(drain_ms=20_000).start()
    token, tools = service.token(), toolbox()
    ana = Caller(service.address, token)
    async with (
        grpc.aio.insecure_channel(service.address) as watching,
        podium.connect(service.address, token, serve=tools) as client,
        raw_executor(ana, "work") as executor,
    ):
        watch = health_pb2_grpc.HealthStub(watching).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        call = asyncio.create_task(client.call("gated", gate="g"))
        await tools.entered["g"].wait()
        workflow_id = await ana.start(step("work"))
        given = await executor.work()
        service.signal(signal.SIGTERM)
        assert (await watch.read()).status == NOT_SERVING
        await executor.expect("drain")
        await executor.succeed(given.attempt, "in time")
        assert (await executor.expect("outcome_acknowledged")).accepted
        tools.gates["g"].set()
        assert await call == "g", "a call that runs when the service stops is answered"
        await executor.stream.done_writing()
        assert await executor.next() is None
    await ana.close()
    assert await asyncio.to_thread(service.ended) == 0
    service.start()
    again = Caller(service.address, token)
    assert (await again.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
    await again.close()
    assert service.complaints() == []


class Load:
    """Callers that start workflows of two steps until they are refused, and what was acknowledged to them."""

    def __init__(self, callers):
        self.callers = callers
        self.acknowledged = []
        self.refused = []
        self.flowing = asyncio.Event()

    async def run(self):
        async with asyncio.TaskGroup() as group:
            for caller in self.callers:
                group.create_task(self._start_until_refused(caller))

    async def _start_until_refused(self, caller):
        steps = step("echo", {"value": 1}, id="first"), step("echo", {"value": "${steps.first.output}"}, id="second")
        while True:
            try:
                self.acknowledged.append(await caller.start(*steps))
            except grpc.aio.AioRpcError as error:
                self.refused.append(error)
                return
            if len(self.acknowledged) > 100:
                self.flowing.set()


async def test_under_load_what_was_acknowledged_is_there_and_no_attempt_runs_twice(own_service):
    service = own_service(drain_ms=8_000, reconnect_grace_ms=10_000).start()
    token, tools = service.token(), toolbox()
    callers = [Caller(service.address, token) for _ in range(4)]
    load = Load(callers)
    async with podium.connect(service.address, token, serve=tools):
        running = asyncio.create_task(load.run())
        await load.flowing.wait()
        service.signal(signal.SIGTERM)
        await running
        assert await asyncio.to_thread(service.ended) == 0, "it ends by itself"
        assert {error.code() for error in load.refused} == {grpc.StatusCode.UNAVAILABLE}
        service.start()
        again = Caller(service.address, token)
        for workflow_id in load.acknowledged:
            assert (await again.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
        started = [event for event in await again.log() if event.WhichOneof("payload") == "attempt_started"]
        assert {event.attempt_started.attempt for event in started} == {1}, "no attempt was lost"
        assert len(started) == len(tools.calls) == 2 * len(load.acknowledged), "each ran once"
        await again.close()
    for caller in callers:
        await caller.close()
    assert service.complaints() == []


async def test_nothing_new_begins_and_who_waits_is_told_when_to_come_again(own_service):
    service = own_service(drain_ms=20_000).start()
    ana = Caller(service.address, service.token())
    async with raw_executor(ana, "work", max_attempts=1) as executor:
        workflow_id = await ana.start(step("work"), step("work"))
        given = await executor.work()
        watch, cursor = ana.watch(workflow_id), ""
        waiting = asyncio.create_task(
            refusal_of(ana.workflows.AwaitWorkflow(workflow_service_pb2.AwaitWorkflowRequest(workflow_id=workflow_id)))
        )
        seen = asyncio.create_task(_to_the_end(watch))
        service.signal(signal.SIGTERM)
        await executor.expect("drain")
        refused = await refusal_of(ana.start(step("work")))
        assert (refused.code, refused.reason) == ("UNAVAILABLE", "STOPPING")
        assert refused.retry_after_s == 1
        assert (await ana.get(workflow_id)).state == value_pb2.WORKFLOW_STATE_RUNNING, "reading goes on"
        await executor.succeed(given.attempt, "in time")
        assert (await executor.expect("outcome_acknowledged")).accepted
        assert await executor.next() is None, "the place that is free now is given to nobody"
        refused = await waiting
        assert (refused.code, refused.reason) == ("UNAVAILABLE", "STOPPING")
        cursor, error = await seen
        assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert await asyncio.to_thread(service.ended) == 0
    service.start()
    async with raw_executor(ana, "work") as executor:
        given = await executor.work()
        await executor.succeed(given.attempt, "later")
        kinds = [
            item.event.WhichOneof("payload")
            async for frame in ana.watch(workflow_id, cursor=cursor)
            for item in frame.items
        ]
        assert kinds[-1] == "workflow_succeeded", "the watch goes on from its cursor"
    await ana.close()
    assert service.complaints() == []


async def _to_the_end(watch):
    cursor = ""
    try:
        async for frame in watch:
            cursor = frame.cursor
    except grpc.aio.AioRpcError as error:
        return cursor, error
    return cursor, None


async def test_the_bound_is_kept_and_the_attempt_that_outlasts_it_goes_on_afterwards(own_service):
    service = own_service(drain_ms=500, reconnect_grace_ms=10_000).start()
    token, tools = service.token(), toolbox()
    async with podium.connect(service.address, token, serve=tools):
        ana = Caller(service.address, token)
        workflow_id = await ana.start(step("gated", {"gate": "g"}))
        await tools.entered["g"].wait()
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        service.signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.ended) == 0
        assert 0.3 < loop.time() - asked_at < 5, "it waits for the attempt, as long as it may"
        service.start()
        tools.gates["g"].set()
        assert (await ana.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
        assert len(tools.calls) == 1, "it was not run again"
        await ana.close()
    assert service.complaints() == []


async def test_a_second_signal_ends_it_at_once(own_service):
    service = own_service(drain_ms=60_000).start()
    ana = Caller(service.address, service.token())
    async with raw_executor(ana, "work") as executor:
        workflow_id = await ana.start(step("work"))
        await executor.work()
        loop = asyncio.get_running_loop()
        service.signal(signal.SIGTERM)
        await executor.expect("drain")
        asked_at = loop.time()
        service.signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.ended) == 0
        assert loop.time() - asked_at < 5
    service.start()
    assert (await ana.get(workflow_id)).state == value_pb2.WORKFLOW_STATE_RUNNING, "nothing is lost by it"
    await ana.close()
    assert service.complaints() == []


async def test_a_process_that_hangs_is_ended_by_the_system(own_service):
    service = own_service(drain_ms=500).start(fault="TEST_HANGS_DRAINING")
    service.signal(signal.SIGTERM)
    assert await asyncio.to_thread(service.ended) == -signal.SIGALRM


async def test_one_that_is_to_stop_before_it_serves_ends_in_order_and_serves_nobody(tmp_path):
    """It waits for keys that do not come. Negative control: it serves when they can be waited for no more."""
    asked, given_up = asyncio.Event(), asyncio.Event()

    async def say_nothing(reader, writer):
        asked.set()
        if not given_up.is_set():
            await reader.read(-1)
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    settings = {
        "PODIUM_TOKEN_JWKS_URL": f"http://127.0.0.1:{port}/keys",
        "PODIUM_LISTEN_ADDRESS": "127.0.0.1:0",
        "PODIUM_DATABASE_URL": f"sqlite:///{tmp_path / 'podium.db'}",
        "PODIUM_STATE_DIRECTORY": str(tmp_path / "state"),
    }
    for told_to_stop in (True, False):
        asked.clear()
        if not told_to_stop:
            given_up.set()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "service.cli", "serve", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**settings),
        )
        await asked.wait()
        if told_to_stop:
            process.terminate()
            said, complained = await process.communicate()
            assert (process.returncode, said) == (0, b""), complained
            assert b"Traceback" not in complained
            assert b"ERROR" not in complained
        else:
            assert b"ready" in await process.stdout.readline()
            process.terminate()
            await process.communicate()
    silent.close()
    await silent.wait_closed()


async def test_a_process_whose_thread_hangs_when_all_is_closed_is_ended_by_the_system(own_service):
    service = own_service(drain_ms=500).start(fault="TEST_HANGS_ENDING")
    service.signal(signal.SIGTERM)
    assert await asyncio.to_thread(service.ended) == -signal.SIGALRM
