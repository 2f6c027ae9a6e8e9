"""A service that tells of itself, what it tells to, and a mixed run that it tells of."""

import asyncio
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from podium.v1 import definition_pb2
from tests.integration.rig.caller import Caller, step

WITHIN_S = 20.0


class Observed:
    """A service with its metrics and its collector."""

    def __init__(self, service, receiver, metrics_port):
        self.service = service
        self.receiver = receiver
        self.url = f"http://127.0.0.1:{metrics_port}/metrics"

    def caller(self, tenant, *, traceparent="", **claims):
        """Somebody who calls with a trace context."""
        token = self.service.token(tenant=tenant, **claims)
        metadata = [("authorization", f"Bearer {token}")] + [("traceparent", traceparent)] * bool(traceparent)
        return Caller(self.service.address, token, metadata=tuple(metadata))

    async def scrape(self):
        """What Prometheus gets."""

        def read():
            with urllib.request.urlopen(self.url, timeout=WITHIN_S) as answer:
                return answer.read().decode()

        return Scrape(await asyncio.to_thread(read))

    async def scrape_until(self, condition):
        """The first scrape that fulfils a condition: what is told comes after what happened."""
        async with asyncio.timeout(WITHIN_S):
            while not condition(found := await self.scrape()):
                pass
        return found

    async def spans_until(self, condition):
        """Waits until the collector has got spans that fulfil a condition."""
        await asyncio.to_thread(self.receiver.wait_for, condition)


class Scrape:
    """What a scrape told."""

    def __init__(self, text):
        self.text = text
        families = list(text_string_to_metric_families(text))
        self.declared = {family.name for family in families}
        self.samples = [sample for family in families for sample in family.samples]

    def labels(self, name):
        """The names of labels that series of a name have; None: there is no series."""
        found = [set(sample.labels) for sample in self.samples if sample.name == name]
        return set().union(*found) if found else None

    def sums(self, name, *by, **where):
        """The values of a metric's series, summed up by labels, or all together."""
        sums = {}
        for sample in self.samples:
            if sample.name == name and where.items() <= sample.labels.items():
                key = tuple(sample.labels[each] for each in by)
                sums[key] = sums.get(key, 0) + sample.value
        return sums if by else sum(sums.values())


async def mixed_run(ana, bob):
    """Steps that succeed, fail, are repeated, skipped and denied, items of a for_each, and a direct call."""
    at_once = definition_pb2.RetryPolicy(initial_backoff_ms=1)
    continues = definition_pb2.ON_FAILURE_CONTINUE
    items = definition_pb2.ForEach(items_json="[1, 2, 3]")
    workflows = [
        await ana.start(
            step("echo", {"value": 1}, id="first"),
            step("flaky", {"failures": 2}, id="repeated", depends_on=["first"], retry=at_once),
            step("flaky", {"failures": 9, "retryable": False}, id="broken", on_failure=continues),
            step("echo", id="skipped", condition="false"),
        ),
        await ana.start(step("echo", {"value": "${item}"}, id="each", for_each=items)),
        await bob.start(step("pay", {"cents": 5}, id="denied")),
    ]
    for workflow_id in workflows:
        await ana.ended(workflow_id)
    await ana.call("add", {"a": 1, "b": 2})
    return workflows
