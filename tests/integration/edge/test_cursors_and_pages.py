"""Cursors, page tokens and consistency tokens that are not from this service, or from another question, are refused."""

import base64

import pytest

from podium.v1 import audit_service_pb2, event_service_pb2, tool_service_pb2, value_pb2, workflow_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.refusal import invalid, refusal_of

pytestmark = pytest.mark.both_databases

NO_CURSOR = ["x", "0", "1:1", "0:", "0:-1", "0:1x", "0:٣", ":", "0:1:1", f"0:{2**70}"]


@pytest.fixture
async def ana(caller):
    await caller.register("note")
    await caller.register("other")
    return caller


@pytest.mark.parametrize("cursor", NO_CURSOR)
async def test_a_cursor_of_the_log_that_is_none_is_refused(ana, cursor):
    read = ana.events.ReadAll(event_service_pb2.ReadAllRequest(cursor=cursor))
    followed = ana.events.Subscribe(event_service_pb2.SubscribeRequest(cursor=cursor))
    assert (await invalid(read)).fields == {"cursor"}
    assert (await invalid(followed)).fields == {"cursor"}


async def test_a_cursor_beyond_the_log_is_refused_when_it_is_followed(ana):
    followed = ana.events.Subscribe(event_service_pb2.SubscribeRequest(cursor="0:123456789"))
    assert (await invalid(followed)).fields == {"cursor"}


async def test_a_version_beyond_any_stream_is_no_error(ana):
    frames = ana.events.ReadStream(event_service_pb2.ReadStreamRequest(stream_id="tool:note", after_version=2**64 - 1))
    assert [frame async for frame in frames] == []


@pytest.mark.parametrize("cursor", ["x", "1", ".", "1.", ".1", "-1.0", "1.0.0", "٣.0", f"{2**70}.0"])
async def test_a_cursor_of_a_workflow_that_is_none_is_refused(ana, cursor):
    workflow_id = await ana.start(step("note"))
    assert (await invalid(ana.watch(workflow_id, cursor=cursor))).fields == {"cursor"}


async def test_a_cursor_beyond_a_workflow_is_refused(ana):
    workflow_id = await ana.start(step("note"))
    assert (await invalid(ana.watch(workflow_id, cursor="1000.0"))).fields == {"cursor"}


@pytest.mark.parametrize("cursor", ["", "1.0"])
async def test_what_does_not_exist_cannot_be_watched(ana, cursor):
    refusal = await refusal_of(ana.watch("wf_nowhere", cursor=cursor))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "WORKFLOW_NOT_FOUND")


@pytest.mark.parametrize("name", ["wf_nowhere", "", "tool:note", "nonsense", "wf_" + "x" * 5000])
async def test_what_is_no_workflow_is_not_found(ana, name):
    requests = [
        ana.get(name),
        ana.workflows.ListSteps(workflow_service_pb2.ListStepsRequest(workflow_id=name)),
        ana.watch(name),
        ana.add(name, step("note")),
        ana.finish(name),
        ana.cancel(name),
        ana.replay(name),
    ]
    async with ana.recording_nothing():
        for request in requests:
            refusal = await refusal_of(request)
            assert (refusal.code, refusal.reason, refusal.domain) == ("NOT_FOUND", "WORKFLOW_NOT_FOUND", "podium")


def damaged(text):
    return [text[:-4], "AAAA" + text, "no token", base64.urlsafe_b64encode(b"steps:x").decode(), "é"]


async def test_a_page_token_of_the_steps_is_refused_when_it_is_damaged(ana):
    workflow_id = await ana.start(*[step("note") for _ in range(3)])
    request = workflow_service_pb2.ListStepsRequest(workflow_id=workflow_id, page_size=1)
    good = (await ana.workflows.ListSteps(request)).next_page_token
    for token in [*damaged(good), base64.urlsafe_b64encode(b"steps:-2").decode()]:
        request.page_token = token
        assert (await invalid(ana.workflows.ListSteps(request))).fields == {"page_token"}, token


async def test_a_page_token_of_the_tools_is_refused_when_it_is_damaged(ana):
    request = tool_service_pb2.ListToolsRequest(page_size=1)
    good = (await ana.tools.ListTools(request)).next_page_token
    for token in [*damaged(good)[2:], "AAAA"]:
        request.page_token = token
        assert (await invalid(ana.tools.ListTools(request))).fields == {"page_token"}, token


async def test_a_page_token_belongs_to_its_filter(ana):
    for _ in range(3):
        await ana.start(step("note"), name="one")
    token = await ana.token_of_start(step("note"), name="two")
    listed = workflow_service_pb2.ListWorkflowsRequest(page_size=1, name="one", consistency_token=token)
    page_token = (await ana.workflows.ListWorkflows(listed)).next_page_token
    other = workflow_service_pb2.ListWorkflowsRequest(page_size=1, name="two", page_token=page_token)
    states = [value_pb2.WORKFLOW_STATE_RUNNING]
    narrower = workflow_service_pb2.ListWorkflowsRequest(page_size=1, name="one", states=states, page_token=page_token)
    assert (await invalid(ana.workflows.ListWorkflows(other))).fields == {"page_token"}
    assert (await invalid(ana.workflows.ListWorkflows(narrower))).fields == {"page_token"}
    query = audit_service_pb2.QueryAuditRequest(page_size=1, consistency_token=token)
    page_token = (await ana.audit.QueryAudit(query)).next_page_token
    of_tool = audit_service_pb2.AuditFilter(tool="note")
    query = audit_service_pb2.QueryAuditRequest(filter=of_tool, page_token=page_token)
    assert (await invalid(ana.audit.QueryAudit(query))).fields == {"page_token"}


async def test_a_page_token_of_another_tenant_is_refused(ana, admit):
    await ana.start(step("note"))
    token = await ana.token_of_start(step("note"))
    request = workflow_service_pb2.ListWorkflowsRequest(page_size=1, consistency_token=token)
    request.page_token = (await ana.workflows.ListWorkflows(request)).next_page_token
    assert request.page_token
    stranger = admit(tenant="stranger")
    assert (await invalid(stranger.workflows.ListWorkflows(request))).fields == {"page_token"}


async def test_a_page_over_1000_is_refused_by_every_list(ana):
    workflow_id = await ana.start(step("note"))
    requests = [
        ana.workflows.ListWorkflows(workflow_service_pb2.ListWorkflowsRequest(page_size=1001)),
        ana.workflows.ListSteps(workflow_service_pb2.ListStepsRequest(workflow_id=workflow_id, page_size=1001)),
        ana.tools.ListTools(tool_service_pb2.ListToolsRequest(page_size=1001)),
        ana.audit.QueryAudit(audit_service_pb2.QueryAuditRequest(page_size=1001)),
    ]
    for request in requests:
        assert (await invalid(request)).fields == {"page_size"}


@pytest.mark.parametrize("token", ["x", "1:5", "0:x", f"0:{2**70}"])
async def test_a_consistency_token_that_is_none_is_refused(ana, token):
    requests = [
        ana.workflows.ListWorkflows(workflow_service_pb2.ListWorkflowsRequest(consistency_token=token)),
        ana.audit.QueryAudit(audit_service_pb2.QueryAuditRequest(consistency_token=token)),
        ana.audit.ExportAudit(audit_service_pb2.ExportAuditRequest(consistency_token=token)),
    ]
    for request in requests:
        assert (await invalid(request)).fields == {"consistency_token"}


async def test_types_that_do_not_exist_are_refused(ana):
    followed = ana.events.Subscribe(event_service_pb2.SubscribeRequest(types=["step_started"]))
    audit_filter = audit_service_pb2.AuditFilter(types=["step_started"])
    asked = ana.audit.QueryAudit(audit_service_pb2.QueryAuditRequest(filter=audit_filter))
    exported = ana.audit.ExportAudit(audit_service_pb2.ExportAuditRequest(filter=audit_filter))
    assert (await invalid(followed)).fields == {"types"}
    assert (await invalid(asked)).fields == {"filter.types"}
    assert (await invalid(exported)).fields == {"filter.types"}
