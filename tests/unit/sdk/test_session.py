"""The executor's session, against a peer that speaks the protocol."""

import asyncio
import json
import threading

import grpc
import pytest

import podium
from podium.v1 import executor_service_pb2 as pb
from podium.v1 import value_pb2
from tests.unit.sdk.executor_peer import WITHIN_S, assignment, connected, running_peer, serving

KEEP = pb.HeldVerdict.ACTION_KEEP
ABORT = pb.HeldVerdict.ACTION_ABORT


class Gate:
    """Lets a test hold a tool still, and see that it is there."""

    def __init__(self):
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def pass_through(self):
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def soon(event):
    async with asyncio.timeout(WITHIN_S):
        await event.wait()


@pytest.fixture
async def peer():
    async with running_peer() as running:
        yield running


@pytest.fixture
def app():
    return podium.Executor("billing", instance_id="i-1", labels={"zone": "a"}, max_parallel=3)


async def test_it_says_who_it_is_and_what_it_serves(peer, app):
    @app.tool(permissions=["database_read"], read_only=True, timeout="10s")
    async def find_invoice(customer: str) -> dict:
        """Find a customer's newest invoice."""

    async with connected(peer.address, "secret") as connection, asyncio.TaskGroup() as group:
        serve = group.create_task(serve_until_cancelled(app, connection))
        session = await peer.session()
        hello = await session.welcome()
        serve.cancel()
    assert session.metadata["authorization"] == "Bearer secret"
    assert (hello.executor, hello.instance_id, hello.max_attempts) == ("billing", "i-1", 3)
    assert dict(hello.labels) == {"zone": "a"}
    [tool] = hello.tools
    assert (tool.name, tool.description) == ("find_invoice", "Find a customer's newest invoice.")
    assert (list(tool.permissions), tool.read_only, tool.timeout_ms) == (["database_read"], True, 10_000)


async def serve_until_cancelled(app, connection):
    async with app.attached(connection):
        await asyncio.get_running_loop().create_future()


async def test_a_tool_gets_its_arguments_and_its_context_and_its_output_comes_back(peer, app):
    @app.tool
    async def refund(invoice: str, cents: int, ctx: podium.Context) -> dict:
        return {
            "paid": cents,
            "key": ctx.idempotency_key,
            "for": [ctx.on_behalf_of, ctx.principal.subject],
            "where": [ctx.tenant, ctx.workflow_id, ctx.step_id, ctx.attempt, ctx.tool],
        }

    async with serving(app, peer) as session:
        principal = value_pb2.Principal(subject="agent-7", on_behalf_of="ana")
        arguments = '{"invoice": "i1", "cents": 5}'
        await session.send(assign=assignment("refund", arguments, attempt=2, principal=principal))
        result = await session.receive("result")
    assert (result.attempt.step_id, result.attempt.attempt) == ("step_1", 2)
    assert json.loads(result.output.json) == {
        "paid": 5,
        "key": "wf/step_1",
        "for": ["ana", "agent-7"],
        "where": ["acme", "wf", "step_1", 2, "refund"],
    }


async def test_a_function_that_is_not_async_runs_in_a_thread(peer, app):
    @app.tool
    def whereabouts() -> bool:
        return threading.current_thread() is threading.main_thread()

    async with serving(app, peer) as session:
        await session.send(assign=assignment("whereabouts"))
        await session.receive("accepted")
        assert (await session.receive("result")).output.json == "false"


@pytest.mark.parametrize(
    ("tool", "reason", "message", "retryable"),
    [
        ("broke", "INSUFFICIENT_FUNDS", "no money", False),
        ("raises", "TOOL_ERROR", "ZeroDivisionError: division by zero", True),
        ("leaves", "TOOL_ERROR", "SystemExit: 3", True),
        ("cancels_itself", "TOOL_ERROR", "CancelledError", True),
        ("raises_something_without_words", "TOOL_ERROR", "WithoutWordsError", True),
        ("returns_no_json", "INVALID_OUTPUT", "the output is not JSON: a value of type object has no JSON form", False),
        ("takes_a_number", "INVALID_ARGUMENTS", "invalid arguments: number must be integer", False),
        ("missing", "TOOL_NOT_SERVED", "executor billing has no tool missing", True),
    ],
)
async def test_a_failure_says_why_and_whether_to_try_again(peer, app, tool, reason, message, retryable):
    @app.tool
    async def broke():
        raise podium.ToolFailed("no money", reason="INSUFFICIENT_FUNDS", retryable=False, retry_after="2s")

    @app.tool
    async def raises():
        return 1 / 0

    @app.tool
    def leaves():
        raise SystemExit(3)

    @app.tool
    async def cancels_itself():
        nobody = asyncio.get_running_loop().create_future()
        nobody.cancel()
        await nobody

    class WithoutWordsError(Exception):
        def __str__(self):
            raise RuntimeError

    @app.tool
    async def raises_something_without_words():
        raise WithoutWordsError

    @app.tool
    async def returns_no_json():
        return object()

    @app.tool
    async def takes_a_number(number: int):
        return number

    async with serving(app, peer) as session:
        await session.send(assign=assignment(tool, '{"number": "x"}' if tool == "takes_a_number" else "{}"))
        if tool == "leaves":
            await session.receive("accepted")
        failure = (await session.receive("failure")).failure
    assert (failure.reason, failure.message, failure.retryable) == (reason, message, retryable)
    assert failure.retry_after_ms == (2000 if tool == "broke" else 0)


async def test_a_frame_with_many_assignments_runs_them_at_once_up_to_the_bound(peer, app):
    gates = {name: Gate() for name in "abcd"}

    @app.tool
    async def wait(name: str):
        await gates[name].pass_through()
        return name

    async with serving(app, peer) as session:
        await session.send_items(
            *(("assign", assignment("wait", f'{{"name": "{name}"}}', step=f"step_{name}")) for name in gates)
        )
        for name in "abc":
            await soon(gates[name].entered)
        assert not gates["d"].entered.is_set()
        gates["b"].open.set()
        await soon(gates["d"].entered)


async def test_what_is_said_in_one_turn_of_the_loop_goes_out_in_one_frame(peer, app):
    @app.tool
    async def count(ctx: podium.Context):
        for number in range(5):
            ctx.progress(number / 5, f"{number} of 5")
            yield {"number": number}

    async with serving(app, peer) as session:
        await session.send(assign=assignment("count"))
        items = []
        while not items or not items[-1].HasField("result"):
            items.append(await session._items.get())  # noqa: SLF001 -- the peer's own queue
    [_hello, frame, *_] = session.frames
    kinds = [item.WhichOneof("item") for item in frame.items]
    assert kinds == ["progress", "accepted", "chunk", "chunk", "chunk", "chunk", "chunk", "result"]
    assert frame.items[0].progress.message == "4 of 5", "the newest progress stands for the earlier ones"
    assert [item.chunk.sequence for item in frame.items[2:7]] == [1, 2, 3, 4, 5]
    assert frame.items[2].chunk.data == b'{"number":0}\n'
    assert (frame.items[-1].result.chunk_count, frame.items[-1].result.output.json) == (5, "null")


async def test_pieces_are_cut_to_the_chunk_limit(peer, app):
    @app.tool(streams_output=True)
    def letters():
        yield "ä" * 40
        yield b"\x00\xff"

    async with serving(app, peer, chunk_limit_bytes=64) as session:
        await session.send(assign=assignment("letters"))
        await session.receive("accepted")
        chunks = [await session.receive("chunk") for _ in range(3)]
        result = await session.receive("result")
    assert [len(chunk.data) for chunk in chunks] == [64, 16, 2]
    assert b"".join(chunk.data for chunk in chunks) == "ä".encode() * 40 + b"\x00\xff"
    assert not result.HasField("output"), "the chunks are the output"
    assert result.chunk_count == 3


async def test_the_last_thing_a_streaming_tool_yields_can_be_its_output(peer, app):
    @app.tool
    def report():
        yield "line\n"
        yield podium.Output({"lines": 1})

    @app.tool
    def confused():
        yield podium.Output(1)
        yield "more"

    async with serving(app, peer) as session:
        await session.send(assign=assignment("report"))
        await session.receive("accepted")
        assert (await session.receive("chunk")).data == b"line\n"
        assert (await session.receive("result")).output.json == '{"lines":1}'
        await session.send(assign=assignment("confused", step="step_2"))
        await session.receive("accepted")
        assert (await session.receive("failure")).failure.reason == "INVALID_OUTPUT"


async def test_a_large_output_is_uploaded_first(peer, app):
    text = "x" * (2 * 1024 * 1024)

    @app.tool
    async def large(times: int):
        return text * times

    async with serving(app, peer) as session:
        await session.send(assign=assignment("large", '{"times": 1}'))
        await session.receive("accepted")
        result = await session.receive("result")
        await session.send(assign=assignment("large", '{"times": 2}', step="step_2"))
        await session.receive("accepted")
        failure = (await session.receive("failure")).failure
    assert result.output.payload.size_bytes == len(text) + 2
    assert list(map(len, peer.uploads[0])) == [1024 * 1024, 1024 * 1024, 2]
    assert (failure.reason, failure.retryable) == ("INVALID_OUTPUT", False)


async def test_large_arguments_are_fetched(peer, app):
    @app.tool
    async def measure(text: str):
        return len(text)

    peer.arguments["step_1"] = json.dumps({"text": "x" * 100_000})
    async with serving(app, peer) as session:
        await session.send(assign=assignment("measure", ""))
        await session.receive("accepted")
        assert (await session.receive("result")).output.json == "100000"


async def test_a_cancel_stops_an_async_tool_and_its_failure_says_so(peer, app):
    gate = Gate()

    @app.tool
    async def wait():
        await gate.pass_through()

    async with serving(app, peer) as session:
        await session.send(assign=assignment("wait"))
        accepted = await session.receive("accepted")
        await soon(gate.entered)
        await session.send(cancel=pb.CancelAttempt(attempt=accepted.attempt, reason="the user went away"))
        failure = (await session.receive("failure")).failure
        assert gate.cancelled.is_set()
    assert (failure.reason, failure.message) == ("CANCELED", "the user went away")


async def test_a_tool_that_finishes_in_spite_of_a_cancel_tells_what_it_did(peer, app):
    gate = Gate()

    @app.tool
    async def refund():
        try:
            await gate.pass_through()
        except asyncio.CancelledError:
            return "refunded"

    async with serving(app, peer) as session:
        await session.send(assign=assignment("refund"))
        accepted = await session.receive("accepted")
        await soon(gate.entered)
        await session.send(cancel=pb.CancelAttempt(attempt=accepted.attempt))
        assert (await session.receive("result")).output.json == '"refunded"'


async def test_a_thread_sees_the_cancel_in_its_context(peer, app):
    entered, cancelled = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @app.tool
    def poll(ctx: podium.Context):
        loop.call_soon_threadsafe(entered.set)
        while True:
            cancelled.wait(0.001)
            ctx.raise_if_cancelled()

    async with serving(app, peer) as session:
        await session.send(assign=assignment("poll"))
        accepted = await session.receive("accepted")
        await soon(entered)
        await session.send(cancel=pb.CancelAttempt(attempt=accepted.attempt))
        assert (await session.receive("failure")).failure.reason == "CANCELED"


async def test_the_time_of_an_attempt_ends_even_without_the_service(peer, app):
    gate = Gate()

    @app.tool
    async def wait():
        await gate.pass_through()

    async with serving(app, peer) as session:
        await session.send(assign=assignment("wait", timeout_ms=20))
        await session.receive("accepted")
        failure = (await session.receive("failure")).failure
    assert (failure.reason, failure.retryable) == ("TIMEOUT", True)


async def test_an_attempt_that_was_cancelled_before_its_first_step_fails_too(peer, app):
    @app.tool
    async def never():
        raise AssertionError("it ran")

    async with serving(app, peer) as session:
        given = assignment("never")
        await session.send_items(("assign", given), ("cancel", pb.CancelAttempt(attempt=given.attempt)))
        assert (await session.receive("failure")).failure.reason == "CANCELED"


async def test_the_same_assignment_twice_runs_once(peer, app):
    calls = []

    @app.tool
    async def once():
        calls.append(1)
        return len(calls)

    async with serving(app, peer) as session:
        given = assignment("once")
        await session.send_items(("assign", given), ("assign", given))
        await session.receive("result")
        await session.send(assign=assignment("once", step="step_2"))
        assert (await session.receive("result")).output.json == "2"


async def test_a_call_that_waits_is_announced_and_one_that_ends_at_once_is_its_own_announcement(peer, app):
    gate = Gate()

    @app.tool
    async def wait():
        await gate.pass_through()

    @app.tool
    async def at_once():
        return asyncio.current_task().get_name()

    async with serving(app, peer) as session:
        await session.send_items(("assign", assignment("wait")), ("assign", assignment("at_once", step="step_2")))
        assert (await session.receive("result")).output.json == '"at_once wf step_2"'
        assert (await session.receive("accepted")).attempt.step_id == "step_1"
        gate.open.set()
        assert (await session.receive("result")).attempt.step_id == "step_1"


async def test_a_cancel_that_comes_with_its_assignment_stops_the_call_before_it_begins(peer, app):
    calls = []

    @app.tool
    async def once():
        calls.append(1)

    async with serving(app, peer) as session:
        given = assignment("once")
        await session.send_items(("assign", given), ("cancel", pb.CancelAttempt(attempt=given.attempt)))
        assert (await session.receive("failure")).failure.reason == "CANCELED"
    assert calls == []


async def test_signs_of_life_are_sent_for_a_tool_that_is_asked_for_them(peer, app):
    @app.tool
    def busy(ctx: podium.Context):
        ctx.heartbeat()
        ctx.progress(message="half way")

    async with serving(app, peer) as session:
        await session.send(assign=assignment("busy", heartbeat_timeout_ms=1000))
        kinds = set()
        while "result" not in kinds:
            kinds.add((await session._items.get()).WhichOneof("item"))  # noqa: SLF001 -- the peer's own queue
    assert kinds == {"accepted", "attempt_heartbeat", "progress", "result"}


async def test_a_tool_that_streams_shows_that_it_is_alive(peer, app):
    @app.tool(streams_output=True)
    async def stream():
        yield "piece"

    async with serving(app, peer) as session:
        await session.send(assign=assignment("stream", heartbeat_timeout_ms=1000))
        kinds = set()
        while "result" not in kinds:
            kinds.add((await session._items.get()).WhichOneof("item"))  # noqa: SLF001 -- the peer's own queue
    assert kinds == {"accepted", "attempt_heartbeat", "chunk", "result"}


async def test_a_silent_session_tells_that_the_process_lives(peer, app):
    async with serving(app, peer, heartbeat_interval_ms=20) as session:
        await session.receive("heartbeat")
        await session.receive("heartbeat")


async def test_an_attempt_survives_an_outage_and_its_outcome_is_sent_until_it_is_acknowledged(peer, app):
    gate = Gate()

    @app.tool
    async def wait():
        await gate.pass_through()
        return "done"

    async with serving(app, peer) as session:
        given = assignment("wait")
        await session.send(assign=given)
        await session.receive("accepted")
        await soon(gate.entered)
        session.end()
        second = await peer.session()
        gate.open.set()
        hello = await second.welcome(held=[pb.HeldVerdict(attempt=given.attempt, action=KEEP)])
        assert [held.attempt for held in hello.holding] == [given.attempt]
        await second.receive("accepted")
        assert (await second.receive("result")).output.json == '"done"'
        # The acknowledgement never came: again.
        second.end()
        third = await peer.session()
        hello = await third.welcome(held=[pb.HeldVerdict(attempt=given.attempt, action=KEEP)])
        assert len(hello.holding) == 1
        await third.receive("accepted")
        await third.acknowledge(await third.receive("result"))
        third.end()
        fourth = await peer.session()
        assert list((await fourth.welcome()).holding) == []


async def test_after_an_outage_chunks_are_resent_from_the_last_durable_one(peer, app):
    gate = Gate()

    @app.tool
    async def stream():
        for number in range(4):
            yield f"{number}"
        await gate.pass_through()
        yield "4"

    async with serving(app, peer) as session:
        given = assignment("stream")
        await session.send(assign=given)
        await session.receive("accepted")
        await session.receive("chunk")
        await session.send(chunks_acknowledged=pb.ChunksAcknowledged(attempt=given.attempt, sequence=1))
        await soon(gate.entered)
        for _ in range(3):
            await session.receive("chunk")
        session.end()
        second = await peer.session()
        hello = await second.welcome(held=[pb.HeldVerdict(attempt=given.attempt, action=KEEP, resume_after_chunk=2)])
        assert hello.holding[0].acknowledged_chunk == 1
        await second.receive("accepted")
        resent = [await second.receive("chunk") for _ in range(2)]
        assert [(chunk.sequence, chunk.data) for chunk in resent] == [(3, b"2"), (4, b"3")]
        gate.open.set()
        assert (await second.receive("chunk")).sequence == 5
        assert (await second.receive("result")).chunk_count == 5


async def test_an_attempt_that_was_given_to_another_is_stopped_and_forgotten(peer, app):
    gate = Gate()

    @app.tool
    async def wait():
        await gate.pass_through()

    @app.tool
    async def echo():
        return "here"

    async with serving(app, peer) as session:
        given = assignment("wait")
        await session.send(assign=given)
        await session.receive("accepted")
        await soon(gate.entered)
        session.end()
        second = await peer.session()
        await second.welcome(held=[pb.HeldVerdict(attempt=given.attempt, action=ABORT)])
        await soon(gate.cancelled)
        await second.send(assign=assignment("echo", step="step_2"))
        result = await second.receive("result")
        assert result.attempt.step_id == "step_2", "nothing is said about the forgotten attempt"


async def test_a_refused_outcome_stops_an_attempt_that_still_runs(peer, app):
    gate = Gate()

    @app.tool
    async def wait():
        await gate.pass_through()

    async with serving(app, peer) as session:
        await session.send(assign=assignment("wait"))
        accepted = await session.receive("accepted")
        await soon(gate.entered)
        await session.acknowledge(accepted, accepted=False)
        await soon(gate.cancelled)


async def test_a_tool_waits_while_too_much_of_its_output_is_not_acknowledged(peer, app, monkeypatch):
    monkeypatch.setattr("podium.attempt.UNACKNOWLEDGED_MAX_BYTES", 128)
    produced = []

    @app.tool
    async def stream():
        for number in range(10):
            produced.append(number)
            yield "x" * 64

    async with serving(app, peer) as session:
        given = assignment("stream")
        await session.send(assign=given)
        await session.receive("accepted")
        await session.receive("chunk")
        await session.receive("chunk")
        assert produced == [0, 1, 2], "the third piece waits for room"
        await session.send(chunks_acknowledged=pb.ChunksAcknowledged(attempt=given.attempt, sequence=1))
        assert (await session.receive("chunk")).sequence == 3
        assert produced == [0, 1, 2, 3]


async def test_a_drain_lets_work_finish_and_then_connects_again(peer, app):
    gate = Gate()

    @app.tool
    async def wait():
        await gate.pass_through()
        return "done"

    async with serving(app, peer) as session:
        await session.send(assign=assignment("wait"))
        await session.receive("accepted")
        await soon(gate.entered)
        await session.send(drain=pb.Drain())
        gate.open.set()
        result = await session.receive("result")
        assert not session.half_closed.is_set()
        await session.acknowledge(result)
        await soon(session.half_closed)
        second = await peer.session()
        assert list((await second.welcome()).holding) == []


async def test_stopping_says_goodbye_and_waits_for_what_runs(peer, app):
    gate = Gate()

    @app.tool
    async def wait():
        await gate.pass_through()
        return "done"

    async with asyncio.TaskGroup() as group:
        group.create_task(app.serve(peer.address, "t"))
        session = await peer.session()
        await session.welcome()
        await session.send(assign=assignment("wait"))
        await session.receive("accepted")
        await soon(gate.entered)
        stop = group.create_task(app.stop())
        await session.receive("leaving")
        assert not stop.done()
        gate.open.set()
        await session.acknowledge(await session.receive("result"))
        await soon(session.half_closed)


async def test_stopping_tells_what_it_had_to_stop(peer, app):
    gate = Gate()

    @app.tool
    async def wait():
        await gate.pass_through()

    async with asyncio.TaskGroup() as group:
        group.create_task(app.serve(peer.address, "t"))
        session = await peer.session()
        await session.welcome()
        await session.send(assign=assignment("wait"))
        await session.receive("accepted")
        await soon(gate.entered)
        group.create_task(app.stop(grace=0))
        await session.receive("leaving")
        failure = await session.receive("failure")
        assert (failure.failure.reason, failure.failure.retryable) == ("EXECUTOR_LOST", True)
        await session.acknowledge(failure)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, podium.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, podium.PermissionDenied),
        (grpc.StatusCode.FAILED_PRECONDITION, podium.IllegalState),
    ],
)
async def test_an_executor_that_is_refused_says_so_at_once(peer, app, code, error):
    peer.refuse_next(code, "needs tools.serve")
    with pytest.raises(error, match=r"needs tools\.serve"):
        await app.serve(peer.address, "t")


async def test_an_executor_keeps_trying_while_the_service_is_away(peer, app):
    peer.refuse_next(grpc.StatusCode.UNAVAILABLE, "starting")
    peer.refuse_next(grpc.StatusCode.UNAVAILABLE, "starting")
    async with serving(app, peer):
        pass


async def test_once_it_served_a_refusal_does_not_end_it(peer, app):
    async with serving(app, peer) as session:
        peer.refuse_next(grpc.StatusCode.PERMISSION_DENIED, "the policy is being replaced")
        session.end()
        await (await peer.session()).welcome()


async def test_an_executor_serves_once(peer, app):
    async with serving(app, peer):
        with pytest.raises(podium.IllegalState):
            await app.serve(peer.address, "t")
