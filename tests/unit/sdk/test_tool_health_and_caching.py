"""What a tool says of itself beside its results: whether it could be run, and how long a result may be cached."""

import asyncio
import json
import sys
import threading
from dataclasses import dataclass

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import podium
from podium import spans
from podium.v1 import executor_service_pb2 as pb
from tests.unit.sdk.executor_peer import assignment, running_peer, serving
from tests.unit.sdk.process_tools import app as process_tools

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
async def peer():
    async with running_peer() as running:
        yield running


@pytest.fixture
def app():
    return podium.Executor("shop", max_parallel=3)


@dataclass
class Look:
    """A question."""

    symbol: str


def definition_of(app, name):
    return app.tools[name].definition


def test_what_is_declared_is_in_the_definition(app):
    @app.tool(
        read_only=True,
        caching=podium.Caching(ttl="5m", stale="1h", shared=True),
        batch=podium.Batch(max_calls=50, max_wait=0.005),
        health=lambda: True,
        probe=podium.Probe(interval="10s", timeout="1s", unhealthy_after=2, healthy_after=4),
    )
    async def look(calls: list[Look]) -> list[dict[str, int] | Exception]:
        """Look it up."""

    declared = definition_of(app, "look")
    assert (declared.caching.ttl_ms, declared.caching.stale_ms, declared.caching.shared) == (300_000, 3_600_000, True)
    assert (declared.batching.max_calls, declared.batching.max_wait_ms) == (50, 5)
    probing = declared.probing
    assert (probing.interval_ms, probing.timeout_ms, probing.unhealthy_after, probing.healthy_after) == (
        10_000,
        1000,
        2,
        4,
    )
    arguments = json.loads(declared.input_schema_json)
    assert (arguments["type"], arguments["required"], arguments["additionalProperties"]) == (
        "object",
        ["symbol"],
        False,
    )
    output = json.loads(declared.output_schema_json)
    assert (output["type"], output["additionalProperties"]) == ("object", {"type": "integer"}), "of one call"


def test_what_is_not_declared_is_not_in_the_definition(app):
    @app.tool
    async def plain():
        """Do nothing."""

    assert not any(definition_of(app, "plain").HasField(each) for each in ("caching", "batching", "probing"))


async def one(calls: list[Look]):
    """Take a batch."""


async def streams(calls: list[Look]):
    yield 1


def in_process(calls: list[Look]):
    """Take a batch."""


async def takes_text(calls: list[str]):
    """Take a batch of what is no object."""


async def takes_two(calls: list[Look], others: list[Look]):
    """Take two lists."""


async def takes_one(call: Look):
    """Take no list."""


BATCH = podium.Batch()


@pytest.mark.parametrize(
    ("function", "said", "problem"),
    [
        (one, {"caching": podium.Caching(ttl=1)}, "read_only=True"),
        (one, {"caching": podium.Caching(ttl=0), "read_only": True}, "fresh for more than 0 s"),
        (one, {"batch": podium.Batch(max_calls=1)}, "2 to 1000 calls"),
        (one, {"batch": podium.Batch(max_calls=1001)}, "2 to 1000 calls"),
        (one, {"batch": podium.Batch(max_wait=-1)}, "is no duration"),
        (one, {"probe": podium.Probe()}, "give one with health="),
        (one, {"health": bool, "probe": podium.Probe(interval=0)}, "more than 0 s"),
        (one, {"health": bool, "probe": podium.Probe(healthy_after=0)}, "at least 1"),
        (streams, {"batch": BATCH}, "a function that returns"),
        (in_process, {"batch": BATCH, "isolation": "process"}, "a function that returns"),
        (takes_text, {"batch": BATCH}, "let X be a dataclass"),
        (takes_two, {"batch": BATCH}, "one list of calls"),
        (takes_one, {"batch": BATCH}, "one list of calls"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_declared(app, function, said, problem):
    with pytest.raises((TypeError, ValueError), match=problem):
        app.tool(**said)(function)


async def hangs():
    await asyncio.get_running_loop().create_future()


def raises(error):
    def health():
        raise error

    return health


async def async_health():
    return podium.Health(healthy=True, message="2 of 4 in use")


@pytest.mark.parametrize(
    ("health", "healthy", "message"),
    [
        (None, True, ""),
        (lambda: None, True, ""),
        (lambda: True, True, ""),
        (lambda: threading.current_thread() is not threading.main_thread(), True, ""),
        (async_health, True, "2 of 4 in use"),
        (lambda: False, False, "the health function says no"),
        (lambda: podium.Health(healthy=False, message="no disk"), False, "no disk"),
        (raises(OSError("postgresql://u:p4ss@db")), False, "the health function raised OSError"),
        (raises(podium.ToolFailed("the exchange is closed")), False, "the exchange is closed"),
        (raises(SystemExit(3)), False, "the health function raised SystemExit"),
        (raises(KeyboardInterrupt("p4ss")), False, "the health function raised KeyboardInterrupt"),
        (lambda: "fine", False, "the health function returned a str"),
        (hangs, False, "no answer within 0.05 s"),
    ],
)
async def test_a_probe_is_answered_with_what_the_health_function_says(peer, app, health, healthy, message):
    app.tool(name="look", health=health)(hangs)
    async with serving(app, peer) as session:
        await session.send(probe=pb.ProbeTool(probe=7, tool="look", timeout_ms=50 if health is hangs else 5000))
        probed = await session.receive("probed")
    assert (probed.probe, probed.healthy, probed.message) == (7, healthy, message)


async def test_a_tool_that_is_not_served_is_not_healthy(peer, app):
    async with serving(app, peer) as session:
        await session.send(probe=pb.ProbeTool(probe=1, tool="other", timeout_ms=50))
        assert not (await session.receive("probed")).healthy


async def test_a_health_function_that_hangs_in_a_thread_is_not_called_again(peer, app):
    gate, calls = threading.Event(), []

    def health():
        calls.append(1)
        gate.wait(10)

    app.tool(name="look", health=health)(hangs)
    async with serving(app, peer) as session:
        for probe, timeout_ms, message in ((1, 50, "no answer within 0.05 s"), (2, 5000, "still runs")):
            await session.send(probe=pb.ProbeTool(probe=probe, tool="look", timeout_ms=timeout_ms))
            probed = await session.receive("probed")
            assert (probed.probe, probed.healthy) == (probe, False)
            assert message in probed.message
        assert calls == [1]
        gate.set()
        await session.send(probe=pb.ProbeTool(probe=3, tool="look", timeout_ms=5000))
        while not (probed := await session.receive("probed")).healthy:
            await session.send(probe=pb.ProbeTool(probe=3, tool="look", timeout_ms=5000))


async def test_a_result_says_how_long_it_may_be_cached_when_its_tool_does(peer, app):
    @app.tool(read_only=True)
    async def told(ctx: podium.Context, ttl: float) -> None:
        ctx.cache_for("1h")
        ctx.cache_for(ttl)

    @app.tool(read_only=True)
    def in_thread(ctx: podium.Context) -> None:
        ctx.cache_for("1m30s")

    @app.tool(read_only=True)
    async def untold() -> None:
        return None

    async with serving(app, peer) as session:
        results = {}
        for tool, arguments in (
            ("told", '{"ttl": 2.5}'),
            ("told", '{"ttl": 0}'),
            ("in_thread", "{}"),
            ("untold", "{}"),
        ):
            await session.send(assign=assignment(tool, arguments, step=f"s{len(results)}"))
            if tool == "in_thread":
                await session.receive("accepted")
            results[tool, arguments] = await session.receive("result")
    assert [each.cache_ttl_ms for each in results.values()] == [2500, 0, 90_000, 0]
    assert [each.HasField("cache_ttl_ms") for each in results.values()] == [True, True, True, False]


async def test_a_tool_in_a_process_says_it_too(peer):
    async with serving(process_tools, peer) as session:
        await session.send(assign=assignment("remembered"))
        await session.receive("accepted")
        assert (await session.receive("result")).cache_ttl_ms == 60_000


async def outcome(session, kind):
    """The next item of this kind; calls that wait for others are announced before."""
    while (item := await session.next()).HasField("accepted"):
        pass
    assert item.WhichOneof("item") == kind, item
    return getattr(item, kind)


async def test_an_executor_takes_enough_to_fill_a_batch_and_runs_no_more_functions_for_it(peer, app):
    """Three places for functions, and batches of eight."""
    gate, entered = asyncio.Event(), []

    @app.tool(batch=podium.Batch(max_calls=8, max_wait=0))
    async def look(calls: list[Look], contexts: list[podium.Context]) -> list[str]:
        return [f"{call.symbol} {ctx.step_id}" for call, ctx in zip(calls, contexts, strict=True)]

    @app.tool
    async def holds() -> None:
        entered.append(1)
        await gate.wait()

    async with serving(app, peer) as session:
        items = [("assign", assignment("look", f'{{"symbol": "{n}"}}', step=f"s{n}")) for n in range(12)]
        await session.send_items(*items)
        results = [await outcome(session, "result") for _ in range(12)]
        assert [json.loads(each.output.json) for each in results] == [f"{n} s{n}" for n in range(12)]
        await session.send_items(*(("assign", assignment("holds", step=f"h{n}")) for n in range(3)))
        for _ in range(3):
            await session.receive("accepted")
        await session.send(assign=assignment("look", '{"symbol": "x"}', step="last"))
        # Every place is taken: the batch waits, and a call that is canceled meanwhile is never made.
        await session.send(cancel=pb.CancelAttempt(attempt=assignment("look", step="last").attempt))
        assert (await session.receive("failure")).failure.reason == "CANCELED"
        gate.set()
        assert {(await outcome(session, "result")).attempt.step_id for _ in range(3)} == {"h0", "h1", "h2"}
    assert len(entered) == 3


async def test_max_attempts_is_at_least_the_largest_batch(peer, app):
    @app.tool(batch=podium.Batch(max_calls=40))
    async def look(calls: list[Look]) -> list[str]:
        return []

    async with running_peer() as other:
        run = asyncio.create_task(_hello(app, other))
        session = await other.session()
        hello = await session.welcome()
        run.cancel()
    assert hello.max_attempts == 40


async def _hello(app, peer):
    await app.serve(peer.address, "t", tls=False)


@pytest.fixture(scope="module")
def tracer():
    """A tracer of the SDK of OpenTelemetry; what it makes goes nowhere."""
    return TracerProvider().get_tracer("test")


async def test_spans_of_a_tool_belong_to_its_attempt(peer, app, tracer):
    @app.tool
    async def on_loop(ctx: podium.Context) -> list:
        with tracer.start_as_current_span("inside") as span:
            return [ctx.trace_context, format(span.get_span_context().trace_id, "032x")]

    @app.tool
    def in_thread(ctx: podium.Context) -> list:
        with tracer.start_as_current_span("inside") as span:
            return [ctx.trace_context, format(span.get_span_context().trace_id, "032x")]

    async with serving(app, peer) as session:
        await session.send(assign=assignment("on_loop", trace_context=TRACEPARENT))
        assert json.loads((await session.receive("result")).output.json) == [TRACEPARENT, TRACE]
        await session.send(assign=assignment("in_thread", step="s2", trace_context=TRACEPARENT))
        await session.receive("accepted")
        assert json.loads((await session.receive("result")).output.json) == [TRACEPARENT, TRACE]
        await session.send(assign=assignment("on_loop", step="s3"))
        context, alone = json.loads((await session.receive("result")).output.json)
        assert (context, alone == TRACE) == ("", False), "an attempt without a trace is in none"


async def test_a_batch_is_in_the_trace_of_none_of_its_calls(peer, app):
    @app.tool(batch=podium.Batch(max_wait=0))
    async def look(calls: list[Look], contexts: list[podium.Context]) -> list[list]:
        here = trace.get_current_span().get_span_context()
        return [[ctx.trace_context, here.is_valid] for ctx in contexts]

    async with serving(app, peer) as session:
        await session.send(assign=assignment("look", '{"symbol": "a"}', trace_context=TRACEPARENT))
        assert json.loads((await outcome(session, "result")).output.json) == [TRACEPARENT, False]


async def test_without_opentelemetry_a_trace_is_text(peer, app, monkeypatch):
    monkeypatch.setattr("podium.spans.opentelemetry_api", lambda: None)

    @app.tool
    async def where(ctx: podium.Context) -> list:
        return [ctx.trace_context, trace.get_current_span().get_span_context().is_valid]

    async with serving(app, peer) as session:
        await session.send(assign=assignment("where", trace_context=TRACEPARENT))
        assert json.loads((await session.receive("result")).output.json) == [TRACEPARENT, False]


def test_what_cannot_be_loaded_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    assert spans.opentelemetry_api.__wrapped__() is None


@pytest.mark.parametrize("traceparent", ["nonsense", "00-0-0-00", "ff-" + "0" * 32])
async def test_what_is_no_trace_is_no_trace(peer, app, traceparent):
    @app.tool
    async def where() -> bool:
        return trace.get_current_span().get_span_context().is_valid

    async with serving(app, peer) as session:
        await session.send(assign=assignment("where", trace_context=traceparent))
        assert (await session.receive("result")).output.json == "false"


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        ("leaves", "SystemExit: 3"),
        ("stops", "RuntimeError: StopIteration"),
        ("cancels itself", "CancelledError"),
        ("raises", "ZeroDivisionError: division by zero"),
    ],
)
@pytest.mark.parametrize("on_loop", [True, False])
async def test_whatever_the_function_of_a_batch_does_ends_its_calls_and_not_the_executor(
    peer, app, gives, message, on_loop
):
    def answers(calls):
        match gives:
            case "leaves":
                sys.exit(3)
            case "stops":
                return [StopIteration() for _ in calls]
            case "cancels itself":
                raise asyncio.CancelledError
            case _:
                return [1 / 0 for _ in calls]

    @app.tool(name="look", batch=podium.Batch(max_wait=0))
    async def look(calls: list[Look]) -> list[str]:
        return answers(calls)

    @app.tool(name="look_in_thread", batch=podium.Batch(max_wait=0))
    def look_in_thread(calls: list[Look]) -> list[str]:
        return answers(calls)

    async with serving(app, peer) as session:
        tool = "look" if on_loop else "look_in_thread"
        await session.send_items(*(("assign", assignment(tool, '{"symbol": "a"}', step=f"s{n}")) for n in range(2)))
        failures = [await outcome(session, "failure") for _ in range(2)]
    assert [each.failure.message for each in failures] == [message] * 2


async def test_a_thread_that_runs_a_batch_nobody_wants_is_waited_for(peer, app):
    entered, gate = threading.Event(), threading.Event()

    @app.tool(batch=podium.Batch(max_wait=0))
    def look(calls: list[Look], contexts: list[podium.Context]) -> list[list]:
        entered.set()
        gate.wait(10)
        return [[call.symbol, ctx.cancelled] for call, ctx in zip(calls, contexts, strict=True)]

    async with serving(app, peer) as session:
        await session.send(assign=assignment("look", '{"symbol": "a"}'))
        await asyncio.to_thread(entered.wait, 10)
        await session.send(cancel=pb.CancelAttempt(attempt=assignment("look").attempt))
        await session.send(probe=pb.ProbeTool(probe=1, tool="look", timeout_ms=5000))
        assert (await outcome(session, "probed")).healthy, "the cancel came before it"
        gate.set()
        assert json.loads((await outcome(session, "result")).output.json) == ["a", True]


async def test_secrets_are_taken_out_of_each_result_of_a_batch(peer, app):
    @app.tool(batch=podium.Batch(max_wait=0), secrets=["token"])
    async def look(calls: list[Look], contexts: list[podium.Context]) -> list[str | Exception]:
        told = [ctx.secret("token") for ctx in contexts]
        return [ValueError(each) if call.symbol == "bad" else each for call, each in zip(calls, told, strict=True)]

    secrets = [pb.Secret(name="token", value=b"a-long-secret-value")]
    async with serving(app, peer) as session:
        items = [assignment("look", f'{{"symbol": "{each}"}}', step=each, secrets=secrets) for each in ("good", "bad")]
        await session.send_items(*(("assign", each) for each in items))
        good, bad = await outcome(session, "result"), await outcome(session, "failure")
    assert "a-long-secret-value" not in good.output.json + bad.failure.message
    assert bad.failure.message.startswith("ValueError: ")
