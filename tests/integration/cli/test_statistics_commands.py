"""What tools did, as the service and its commands tell it, against a recount of the log by other means."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import termios
from types import SimpleNamespace

import pytest

import podium
from podium.v1 import definition_pb2, monitoring_service_pb2
from service.projections.tool_statistics import MINUTE_US
from tests.integration.cli.conftest import COMMAND
from tests.integration.rig.caller import step
from tests.integration.rig.degraded_run import KINDS, degraded_run, feeds
from tests.integration.rig.refusal import refusal_of
from tests.integration.rig.service_process import ServiceProcess, environment
from tests.integration.rig.tool_recount import COUNTS, differences, exact_percentile, recount

ITEMS, AT_ONCE = 80, 4
RETRIES = definition_pb2.RetryPolicy(max_attempts=3, initial_backoff_ms=1, max_backoff_ms=1)


@pytest.fixture
async def unreliable(connect):
    """Tools of which one fails in 40 percent of its attempts; so few run at once that the others wait."""
    app = podium.Executor("unreliable", max_parallel=AT_ONCE)

    @app.tool(idempotent=True)
    async def unreliable(ctx: podium.Context, number: int) -> int:
        """Fail two times of five."""
        await asyncio.sleep(0)
        if (3 * number + ctx.attempt) % 5 < 2:
            raise podium.ToolFailed("no luck", reason=f"UPSTREAM_{number % 2}", retryable=True)
        return number

    @app.tool(permissions=["financial_operations"])
    async def pay(cents: int) -> int:
        """Pay."""
        return cents

    @app.tool(read_only=True)
    async def steady() -> str:
        """Answer."""
        return "well"

    await connect(app)


@pytest.fixture
async def run(caller, admit, unreliable):
    """A run of the tools; the events that it left, and a token for reads that shall know them."""
    over = definition_pb2.ForEach(items_json=json.dumps([*range(ITEMS)]))
    await caller.ended(await caller.start(step("unreliable", {"number": "${item}"}, for_each=over, retry=RETRIES)))
    agent = admit("bob", roles=["agent"])
    await asyncio.gather(*[caller.call("steady") for _ in range(20)], *[agent.call("pay", {"cents": 1})] * 1)
    await caller.call("pay", {"cents": 3})
    await caller.call("unreliable", {"number": 0})
    events = await caller.log()
    return SimpleNamespace(events=events, token=f"0:{events[-1].position}")


async def statistics(caller, run, **fields):
    request = monitoring_service_pb2.GetToolStatisticsRequest(consistency_token=run.token, **fields)
    return await caller.monitoring.GetToolStatistics(request)


def by_tool(bucket):
    return {tool.tool: tool for tool in bucket.tools}


@pytest.mark.both_databases
async def test_what_is_told_of_tools_of_which_one_fails_is_what_the_log_says(
    caller, run, service, tenant, podium_command
):
    told = await statistics(caller, run, bucket_minutes=1)
    exact = recount(run.events)
    assert differences(by_tool(told.total), exact) == []
    assert 0.35 < sum(exact["unreliable"].errors.values()) / exact["unreliable"].counts["attempts"] < 0.45
    assert exact["unreliable"].queue_time
    assert exact["pay"].counts["denied"] == 1
    assert told.position >= run.events[-1].position
    for bucket in told.buckets:
        in_it = recount(run.events, lambda at_us, bucket=bucket: bucket.from_us <= at_us < bucket.to_us)
        assert differences(by_tool(bucket), in_it) == []

    # A token that may know no more than this: what the breakers do is left out.
    token = service.token("ana", tenant=tenant, scopes=("statistics.read",))
    at = {"PODIUM_ADDRESS": service.address, "PODIUM_TOKEN": token}
    seen = await asyncio.to_thread(podium_command, "top", "--once", "--json", "--window", "1h", **at)
    assert seen.code == 0, seen.err
    tools = {tool["tool"]: tool for tool in seen.json["tools"]}
    for name, tool in tools.items():
        assert {count: tool[count] for count in COUNTS} == {count: exact[name].counts[count] for count in COUNTS}
        assert tool["errors"] == exact[name].errors
        assert sum(tool["trend"]) == tool["calls"]
        assert tool["breaker"] is None
        if exact[name].latency:
            assert tool["latency"]["p90_us"] == pytest.approx(exact_percentile(exact[name].latency, 90), rel=0.0101)
    assert tools.keys() == exact.keys()
    assert tools["unreliable"]["errors_percent"] == pytest.approx(40, abs=5)


async def test_what_is_told_of_a_broken_tool_and_what_took_its_place_is_what_the_log_says(
    caller, connect, service, tenant, podium_command
):
    app = feeds()
    await connect(app)
    await degraded_run(caller, app)
    events = await caller.log()
    exact = recount(events)
    told = await statistics(caller, SimpleNamespace(token=f"0:{events[-1].position}"))
    assert differences(by_tool(told.total), exact) == []
    token = service.token("ana", tenant=tenant)
    at = {"PODIUM_ADDRESS": service.address, "PODIUM_TOKEN": token}
    seen = await asyncio.to_thread(podium_command, "top", "--once", "--json", "--window", "1h", **at)
    assert seen.code == 0, seen.err
    tools = {tool["tool"]: tool for tool in seen.json["tools"]}
    assert tools.keys() == exact.keys() == {"feed", "archive"}
    for name, tool in tools.items():
        assert {count: tool[count] for count in COUNTS} == {count: exact[name].counts[count] for count in COUNTS}
        assert tool["errors"] == exact[name].errors
    feed, archive = tools["feed"], tools["archive"]
    assert (feed["attempts"], feed["errors"], feed["breaker_opened"]) == (3, {"BROKEN": 2}, 1)
    assert (feed["breaker_rejected"], feed["degraded"]) == (5, 5)
    assert (feed["cache_hits"], feed["cache_stale"], archive["cache_hits"]) == (2, 2, 1)
    assert feed["breaker"].lower().endswith("open")
    for kind in KINDS:
        lacking = next(event for event in events if event.HasField(kind))
        assert differences(by_tool(told.total), recount([event for event in events if event is not lacking])) != []


async def test_an_event_that_was_not_counted_is_noticed(caller, run):
    told = by_tool((await statistics(caller, run)).total)
    lacking = next(event for event in run.events if event.HasField("attempt_failed"))
    assert differences(told, recount([event for event in run.events if event is not lacking])) != []


async def test_only_the_tools_and_the_time_that_are_asked_for_are_told(caller, run):
    assert by_tool((await statistics(caller, run, tools=["steady"])).total).keys() == {"steady"}
    before = run.events[0].recorded_at_us // MINUTE_US * MINUTE_US
    told = await statistics(caller, run, from_us=before - MINUTE_US, to_us=before)
    assert (told.total.from_us, told.total.to_us, list(told.total.tools)) == (before - MINUTE_US, before, [])
    told = await statistics(caller, run, from_us=before + 5, to_us=before + MINUTE_US - 5)
    assert (told.total.from_us, told.total.to_us) == (before, before + MINUTE_US)


@pytest.mark.parametrize("name", ["nosuch", "no\0tool", ""])
async def test_a_tool_that_is_not_there_is_not_found(caller, run, name):
    refusal = await refusal_of(statistics(caller, run, tools=["steady", name]))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "TOOL_NOT_FOUND")
    assert repr(name) in refusal.message


async def test_statistics_of_a_tool_that_was_not_called_are_empty_and_of_none_that_is_not_there_not_found(
    run, service, tenant, podium_command
):
    # Whoever may read no more than statistics is told the same.
    token = service.token("ana", tenant=tenant, scopes=("statistics.read",))
    at = {"PODIUM_ADDRESS": service.address, "PODIUM_TOKEN": token}
    before = ("--from", "2026-01-31T12:00Z", "--to", "2026-01-31T12:10Z")
    told = await asyncio.to_thread(podium_command, "stats", "steady", *before, **at)
    assert (told.code, told.out) == (0, "")
    assert "no tool was called" in told.err
    told = await asyncio.to_thread(podium_command, "stats", "nosuch", "--json", **at)
    assert (told.code, told.out) == (4, "")
    assert json.loads(told.err)["error"]["reason"] == "TOOL_NOT_FOUND"


async def test_another_tenant_is_told_nothing(run, admit, tenant):
    told = await statistics(admit("zoe", tenant=f"{tenant}-other"), run)
    assert list(told.total.tools) == []


async def test_whoever_may_not_read_statistics_is_refused(admit):
    eve = admit("eve", roles=["agent"])
    refusal = await refusal_of(eve.monitoring.GetToolStatistics(monitoring_service_pb2.GetToolStatisticsRequest()))
    assert refusal.reason == "PERMISSION_DENIED"
    assert "statistics.read" in refusal.message


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("from_us", {"from_us": 2 * MINUTE_US, "to_us": MINUTE_US}),
        ("from_us", {"from_us": -1}),
        ("to_us", {"to_us": -1}),
        ("bucket_minutes", {"from_us": MINUTE_US, "bucket_minutes": 60}),
        ("bucket_minutes", {"from_us": 1, "to_us": 1000 * MINUTE_US + 1, "bucket_minutes": 1}),
        ("tools", {"tools": ["a"] * 1001}),
        ("consistency_token", {"consistency_token": "x"}),
    ],
)
async def test_what_cannot_be_told_is_refused_by_its_field(caller, field, asked):
    request = monitoring_service_pb2.GetToolStatisticsRequest(**asked)
    assert (await refusal_of(caller.monitoring.GetToolStatistics(request))).fields == {field}


async def test_the_commands_print_tables_for_people(run, service, tenant, podium_command):
    token = service.token("ana", tenant=tenant, scopes=("statistics.read",))
    at = {"PODIUM_ADDRESS": service.address, "PODIUM_TOKEN": token, "COLUMNS": ""}
    told = await asyncio.to_thread(podium_command, "stats", "steady", "--wait-for", run.token, "--json", **at)
    assert (told.json["tool"], told.json["succeeded"], told.json["attempts"]) == ("steady", 20, 20)
    piped = await asyncio.to_thread(podium_command, "top", "--sort", "tool", **at)
    title, header, *rows = piped.out.splitlines()
    assert "3 tools" in title
    assert header.split()[:3] == ["tool", "calls", "calls/s"]
    assert [row.split()[:2] for row in rows] == [["pay", "2"], ["steady", "20"], ["unreliable", f"{ITEMS + 1}"]]
    told = await asyncio.to_thread(podium_command, "stats", "--every", "30m", **at)
    assert "steady" in told.out


async def test_on_a_terminal_it_is_live_until_q_is_pressed(run, service, tenant):
    token = service.token("ana", tenant=tenant, scopes=("statistics.read",))
    at = {"TERM": "xterm-256color", "COLUMNS": "160", "LINES": "20"}
    shown, before, after, code = await asyncio.to_thread(
        _watched, environment(PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token, **at)
    )
    assert code == 0
    assert "by tool" in shown
    assert before == after, "the terminal is as it was"


def test_on_a_terminal_it_says_that_the_service_does_not_answer_and_ends_by_q(tmp_path):
    process = ServiceProcess(tmp_path).start()
    try:
        at = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "20"}
        variables = environment(PODIUM_ADDRESS=process.address, PODIUM_TOKEN=process.token(), **at)
        controller, terminal = pty.openpty()
        words = [*COMMAND, "top", "--interval", "0.2"]
        with subprocess.Popen(words, stdin=terminal, stdout=terminal, env=variables) as command:
            _read_until(controller, "0 tools")
            process.signal(signal.SIGSTOP)
            _read_until(controller, "old: the service does not answer")
            os.write(controller, b"q")
            assert command.wait(10) == 0
        os.close(controller)
        os.close(terminal)
    finally:
        process.kill()


def _watched(variables):
    """Sort by the first column as soon as there is a frame, and leave when it is sorted."""
    controller, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    with subprocess.Popen([*COMMAND, "top"], stdin=terminal, stdout=terminal, env=variables) as process:
        shown = _read_until(controller, "unreliable")
        os.write(controller, b"1")
        shown += _read_until(controller, "by tool")
        os.write(controller, b"q")
        code = process.wait(60)
    after = termios.tcgetattr(terminal)
    os.close(controller)
    os.close(terminal)
    return shown, before, after, code


def _read_until(controller, text):
    shown = ""
    while text not in shown:
        shown += os.read(controller, 65536).decode(errors="replace")
    return shown
