"""What is told survives a restart of the service, without anything having been kept; and its absence costs nothing."""

import asyncio
import signal

import pytest

import podium
from tests.integration.rig.caller import step
from tests.integration.rig.key_server import key_server
from tests.integration.rig.observed import Observed
from tests.integration.rig.otlp_receiver import attributes, otlp_receiver
from tests.integration.rig.toolbox import toolbox
from tests.ports import free_port

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


async def test_a_run_over_a_restart_has_one_tree_and_its_queue_is_still_seen(own_service, tenant):
    port = free_port()
    with otlp_receiver() as receiver:
        service = own_service(metrics_address=f"127.0.0.1:{port}", otlp_endpoint=receiver.url)
        await asyncio.to_thread(service.start)
        observed = Observed(service, receiver, port)
        ana = observed.caller(tenant, traceparent=TRACEPARENT)
        app, token = toolbox(), service.token(tenant=tenant)
        async with podium.connect(service.address, token, serve=app):
            workflow_id = await ana.start(
                step("gated", {"gate": "a"}, id="held"), step("echo", id="after", depends_on=["held"])
            )
            await app.entered["a"].wait()
            await ana.register("nobody_serves_it")
            await ana.start(step("nobody_serves_it", id="waits"))
            await observed.scrape_until(lambda scrape: scrape.sums("podium_queued_steps") == 1)
            await asyncio.to_thread(service.kill)
            await asyncio.to_thread(service.start)
            # Known again from the log, with the age that it has.
            await observed.scrape_until(lambda scrape: scrape.sums("podium_queue_oldest_age_seconds") > 0)
            app.gates["a"].set()
            await ana.ended(workflow_id)
        await ana.close()

        def is_whole():
            return any(span.name == "workflow" for span in receiver.spans)

        await observed.spans_until(is_whole)
        spans = [span for span in receiver.spans if attributes(span)["podium.workflow.id"] == workflow_id]
        ids = {span.span_id for span in spans}
        assert {span.trace_id.hex() for span in spans} == {TRACE}
        assert {span.name for span in spans} == {
            "workflow",
            "step gated",
            "execute_tool gated",
            "step echo",
            "execute_tool echo",
        }
        assert {span.parent_span_id for span in spans} - ids == {bytes.fromhex(PARENT)}
        # The attempt's span begins where the log says, which was before the restart.
        scrape = await observed.scrape()
        assert scrape.sums("podium_steps_total", "tool", tenant=tenant) == {("gated",): 1, ("echo",): 1}


async def test_a_collector_that_is_away_delays_nobody(own_service, tenant):
    port = free_port()
    service = own_service(metrics_address=f"127.0.0.1:{port}", otlp_endpoint=f"http://127.0.0.1:{free_port()}")
    await asyncio.to_thread(service.start)
    observed = Observed(service, None, port)
    ana = observed.caller(tenant)
    async with podium.connect(service.address, service.token(tenant=tenant), serve=toolbox()):
        for value in range(20):
            answer = await ana.call("echo", {"value": value})
            assert answer.outcome.output_json == str(value)
        await observed.scrape_until(lambda scrape: scrape.sums("podium_export_failures_total") > 0)
        scrape = await observed.scrape_until(lambda scrape: scrape.sums("podium_telemetry_lag_events") == 0)
        assert scrape.sums("podium_steps_total", outcome="succeeded", tenant=tenant) == 20
    await ana.close()
    assert service.complaints() == []


async def test_without_settings_nothing_of_it_is_there_and_tools_get_the_caller_s_context(service, connect, tenant):
    app, given = podium.Executor("tracing"), []

    @app.tool
    async def traced(ctx: podium.Context) -> str:
        """Tell what it was given."""
        given.append(ctx.trace_context)
        return "done"

    await connect(app)
    ana = Observed(service, None, 0).caller(tenant, traceparent=TRACEPARENT)
    await ana.call("traced")
    await ana.close()
    assert given == [TRACEPARENT]


@pytest.mark.parametrize(("broken", "timeout_ms"), [("slow", 3_000), ("silent", 30_000)])
async def test_a_collector_that_never_ends_its_answer_does_not_keep_a_service_from_ending(
    own_service, tenant, broken, timeout_ms
):
    async with key_server(expects=b"POST /keys/v1/traces HTTP/1.1\r\n") as collector:
        asked = asyncio.Event()

        async def answer(writer):
            asked.set()
            await getattr(collector, broken)(writer)

        collector.broken = answer
        service = own_service(otlp_endpoint=collector.url, otlp_timeout_ms=timeout_ms, drain_ms=5_000)
        await asyncio.to_thread(service.start)
        ana = Observed(service, None, 0).caller(tenant)
        async with podium.connect(service.address, service.token(tenant=tenant), serve=toolbox()):
            await ana.call("echo", {"value": 1})
            async with asyncio.timeout(20):
                await asked.wait()
        await ana.close()
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        service.signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.ended) == 0
        # Long before the alarm, and before the collector's time is over.
        assert loop.time() - asked_at < 5
        assert service.complaints() == []
