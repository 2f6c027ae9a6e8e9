"""Refused requests are events: durable before the caller is told, counted when there are many, and without secrets."""

import asyncio
from collections import Counter

import pytest

from podium.v1 import access_service_pb2, executor_service_pb2, tool_service_pb2
from tests.integration.rig.caller import REFUSALS, Caller, step
from tests.integration.rig.history import kind, place
from tests.integration.rig.raw_executor import tool
from tests.integration.rig.refusal import refusal_of

pytestmark = pytest.mark.both_databases

CANARY = "canary-4f1e"


async def recorded(caller, refusal):
    """The event that a refusal names."""
    [event] = [event for event in await caller.history(REFUSALS) if place(event) == refusal.metadata["event"]]
    return event


async def test_a_denied_request_is_recorded_with_what_it_needed(admit, caller):
    victor = admit("victor", roles=["viewer"])
    refusal = await refusal_of(victor.start(step("x")))
    event = await recorded(caller, refusal)
    denied = event.request_denied
    assert denied.method == "/podium.v1.WorkflowService/StartWorkflow"
    assert (denied.reason, denied.required, denied.rule) == ("PERMISSION_DENIED", "workflows.start", "default-deny")
    assert (denied.policy, denied.policy_revision, denied.count) == ("default", 0, 1)
    assert (denied.principal.subject, denied.principal.address) == ("victor", "127.0.0.1")
    assert 0 <= event.recorded_at_us - denied.first_at_us < 5_000_000


async def test_a_denial_in_a_servicer_names_the_resource(admit, caller):
    one_tool = admit("one-tool", roles=["executor"], scopes=["tools.register:mine"])
    denied = (await recorded(caller, await refusal_of(one_tool.register("yours")))).request_denied
    assert (denied.required, denied.resource) == ("tools.register", "yours")


@pytest.mark.parametrize(
    ("submit", "reason"),
    [
        (lambda c: c.start(step("nothing")), "INVALID_WORKFLOW"),
        (lambda c: c.start(), "EMPTY_WORKFLOW"),
        (lambda c: c.call("nothing"), "INVALID_WORKFLOW"),
        (lambda c: c.register("no schema", schema={"type": 7}), "INVALID_TOOL"),
        (lambda c: c.add("wf_nothing", step("x")), "WORKFLOW_NOT_FOUND"),
    ],
)
async def test_a_refused_submission_is_recorded(caller, submit, reason):
    refusal = await refusal_of(submit(caller))
    refused = (await recorded(caller, refusal)).submission_refused
    assert (refused.reason, refused.principal.subject, refused.count) == (refusal.reason, "ana", 1)
    assert refusal.reason == reason


SANITIZED = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "x-podium-sanitize": {"path": {"roots": ["/srv/data"]}}},
        "note": {"type": "string", "x-podium-sanitize": {"text": {}}},
        "times": {"type": "integer"},
    },
}


@pytest.mark.parametrize(
    ("submit", "field"),
    [
        (lambda c, bad: c.call("read", bad), "call.arguments.path"),
        (lambda c, bad: c.start(step("read", {}), step("read", bad)), "steps[1].arguments.path"),
        (lambda c, bad: c.start(step("read", {"times": "no"}), step("read", bad)), "steps[1].arguments.path"),
    ],
    ids=["direct call", "literal step", "beside another mistake"],
)
async def test_what_a_sanitizer_refuses_is_recorded_with_the_sanitizer_and_its_reason(caller, submit, field):
    await caller.register("read", SANITIZED)
    refusal = await refusal_of(submit(caller, {"path": f"../{CANARY}"}))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INPUT_REJECTED")
    assert field in refusal.fields
    refused = (await recorded(caller, refusal)).submission_refused
    assert (refused.reason, refused.field) == ("INPUT_REJECTED", field)
    assert (refused.guard, refused.sanitizer_reason) == ("path", "PATH_TRAVERSAL")
    assert CANARY not in str(refused)


async def test_what_a_schema_refuses_is_recorded_without_a_sanitizer(caller):
    await caller.register("read", SANITIZED)
    refusal = await refusal_of(caller.call("read", {"times": "no"}))
    refused = (await recorded(caller, refusal)).submission_refused
    assert (refused.reason, refused.field) == ("INVALID_WORKFLOW", "call.arguments.times")
    assert (refused.guard, refused.sanitizer_reason) == ("", "")


async def test_what_different_sanitizers_refuse_is_counted_apart(caller):
    await caller.register("read", SANITIZED)
    for arguments in ({"path": "../a"}, {"note": "\x00"}, {"path": "../a"}):
        await refusal_of(caller.call("read", arguments))
    assert [(each.guard, each.sanitizer_reason) for each in await caller.refusals()] == [
        ("path", "PATH_TRAVERSAL"),
        ("text", "CONTROL_CHARACTER"),
    ]


async def test_a_refused_hello_is_recorded(caller):
    async def hello():
        frame = executor_service_pb2.SessionRequest()
        frame.items.add().hello.CopyFrom(executor_service_pb2.Hello(executor="x", tools=[], max_attempts=1))
        yield frame

    refusal = await refusal_of(caller.executors.Session(hello()))
    assert (await recorded(caller, refusal)).submission_refused.reason == "INVALID_HELLO"


async def test_a_read_that_is_refused_for_what_it_asks_is_no_event(caller):
    async with caller.recording_nothing():
        await refusal_of(caller.get("wf_nothing"))
    assert await caller.refusals() == []


async def test_a_failed_authentication_is_the_operators_to_see(service, admit):
    operator = admit("operator", tenant="default")
    stranger = Caller(service.address, f"{CANARY}.{CANARY}.{CANARY}")
    refusal = await refusal_of(stranger.start(step("x")))
    assert refusal.metadata == {}
    events = [event for event in await operator.history(REFUSALS) if kind(event) == "authentication_failed"]
    assert ("TOKEN_INVALID", "127.0.0.1") in {
        (event.authentication_failed.reason, event.authentication_failed.address) for event in events
    }
    assert CANARY.encode() not in b"".join(event.SerializeToString() for event in events)
    await stranger.close()


async def test_what_was_refused_is_in_no_event(caller):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    await caller.register("strict", schema=schema)
    await refusal_of(caller.call("strict", {"n": CANARY}))
    await refusal_of(caller.tools.RegisterTool(tool_service_pb2.RegisterToolRequest(definition=tool(f"{CANARY} no"))))
    await refusal_of(caller.access.BlockAddress(access_service_pb2.BlockAddressRequest(network=CANARY)))
    events = await caller.history(REFUSALS)
    assert len(events) == 2
    assert CANARY.encode() not in b"".join(event.SerializeToString() for event in events)


async def test_ten_thousand_refusals_of_many_fake_keys_are_a_few_events_and_all_are_counted(served, admit):
    """Behind a trusted proxy each comes from an address of its own: kinds without end, for an attacker."""
    service = await served(trusted_proxies="127.0.0.1")
    ana = admit(to=service, tenant="default")
    strangers = [Caller(service.address, "nobody") for _ in range(4)]

    async def knock(number):
        stub = strangers[number % 4]
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        metadata = (("authorization", "Bearer nobody"), ("x-forwarded-for", address))
        call = stub.channel.unary_unary("/podium.v1.WorkflowService/GetWorkflow")
        return await refusal_of(call(b"", metadata=metadata, timeout=30))

    for first in range(0, 10_000, 500):
        refusals = await asyncio.gather(*(knock(number) for number in range(first, first + 500)))
        assert {refusal.reason for refusal in refusals} == {"TOKEN_INVALID"}
    for stranger in strangers:
        await stranger.close()
    await ana.close()
    # What was only counted is written when it drains.
    await asyncio.to_thread(service.stop)
    await asyncio.to_thread(service.start)
    failed = await admit(to=service, tenant="default").refusals()
    assert sum(each.count for each in failed) == 10_000
    assert len(failed) < 300
    assert {each.reason for each in failed} == {"TOKEN_INVALID"}


async def test_a_repeated_refusal_is_recorded_once_and_counted(caller, admit):
    victor = admit("victor", roles=["viewer"])
    refusals = [await refusal_of(victor.start(step("x"))) for _ in range(50)]
    assert {refusal.metadata["event"] for refusal in refusals} == {refusals[0].metadata["event"]}
    assert [each.count for each in await caller.refusals()] == [1]


async def test_the_humans_behind_one_agent_are_told_apart_and_each_is_told_its_own_event(caller, admit):
    for human in ("alice", "bob", "carol"):
        agent = admit("reader", roles=["viewer"], on_behalf_of=human)
        denied = (await recorded(caller, await refusal_of(agent.start(step("x"))))).request_denied
        assert (denied.principal.on_behalf_of, denied.count) == (human, 1)
    assert len({each.principal.token_id for each in await caller.refusals()}) == 3


async def test_what_was_asked_for_is_told_apart_and_only_what_is_alike_is_counted(own_service, admit):
    service = own_service().start()
    reader = admit("reader", to=service, roles=["executor"], scopes=["tools.register:mine"])
    asked = ["refund", "refund", "quote", "refund", "quote", "nope", "slow"]
    told = [(await refusal_of(reader.register(name))).metadata["event"] for name in asked]
    # Each caller is told an event that names what it asked for.
    named = {place(event): event.request_denied for event in await admit(to=service).history(REFUSALS)}
    assert [named[event].resource for event in told] == asked
    await reader.close()
    # What was only counted is written when it drains.
    await asyncio.to_thread(service.stop)
    await asyncio.to_thread(service.start)
    counts = Counter()
    for denied in await admit(to=service).refusals():
        counts[denied.resource] += denied.count
    assert counts == Counter(asked)


async def test_the_audit_trail_tells_of_refusals(caller, admit, service, tenant):
    await refusal_of(admit("victor", roles=["viewer"]).start(step("x")))
    await refusal_of(caller.start())
    assert [kind(event) for event in await caller.history(REFUSALS)] == ["request_denied", "submission_refused"]
