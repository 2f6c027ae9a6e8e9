"""A collector that is slow, away or unwilling costs spans, which are counted, and nobody's time."""

import asyncio

import pytest
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from service.telemetry.collector import Collector, RefusedByCollector, Unreachable
from service.telemetry.metrics import Metrics
from service.telemetry.span_export import SpanExport
from tests.integration.rig.otlp_receiver import otlp_receiver
from tests.ports import free_port


class Sender:
    """Takes messages, or raises what it is told to."""

    def __init__(self, problem=None):
        self.problem = problem
        self.sent = []

    async def send(self, path, message):
        if self.problem is not None:
            raise self.problem
        self.sent += message.resource_spans[0].scope_spans[0].spans


def export(sender, spans_max=10):
    metrics = Metrics()
    return SpanExport(sender, resource_pb2.Resource(), metrics, spans_max), metrics


def spans(count):
    return [trace_pb2.Span(name=str(number)) for number in range(count)]


def value(counter):
    return counter._value.get()  # noqa: SLF001 - the library's own way in its tests


async def test_what_is_queued_is_sent_in_order():
    sender = Sender()
    exporter, metrics = export(sender)
    exporter.offer(spans(7))
    await exporter.finish()
    assert [span.name for span in sender.sent] == [str(number) for number in range(7)]
    assert (value(metrics.spans_exported), value(metrics.spans_dropped)) == (7, 0)


async def test_a_full_queue_drops_and_counts_and_waits_for_nobody():
    exporter, metrics = export(Sender(Unreachable("away")))
    exporter.offer(spans(25))
    assert value(metrics.spans_dropped) == 15
    await exporter.finish()
    assert value(metrics.spans_dropped) == 25
    assert value(metrics.export_failures) == 1


async def test_what_the_collector_refuses_is_not_sent_again():
    sender = Sender(RefusedByCollector("no"))
    exporter, metrics = export(sender)
    exporter.offer(spans(3))
    await exporter.finish()
    assert value(metrics.spans_dropped) == 3
    sender.problem = None
    exporter.offer(spans(1))
    await exporter.finish()
    assert len(sender.sent) == 1


async def test_a_collector_that_comes_back_gets_what_waited():
    sender = Sender(Unreachable("away"))
    exporter, metrics = export(sender)
    exporter.offer(spans(3))
    assert not await exporter._send()  # noqa: SLF001 - one try
    sender.problem = None
    await exporter.finish()
    assert len(sender.sent) == value(metrics.spans_exported) == 3


@pytest.mark.parametrize(
    ("status", "raised"), [(200, None), (503, Unreachable), (429, Unreachable), (400, RefusedByCollector)]
)
async def test_the_answer_says_whether_to_send_again(status, raised):
    with otlp_receiver() as receiver:
        receiver.answers_with = status
        collector = Collector(receiver.url, {}, timeout_s=5)
        exporter, metrics = export(collector)
        exporter.offer(spans(1))
        await exporter.finish()
        collector.close()
        assert value(metrics.export_failures) == (1 if raised else 0)
        assert len(receiver.spans) == (0 if raised else 1)


async def test_nobody_listening_is_a_failure_that_is_over_soon():
    collector = Collector(f"http://127.0.0.1:{free_port()}", {}, timeout_s=1)
    with pytest.raises(Unreachable):
        async with asyncio.timeout(10):
            await collector.send("/v1/traces", resource_pb2.Resource())
    collector.close()


async def test_what_is_under_way_when_the_service_stops_is_not_sent_twice():
    class Slow(Sender):
        async def send(self, path, message):
            under_way.set()
            await goes_on.wait()
            await super().send(path, message)

    under_way, goes_on, sender = asyncio.Event(), asyncio.Event(), Slow()
    exporter, metrics = export(sender)
    exporter.offer(spans(7))
    sending = asyncio.create_task(exporter._send())  # noqa: SLF001 - as `run` does
    await under_way.wait()
    finishing = asyncio.create_task(exporter.finish())
    asyncio.get_running_loop().call_soon(goes_on.set)
    await asyncio.gather(sending, finishing)
    assert [span.name for span in sender.sent] == [str(number) for number in range(7)]
    assert (value(metrics.spans_exported), value(metrics.spans_dropped)) == (7, 0)
