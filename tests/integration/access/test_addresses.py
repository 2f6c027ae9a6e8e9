"""Addresses on the running service: blocked by hand and after failures, for a tenant and for everyone."""

import asyncio
import contextlib

import grpc.aio
import pytest

import podium
from podium.v1 import access_service_pb2, event_service_pb2, tool_service_pb2, value_pb2, workflow_service_pb2
from service.api.page_tokens import page_token
from tests.integration.rig.caller import Caller, step
from tests.integration.rig.history import kind, payload
from tests.integration.rig.refusal import read_refusal, refusal_if_any, refusal_of

LIST = tool_service_pb2.ListToolsRequest()
WITHIN_S = 15.0


@contextlib.asynccontextmanager
async def calling_from(service, address, subject="ana", token=None, **claims):
    """A caller behind the trusted proxy that the test is."""
    token = token or service.token(subject, **{"tenant": "acme", **claims})
    metadata = (("authorization", f"Bearer {token}"), ("x-forwarded-for", address))
    caller = Caller(service.address, token, metadata=metadata)
    yield caller
    await caller.close()


async def block(caller, network, **fields):
    return await caller.access.BlockAddress(access_service_pb2.BlockAddressRequest(network=network, **fields))


async def blocked(caller):
    listed = await caller.access.ListBlockedAddresses(access_service_pb2.ListBlockedAddressesRequest())
    return list(listed.addresses)


async def until_let_in(caller):
    """Waits until the caller's address may call again."""
    async with asyncio.timeout(WITHIN_S):
        while (refusal := await refusal_if_any(caller.tools.ListTools(LIST))) is not None:
            assert refusal.reason == "ADDRESS_BLOCKED"


async def test_a_block_of_a_tenant_holds_for_its_callers_until_it_is_taken_back(served):
    service = await served(trusted_proxies="127.0.0.1")
    async with (
        calling_from(service, "10.0.0.1") as admin,
        calling_from(service, "203.0.113.9", "bob") as bob,
        calling_from(service, "203.0.113.9", "eve", tenant="other") as eve,
    ):
        event = (await block(admin, "203.0.113.0/24", reason="scans")).event
        assert event.startswith("0:")
        refusal = await refusal_of(bob.tools.ListTools(LIST))
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "ADDRESS_BLOCKED")
        assert await refusal_if_any(eve.tools.ListTools(LIST)) is None
        (listed,) = await blocked(admin)
        assert (listed.network, listed.reason, listed.failures) == ("203.0.113.0/24", "scans", 0)

        await asyncio.to_thread(service.kill)
        await asyncio.to_thread(service.start)
        assert (await refusal_of(bob.tools.ListTools(LIST))).reason == "ADDRESS_BLOCKED"
        denied = [each for each in await admin.refusals() if each.reason == "ADDRESS_BLOCKED"]
        assert (denied[0].rule, denied[0].principal.subject) == ("block:203.0.113.0/24", "bob")

        await admin.access.UnblockAddress(access_service_pb2.UnblockAddressRequest(network="203.0.113.0/24"))
        assert await refusal_if_any(bob.tools.ListTools(LIST)) is None
        kinds = [kind(event) for event in await admin.history("addresses")]
        assert kinds == ["address_blocked", "address_unblocked"]


async def test_a_block_of_the_operator_holds_for_everyone_before_their_token_is_looked_at(served):
    service = await served(trusted_proxies="127.0.0.1")
    async with (
        calling_from(service, "10.0.0.1", tenant="default") as operator,
        calling_from(service, "2001:db8:7::1", "eve", tenant="other") as eve,
        calling_from(service, "2001:db8:7::2", token="no token") as stranger,
        calling_from(service, "2001:db8:8::1", token="no token") as neighbour,
    ):
        await block(operator, "2001:db8:7::/48")
        for caller in (eve, stranger):
            refusal = await refusal_of(caller.tools.ListTools(LIST))
            assert (refusal.reason, refusal.metadata) == ("ADDRESS_BLOCKED", {})
        assert (await refusal_of(neighbour.tools.ListTools(LIST))).reason == "TOKEN_INVALID"


async def test_with_an_allow_list_whoever_calls_from_elsewhere_is_refused(served):
    addresses = {"allow": ["10.0.0.0/8"], "block": ["10.9.0.0/16"]}
    service = await served(trusted_proxies="127.0.0.1", addresses=addresses, applied_from="10.1.2.3")
    for address, reason in (("10.1.2.3", None), ("10.9.2.3", "ADDRESS_BLOCKED"), ("192.0.2.1", "ADDRESS_BLOCKED")):
        async with calling_from(service, address) as caller:
            refusal = await refusal_if_any(caller.tools.ListTools(LIST))
            assert (refusal and refusal.reason) == reason


async def test_an_address_that_fails_to_authenticate_too_often_is_locked_out_and_let_in_again(served):
    lockout = {"failures": 5, "withinMs": 60_000, "blockMs": 6_000}
    service = await served(trusted_proxies="127.0.0.1", addresses={"lockout": lockout})
    async with (
        calling_from(service, "10.0.0.1", tenant="default") as operator,
        calling_from(service, "192.0.2.66", token="guess") as guesser,
        calling_from(service, "192.0.2.66", "bob") as bob,
        calling_from(service, "192.0.2.67", "ann") as ann,
    ):
        reasons = [(await refusal_of(guesser.tools.ListTools(LIST))).reason for _ in range(7)]
        assert reasons == ["TOKEN_INVALID"] * 5 + ["ADDRESS_BLOCKED"] * 2
        (found,) = await blocked(operator)
        assert (found.network, found.failures) == ("192.0.2.66/32", 5)
        assert found.expires_at_us - found.blocked_at_us == pytest.approx(6_000_000, abs=1_000_000)
        event = payload(await operator.history("addresses"), "address_blocked")
        assert (event.failures, event.expires_at_us) == (5, found.expires_at_us)

        await asyncio.to_thread(service.kill)
        await asyncio.to_thread(service.start)
        assert (await refusal_of(bob.tools.ListTools(LIST))).reason == "ADDRESS_BLOCKED"
        assert await refusal_if_any(ann.tools.ListTools(LIST)) is None
        await until_let_in(bob)
        assert await blocked(operator) == []


async def test_denials_lock_an_address_out_of_its_tenant_alone(served):
    service = await served(
        trusted_proxies="127.0.0.1", addresses={"lockout": {"failures": 3, "withinMs": 60_000, "blockMs": 60_000}}
    )
    async with (
        calling_from(service, "192.0.2.1", "victor", roles=["viewer"]) as victor,
        calling_from(service, "192.0.2.1", "eve", tenant="other") as eve,
    ):
        for _ in range(3):
            assert (await refusal_of(victor.start(step("x")))).reason == "PERMISSION_DENIED"
        assert (await refusal_of(victor.start(step("x")))).reason == "ADDRESS_BLOCKED"
        assert await refusal_if_any(eve.tools.ListTools(LIST)) is None


async def test_attempts_of_what_was_submitted_from_a_blocked_address_are_denied(served, connect):
    service = await served(trusted_proxies="127.0.0.1")
    gate = asyncio.Event()
    app = podium.Executor("gates")

    @app.tool
    async def gated() -> str:
        """Wait for the gate."""
        await gate.wait()
        return "through"

    await connect(app, to=service, tenant="acme")
    async with (
        calling_from(service, "10.0.0.1") as admin,
        calling_from(service, "203.0.113.9", "bob") as bob,
    ):
        workflow_id = await bob.start(step("gated", id="first"), step("gated", id="second", depends_on=["first"]))
        await block(admin, "203.0.113.9")
        gate.set()
        assert (await admin.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_FAILED
        events = await admin.history(workflow_id)
        denied = payload(events, "step_denied")
        assert (denied.step_id, denied.guard, denied.failure.reason) == ("second", "address", "ADDRESS_BLOCKED")
        assert payload(events, "step_succeeded").step_id == "first"


async def test_what_somebody_says_who_is_no_trusted_proxy_is_not_believed(served):
    service = await served(trusted_proxies="10.0.0.0/8")
    async with calling_from(service, "203.0.113.9") as caller:
        await block(caller, "203.0.113.9")
        assert await refusal_if_any(caller.tools.ListTools(LIST)) is None
        assert (await refusal_of(block(caller, "127.0.0.1"))).reason == "BLOCK_LOCKS_OUT"


@pytest.mark.parametrize("network", ["0.0.0.0/0", "10.0.0.1", "::ffff:10.0.0.0/104"])
@pytest.mark.parametrize("tenant", ["default", "acme"])
async def test_nobody_blocks_the_address_they_call_from(served, network, tenant):
    service = await served(trusted_proxies="127.0.0.1")
    async with calling_from(service, "10.0.0.1", tenant=tenant) as admin:
        refusal = await refusal_of(block(admin, network))
        assert (refusal.code, refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", "BLOCK_LOCKS_OUT", {"network"})
        await block(admin, "10.0.0.2")
        assert [each.network for each in await blocked(admin)] == ["10.0.0.2/32"]


async def test_a_proxy_that_does_not_tell_whom_it_heard_is_refused(served):
    service = await served(trusted_proxies="127.0.0.1", addresses={"block": ["198.51.100.0/24"]})
    for chain, reason in (
        ("203.0.113.9", None),
        ("203.0.113.9:4711", None),
        ("198.51.100.7:4711", "ADDRESS_BLOCKED"),
        ("198.51.100.7, unknown", "ADDRESS_UNKNOWN"),
        ("198.51.100.7,", "ADDRESS_UNKNOWN"),
        ("for=198.51.100.7", "ADDRESS_UNKNOWN"),
    ):
        async with calling_from(service, chain) as caller:
            refusal = await refusal_if_any(caller.tools.ListTools(LIST))
            assert (refusal and refusal.reason) == reason, chain


async def test_of_several_lines_of_the_header_the_last_alone_arrives(served):
    """Why proxies must append to one line: what the others say is lost before the service could read it."""
    service = await served(trusted_proxies="127.0.0.1", addresses={"block": ["198.51.100.0/24"]})
    token = service.token("ana", tenant="acme")
    for lines, reason in (
        (("203.0.113.9", "198.51.100.7"), "ADDRESS_BLOCKED"),
        (("198.51.100.7", "203.0.113.9"), None),
        (("198.51.100.7", "127.0.0.1"), None),
        (("198.51.100.7, 127.0.0.1",), "ADDRESS_BLOCKED"),
    ):
        metadata = (("authorization", f"Bearer {token}"), *(("x-forwarded-for", line) for line in lines))
        caller = Caller(service.address, token, metadata=metadata)
        refusal = await refusal_if_any(caller.tools.ListTools(LIST))
        await caller.close()
        assert (refusal and refusal.reason) == reason, lines


@pytest.mark.parametrize("network", ["", "nonsense", "203.0.113.9/24", "10.0.0.0/33", "0177.0.0.1", "1.2.3"])
async def test_what_is_no_network_is_not_blocked(caller, network):
    refusal = await refusal_of(block(caller, network))
    assert (refusal.code, refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", "INVALID_NETWORK", {"network"})
    with pytest.raises(grpc.aio.AioRpcError):
        await caller.access.UnblockAddress(access_service_pb2.UnblockAddressRequest(network="203.0.113.9"))


async def how_it_ends(stream):
    """Reads a stream to its end, and returns the reason for which it was ended."""
    try:
        while await stream.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return read_refusal(error).reason


@contextlib.asynccontextmanager
async def subscribed(caller):
    """A stream of the caller's that is open: it has told something."""
    stream = caller.events.Subscribe(event_service_pb2.SubscribeRequest(cursor=""))
    await caller.register("told")
    await stream.read()
    yield stream
    stream.cancel()


async def test_a_block_ends_the_streams_and_the_waiting_calls_from_there_and_no_others(served):
    service = await served(trusted_proxies="127.0.0.1")
    async with (
        calling_from(service, "10.0.0.1") as admin,
        calling_from(service, "203.0.113.9", "bob") as bob,
        calling_from(service, "203.0.114.9", "ann") as ann,
        calling_from(service, "203.0.113.9", "eve", tenant="other") as eve,
        subscribed(bob) as bobs,
        subscribed(ann) as anns,
        subscribed(eve) as eves,
    ):
        workflow_id = await admin.start(step("told"))
        request = workflow_service_pb2.AwaitWorkflowRequest(workflow_id=workflow_id)
        waiting = [each.workflows.AwaitWorkflow(request) for each in (bob, ann)]
        await bob.get(workflow_id)
        await block(admin, "203.0.113.0/24")
        assert await how_it_ends(bobs) == "ADDRESS_BLOCKED"
        await admin.cancel(workflow_id)
        assert (await refusal_of(waiting[0])).reason == "ADDRESS_BLOCKED"
        assert (await waiting[1]).workflow.workflow_id == workflow_id
        assert not anns.done()
        assert not eves.done()


async def test_what_the_operator_blocks_and_locks_out_ends_the_streams_of_every_tenant(served):
    lockout = {"failures": 2, "withinMs": 60_000, "blockMs": 60_000}
    service = await served(trusted_proxies="127.0.0.1", addresses={"lockout": lockout})
    async with (
        calling_from(service, "10.0.0.1", tenant="default") as operator,
        calling_from(service, "192.0.2.66", "bob") as bob,
        calling_from(service, "192.0.2.66", token="guess") as guesser,
        calling_from(service, "192.0.2.67", "eve", tenant="other") as eve,
        subscribed(bob) as bobs,
        subscribed(eve) as eves,
    ):
        for _ in range(2):
            await refusal_of(guesser.tools.ListTools(LIST))
        assert await how_it_ends(bobs) == "ADDRESS_BLOCKED"
        assert not eves.done()
        await block(operator, "192.0.2.67")
        assert await how_it_ends(eves) == "ADDRESS_BLOCKED"


async def test_the_blocks_are_listed_in_pages(served):
    service = await served(trusted_proxies="127.0.0.1")
    networks = ["192.0.2.0/24", "192.0.2.7/32", "198.51.100.0/24", "2001:db8::/32", "2001:db8:7::/48"]
    async with calling_from(service, "10.0.0.1") as admin:
        for network in networks:
            await block(admin, network)
        request, seen = access_service_pb2.ListBlockedAddressesRequest(page_size=2), []
        for size in (2, 2, 1):
            page = await admin.access.ListBlockedAddresses(request)
            assert len(page.addresses) == size
            seen += [each.network for each in page.addresses]
            request.page_token = page.next_page_token
        assert (seen, request.page_token) == (networks, "")
        for wrong in ("x", page_token("revocations", 1), page_token("addresses", "x")):
            request.page_token = wrong
            refusal = await refusal_of(admin.access.ListBlockedAddresses(request))
            assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", {"page_token"})
