"""Tenants and their quotas on the running service."""

import asyncio
import contextlib

import pytest

from podium.v1 import access_service_pb2, policy_pb2, tool_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import kinds
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.refusal import refusal_if_any, refusal_of

LIST = tool_service_pb2.ListToolsRequest()


@pytest.fixture
async def house(served, admit, tenant):
    """A service with its operator, and what the operator does."""
    service = await served()
    return House(service, admit, tenant)


class House:
    def __init__(self, service, admit, tenant):
        self.service = service
        self.tenant = tenant
        self.operator = admit("operator", to=service, tenant="default")
        self.caller = admit(to=service)

    async def configure(self, **quotas):
        request = access_service_pb2.ConfigureTenantRequest(name=self.tenant, quotas=policy_pb2.Quotas(**quotas))
        return await self.operator.access.ConfigureTenant(request)

    async def show(self):
        return await self.operator.access.GetTenant(access_service_pb2.GetTenantRequest(name=self.tenant))

    async def restart(self):
        await asyncio.to_thread(self.service.kill)
        await asyncio.to_thread(self.service.start)


async def test_a_tenant_is_made_changed_listed_and_found_again_after_a_restart(house):
    made = await house.operator.access.ConfigureTenant(
        access_service_pb2.ConfigureTenantRequest(name=house.tenant, display_name="Acme", create=True)
    )
    again = access_service_pb2.ConfigureTenantRequest(name=house.tenant, create=True)
    assert (await refusal_of(house.operator.access.ConfigureTenant(again))).reason == "TENANT_EXISTS"
    changed = await house.configure(tools=7)
    assert changed.tenant.created_at_us == made.tenant.created_at_us
    await house.restart()
    found = await house.show()
    assert (found.tenant.display_name, found.tenant.quotas.tools) == ("", 7)
    listed = await house.operator.access.ListTenants(access_service_pb2.ListTenantsRequest())
    assert [each.name for each in listed.tenants] == [house.tenant]
    assert kinds(await house.caller.history("tenant")) == ["tenant_configured", "tenant_configured"]


async def test_tenants_are_listed_in_pages(house):
    for number in range(5):
        await house.operator.access.ConfigureTenant(access_service_pb2.ConfigureTenantRequest(name=f"t{number}"))
    names, token = [], ""
    for _ in range(3):
        request = access_service_pb2.ListTenantsRequest(page_size=2, page_token=token)
        page = await house.operator.access.ListTenants(request)
        names += [each.name for each in page.tenants]
        token = page.next_page_token
    assert (names, token) == ([f"t{number}" for number in range(5)], "")


@pytest.mark.parametrize("name", ["", "with space", "a/b", "x" * 65])
async def test_a_tenant_has_a_name_that_tokens_can_carry(admit, name):
    operator = admit("operator", tenant="default")
    refusal = await refusal_of(
        operator.access.ConfigureTenant(access_service_pb2.ConfigureTenantRequest(name=name, display_name="y" * 300))
    )
    assert (refusal.reason, refusal.fields) == ("INVALID_TENANT", {"name", "display_name"})


async def test_open_workflows_are_bounded_exactly_also_at_once_and_after_a_restart(house):
    await house.configure(open_workflows=3)
    await house.caller.register("later")
    starts = [house.caller.start(step("later")) for _ in range(20)]
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    started = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert len(started) == 3
    await house.restart()
    refusal = await refusal_of(house.caller.start(step("later")))
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    assert refusal.violations == {"open workflows": "3 of 3 are used"}
    assert (await house.show()).usage.open_workflows == 3

    await house.caller.cancel(started[0])
    await house.caller.ended(started[0])
    assert (await house.show()).usage.open_workflows == 2
    again = await house.caller.start(step("later"), request_id="once")
    assert await house.caller.start(step("later"), request_id="once") == again
    assert (await house.show()).usage.open_workflows == 3
    # One that was accepted before is answered also when it is not in memory any more, and another body is not.
    await house.restart()
    assert await house.caller.start(step("later"), request_id="once") == again
    assert (await refusal_of(house.caller.start(step("later"), request_id="twice"))).reason == "QUOTA_EXCEEDED"
    assert {each.reason for each in await house.caller.refusals()} == {"QUOTA_EXCEEDED"}


async def test_tools_are_bounded_and_a_new_version_is_no_new_tool(house):
    await house.configure(tools=2)
    for name in ("one", "two"):
        await house.caller.register(name)
    assert (await refusal_of(house.caller.register("three"))).reason == "QUOTA_EXCEEDED"
    assert await house.caller.register("two", description="changed") == 2


async def test_sessions_of_executors_are_bounded_and_one_that_is_back_takes_its_own_place(house):
    await house.configure(executors=1)
    async with raw_executor(house.caller, "work"):
        with pytest.raises(BaseException) as refused:  # noqa: PT011 - which one is looked at below
            async with raw_executor(house.caller, "work", instance_id="raw-2"):
                pass
        assert "quota of executors" in str(refused.value)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(raw_executor(house.caller, "work", beating=False))
            assert (await house.show()).usage.executors == 1
    async with raw_executor(house.caller, "work", instance_id="raw-2"):
        assert (await house.show()).usage.tools == 1


async def test_requests_a_minute_are_bounded(house):
    await house.configure(requests_per_minute=5)
    refusals = [await refusal_if_any(house.caller.tools.ListTools(LIST)) for _ in range(7)]
    assert [refusal and refusal.reason for refusal in refusals] == [None] * 5 + ["QUOTA_EXCEEDED"] * 2
    assert refusals[5].fields == {"requests_per_minute"}
    assert 0 < refusals[5].retry_after_s <= 12
    assert await refusal_if_any(house.operator.tools.ListTools(LIST)) is None


async def test_where_tenants_must_exist_a_token_for_another_is_refused(served, admit):
    service = await served(tenants_must_exist="true")
    operator, stranger = admit(to=service, tenant="default"), admit(to=service, tenant="unknown")
    refusal = await refusal_of(stranger.tools.ListTools(LIST))
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TENANT_UNKNOWN")
    await operator.access.ConfigureTenant(access_service_pb2.ConfigureTenantRequest(name="unknown", create=True))
    assert await refusal_if_any(stranger.tools.ListTools(LIST)) is None
    assert {each.reason for each in await operator.refusals()} == {"TENANT_UNKNOWN"}
