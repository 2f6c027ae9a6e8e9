"""The export of the audit trail: whole lines, all of them, with a bounded number in memory."""

import json

import pytest

from podium.v1 import events_pb2 as e
from podium.v1.audit_service_pb2 import AuditFilter
from service.projections.audit import AuditTrail
from service.projections.audit_query import READ_EVENTS, AuditFilterError, AuditQuery
from tests.unit.projections.memory_log import MemoryLog
from tests.unit.projections.samples import DIGEST, check, record_history

ACME, ZENITH = "acme", "zenith"
EVENTS_EACH = 3 * READ_EVENTS


@pytest.fixture
def log():
    """Two tenants' events, one after the other in turn."""
    log = MemoryLog()
    for number in range(EVENTS_EACH):
        for tenant in (ACME, ZENITH):
            log.record(tenant, "workflow-1", e.StepCanceled(step_id=f"step_{number}"))
    return log


@pytest.fixture
async def query(following, log):
    async with following(AuditTrail, log) as runner:
        yield AuditQuery(runner.model, log)


async def exported(query, tenant=ACME, **filter_fields):
    return [block async for block in query.export(tenant, AuditFilter(**filter_fields))]


def lines(blocks):
    return [json.loads(line) for line in b"".join(blocks).splitlines()]


async def test_it_is_complete_by_tenant_sequence(query):
    assert [line["tenant_sequence"] for line in lines(await exported(query))] == list(range(1, EVENTS_EACH + 1))


async def test_a_tenant_exports_its_own_events(query, log):
    positions = [line["event"] for line in lines(await exported(query, ZENITH))]
    assert positions == [f"0:{event.position}" for event in log.events if event.tenant == ZENITH]


async def test_it_comes_in_blocks_of_whole_lines(query):
    blocks = await exported(query)
    assert len(blocks) >= EVENTS_EACH // READ_EVENTS
    for block in blocks:
        assert block.endswith(b"\n")
        assert block.count(b"\n") <= READ_EVENTS


async def test_it_ends_where_the_trail_was_when_it_began(query, log):
    export = query.export(ACME, AuditFilter())
    first = await anext(export)
    await log.append(ACME, "workflow-1", e.WorkflowCanceled())
    rest = [block async for block in export]
    assert len(lines([first, *rest])) == EVENTS_EACH


async def test_it_is_filtered_like_a_query(query, log):
    wanted = {"from_us": log.events[100].recorded_at_us, "until_us": log.events[900].recorded_at_us}
    page = await query.page(ACME, AuditFilter(**wanted), page_size=1000)
    assert [line["event"] for line in lines(await exported(query, **wanted))] == [item.event for item in page.items]


async def test_nothing_found_is_an_empty_export(query):
    assert await exported(query, tool="refund") == []
    assert await exported(query, "nobody") == []


async def test_a_type_that_does_not_exist_is_refused(query):
    with pytest.raises(AuditFilterError):
        await exported(query, types=["step_sucseeded"])


async def test_every_line_has_the_same_fields_in_the_same_order(following):
    log = MemoryLog()
    record_history(log)
    async with following(AuditTrail, log) as runner:
        found = lines(await exported(AuditQuery(runner.model, log)))
    fields = {tuple(line) for line in found}
    assert fields == {
        (
            *("event", "tenant_sequence", "recorded_at", "stream_id", "type", "step_id", "tool", "principal"),
            *("decision", "rule", "policy", "summary", "details"),
        )
    }


async def test_a_line_tells_time_decision_and_digests_in_words(following):
    log = MemoryLog()
    log.record(ACME, "workflow-1", check("step_1", "search", e.DECISION_ALLOW))
    async with following(AuditTrail, log) as runner:
        [line] = lines(await exported(AuditQuery(runner.model, log)))
    assert line["event"] == "0:1"
    assert line["recorded_at"] == "2023-11-14T22:13:21.000003Z"
    assert line["decision"] == "allow"
    assert line["details"]["arguments_digest"] == DIGEST.hex()
    assert line["principal"]["on_behalf_of"] == "bob"
