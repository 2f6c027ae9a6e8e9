"""The audit trail is complete, filtered as asked, and as far as the consistency token says."""

import json

import pytest

from podium.v1 import audit_service_pb2, definition_pb2, events_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import kinds
from tests.integration.rig.refusal import refusal_of
from tests.integration.rig.toolbox import toolbox


@pytest.fixture
async def trail(admit, caller, connect):
    """A trail with an allowed, a denied and a failed step; the token that names its end."""
    await connect(toolbox())
    agent = admit("bob", roles=["agent"], on_behalf_of="carla")
    on = {"on_failure": definition_pb2.ON_FAILURE_CONTINUE}
    workflow_id = await agent.start(
        step("echo", {"value": "a secret"}), step("pay", {"cents": 5}, **on), step("careless", **on), name="audited"
    )
    await agent.ended(workflow_id)
    caller.workflow_id = workflow_id
    caller.token_at_end = f"0:{(await caller.log())[-1].position}"
    return caller


async def entries(caller, *, page_size=1000, **wanted):
    """All entries a filter gives, over as many pages as it takes."""
    request = audit_service_pb2.QueryAuditRequest(
        filter=audit_service_pb2.AuditFilter(**wanted), page_size=page_size, consistency_token=caller.token_at_end
    )
    found = []
    while True:
        page = await caller.audit.QueryAudit(request)
        found += page.entries
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def lines(caller, **wanted):
    """The export's lines, as text."""
    request = audit_service_pb2.ExportAuditRequest(
        filter=audit_service_pb2.AuditFilter(**wanted), consistency_token=caller.token_at_end
    )
    data = [frame.data async for frame in caller.audit.ExportAudit(request)]
    assert all(each.endswith(b"\n") for each in data), "a message holds whole lines"
    return b"".join(data).decode().splitlines()


async def test_every_event_of_the_tenant_has_its_line_and_no_sequence_is_missing(trail):
    log = await trail.log()
    found = await entries(trail)
    assert [each.tenant_sequence for each in found] == list(range(1, len(log) + 1))
    assert [(each.event, each.type, each.stream_id) for each in found] == [
        (f"0:{event.position}", event.WhichOneof("payload"), event.stream_id) for event in log
    ]
    assert all(each.summary for each in found)
    exported = [json.loads(line) for line in await lines(trail)]
    assert [(each["event"], each["tenant_sequence"], each["type"]) for each in exported] == [
        (each.event, each.tenant_sequence, each.type) for each in found
    ]


async def test_pages_of_any_size_give_the_same_trail(trail):
    whole = await entries(trail)
    for size in (1, 3, 7):
        assert await entries(trail, page_size=size) == whole


async def test_a_read_waits_for_what_its_token_names(trail, admit):
    for number in range(10):
        trail.token_at_end = await trail.token_of_start(step("echo", {"value": number}), open=True, name=f"n{number}")
        position = int(trail.token_at_end.partition(":")[2])
        found = await entries(trail)
        assert max(int(each.event.partition(":")[2]) for each in found) >= position


async def test_a_denial_says_who_wanted_what_and_which_rule_refused_it(trail):
    denial, ending = await entries(trail, decision=events_pb2.DECISION_DENY)
    assert (denial.type, ending.type) == ("permission_checked", "step_denied")
    assert (denial.step_id, denial.tool) == ("step_2", "pay")
    assert (denial.rule, denial.policy) == ("default-deny", "default@0")
    assert (denial.principal.subject, denial.principal.on_behalf_of) == ("bob", "carla")
    assert "pay" in denial.summary
    line, _ = [json.loads(each) for each in await lines(trail, decision=events_pb2.DECISION_DENY)]
    assert (line["decision"], line["rule"], line["principal"]["subject"]) == ("deny", "default-deny", "bob")


async def test_filters_narrow_the_trail_and_all_must_match(trail):
    history = await trail.history(trail.workflow_id)
    of_workflow = await entries(trail, stream_id=trail.workflow_id)
    assert [each.type for each in of_workflow] == kinds(history)
    of_tool = await entries(trail, tool="careless", stream_id=trail.workflow_id)
    assert {each.step_id for each in of_tool} == {"step_3"}
    of_type = await entries(trail, types=["attempt_started", "step_denied"])
    assert {each.type for each in of_type} == {"attempt_started", "step_denied"}
    started_us = history[0].recorded_at_us
    later = await entries(trail, from_us=started_us)
    assert [each.tenant_sequence for each in later] == [
        each.tenant_sequence for each in await entries(trail) if each.recorded_at_us >= started_us
    ]
    earlier = await entries(trail, until_us=started_us)
    assert len(earlier) + len(later) == len(await entries(trail))
    assert {each.type for each in earlier} == {"tool_registered"}
    assert await entries(trail, subject="nobody") == []
    assert {each.stream_id for each in await entries(trail, subject="bob")} == {trail.workflow_id}


async def test_no_value_is_copied_into_the_trail(trail):
    text = "\n".join(await lines(trail))
    assert "a secret" not in text
    assert "it broke" not in text, "what a tool says may quote its arguments"


async def test_only_who_may_read_the_trail_does(admit):
    for role in ("agent", "executor", "viewer"):
        reader = admit("bob", roles=[role])
        for call in (
            reader.audit.QueryAudit(audit_service_pb2.QueryAuditRequest()),
            reader.audit.ExportAudit(audit_service_pb2.ExportAuditRequest()),
        ):
            assert (await refusal_of(call)).code == "PERMISSION_DENIED"
    auditor = admit("eve", roles=["auditor"])
    await auditor.audit.QueryAudit(audit_service_pb2.QueryAuditRequest())


async def test_the_export_of_a_long_trail_is_complete(caller, connect):
    await connect(toolbox(max_parallel=32))
    workflow_id = await caller.start(*[step("echo", {"value": n}) for n in range(300)])
    await caller.ended(workflow_id)
    log = await caller.log()
    caller.token_at_end = f"0:{log[-1].position}"
    exported = [json.loads(line)["tenant_sequence"] for line in await lines(caller)]
    assert exported == list(range(1, len(log) + 1))
