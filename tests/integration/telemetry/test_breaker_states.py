"""The metric and the command tell the same of a breaker, whatever the policy in force says of it."""

import asyncio
import contextlib

import podium
from podium.v1 import events_pb2, policy_pb2
from podium.v1 import resilience_service_pb2 as pb
from service.telemetry.breaker_states import state_name
from tests.integration.rig.caller import step
from tests.integration.rig.observed import Observed
from tests.integration.rig.policies import apply, policy
from tests.integration.rig.toolbox import toolbox
from tests.ports import free_port

RULE = {"id": "careful", "tools": ["flaky"], "failure_threshold": 1, "recovery_timeout_ms": 600_000}


class Watched:
    """A service whose breakers are asked for in both ways."""

    def __init__(self, service, observed, ana, tenant):
        self.service = service
        self.observed = observed
        self.ana = ana
        self._tenant = tenant

    async def states(self):
        """The states of the tenant's breakers by tool, as the metric and the command alike tell them."""
        scraped = (await self.observed.scrape()).sums("podium_breaker_state", "tool", "state", tenant=self._tenant)
        listed = (await self.ana.resilience.ListBreakers(pb.ListBreakersRequest())).breakers
        told = {breaker.tool: state_name(breaker.state) for breaker in listed}
        assert dict(labels for labels, value in scraped.items() if value) == told
        assert sum(scraped.values()) == len(told)
        return told

    async def has_rules(self, *rules):
        await apply(self.ana, policy(breakers=[policy_pb2.BreakerRule(**rule) for rule in rules]))


@contextlib.asynccontextmanager
async def watched(service, tenant):
    port = free_port()
    await asyncio.to_thread(service.configure(metrics_address=f"127.0.0.1:{port}").start)
    observed = Observed(service, None, port)
    ana = observed.caller(tenant)
    yield Watched(service, observed, ana, tenant)
    await ana.close()
    await asyncio.to_thread(service.stop)


async def test_a_breaker_whose_rule_is_gone_is_not_open_in_the_metric_either(own_service, tenant):
    service = own_service()
    async with watched(service, tenant) as of:
        async with podium.connect(service.address, service.token(tenant=tenant), serve=toolbox()):
            await of.has_rules(RULE)
            await of.ana.ended(await of.ana.start(step("flaky", {"failures": 9, "retryable": False}, id="fails")))
        assert await of.states() == {"flaky": "open"}
        await of.has_rules()
        assert await of.states() == {"flaky": "disabled"}
        await of.has_rules(RULE | {"mode": policy_pb2.BREAKER_MODE_FORCED_OPEN})
        assert await of.states() == {"flaky": "forced_open"}
        await of.has_rules()
    # Nobody has called it since, so that the log still has it open.
    async with watched(service, tenant) as of:
        [last] = [event for event in await of.ana.log() if event.HasField("breaker_transitioned")]
        assert last.breaker_transitioned.to_state == events_pb2.BREAKER_STATE_OPEN
        assert await of.states() == {"flaky": "disabled"}
        await of.has_rules(RULE)
        assert await of.states() == {"flaky": "open"}
