"""Queries of the audit trail: filters, order, pages, and tenants that do not see each other."""

import pytest

from podium.v1 import events_pb2 as e
from podium.v1.audit_service_pb2 import AuditFilter
from podium.v1.value_pb2 import Principal
from service.projections.audit import AuditTrail
from service.projections.audit_query import AuditFilterError, AuditQuery, _statement
from service.projections.paging import PageTokenError
from store.records import TYPE_NAMES
from tests.unit.projections.memory_log import MemoryLog
from tests.unit.projections.samples import check, record_history, step

ACME, ZENITH = "acme", "zenith"


@pytest.fixture
def log():
    log = MemoryLog(batch_events=7)
    record_history(log, ACME)
    record_history(log, ZENITH)
    return log


@pytest.fixture
async def query(following, log):
    async with following(AuditTrail, log) as runner:
        yield AuditQuery(runner.model)


async def found(query, tenant=ACME, **filter_fields):
    page = await query.page(tenant, AuditFilter(**filter_fields), page_size=1000)
    assert page.next_page_token == ""
    return page.items


def positions(entries):
    return [int(entry.event.removeprefix("0:")) for entry in entries]


async def test_every_event_has_one_entry_in_the_order_of_the_log(query, log):
    entries = await found(query)
    mine = [event for event in log.events if event.tenant == ACME]
    assert positions(entries) == [event.position for event in mine]
    assert [entry.type for entry in entries] == [TYPE_NAMES[event.type] for event in mine]
    assert [entry.recorded_at_us for entry in entries] == [event.recorded_at_us for event in mine]
    assert [entry.tenant_sequence for entry in entries] == list(range(1, len(mine) + 1))


async def test_a_tenant_sees_nothing_of_another(query, log):
    of_acme, of_zenith = await found(query, ACME), await found(query, ZENITH)
    assert not set(positions(of_acme)) & set(positions(of_zenith))
    assert len(of_acme) + len(of_zenith) == log.head
    assert await found(query, "") == await found(query, "acm%") == []


async def test_by_stream(query):
    entries = await found(query, stream_id="workflow-2")
    assert {entry.stream_id for entry in entries} == {"workflow-2"}
    assert len(entries) == 8


async def test_by_decision(query):
    denied = await found(query, decision=e.DECISION_DENY)
    assert [(entry.type, entry.step_id, entry.tool) for entry in denied] == [
        ("permission_checked", "step_4", "refund"),
        ("step_denied", "step_4", "refund"),
        ("step_denied", "step_5", "send_mail"),
    ]
    assert (denied[0].rule, denied[0].policy) == ("default-deny", "default@1")


async def test_by_subject_finds_who_caused_and_whose_authority_was_checked(query):
    entries = await found(query, subject="ana", stream_id="workflow-2")
    # In this workflow ana acted once, and once she caused carl's authority to be checked.
    assert [(entry.type, entry.principal.subject) for entry in entries] == [
        ("permission_checked", "carl"),
        ("attempt_started", "ana"),
    ]


async def test_by_subject_is_in_order_and_without_repeats(query):
    entries = await found(query, subject="carl")
    assert positions(entries) == sorted(set(positions(entries)))


async def test_by_tool_knows_the_tool_of_each_step(query):
    entries = await found(query, tool="search")
    assert [(entry.stream_id, entry.type) for entry in entries if entry.stream_id != "workflow-1"] == [
        ("tool/search", "tool_registered"),
        ("workflow-2", "steps_added"),
        ("workflow-2", "permission_checked"),
        ("workflow-2", "attempt_started"),
        ("workflow-2", "attempt_abandoned"),
        ("workflow-2", "step_canceled"),
    ]


async def test_the_items_of_a_for_each_step_have_its_tool(query):
    entries = await found(query, tool="read_page")
    assert {entry.step_id for entry in entries} == {"extract", "extract[0]", "extract[1]"}


async def test_by_type(query):
    entries = await found(query, types=["workflow_canceled", "workflow_succeeded", "tool_registered"])
    assert [entry.type for entry in entries] == ["tool_registered", "workflow_canceled", "workflow_succeeded"]


async def test_a_type_that_does_not_exist_is_refused(query):
    with pytest.raises(AuditFilterError, match="step_sucseeded"):
        await found(query, types=["step_sucseeded"])


async def test_by_time_from_is_included_and_until_is_not(query, log):
    first, last = log.events[4], log.events[9]
    entries = await found(query, from_us=first.recorded_at_us, until_us=last.recorded_at_us)
    assert positions(entries) == [5, 6, 7, 8, 9]


async def test_times_beyond_the_trail_are_no_error(query, log):
    after_all = log.events[-1].recorded_at_us + 1
    assert await found(query, from_us=after_all) == []
    assert await found(query, until_us=1) == []
    assert await found(query, from_us=1, until_us=after_all) == await found(query)


@pytest.mark.parametrize(
    "fields",
    [
        {"tool": "search", "subject": "ana", "types": ["permission_checked"]},
        {"subject": "carl", "decision": e.DECISION_ALLOW, "stream_id": "workflow-2"},
        {"decision": e.DECISION_DENY, "tool": "refund", "subject": "ana"},
        {"tool": "search", "types": ["attempt_started", "step_succeeded"]},
        {"decision": e.DECISION_ALLOW, "types": ["permission_checked"]},
    ],
)
async def test_every_field_of_a_filter_must_match(query, fields):
    one_by_one = [set(positions(await found(query, **{name: value}))) for name, value in fields.items()]
    together = positions(await found(query, **fields))
    assert together == sorted(set.intersection(*one_by_one))
    assert together


async def test_pages_follow_each_other_while_the_trail_grows(query, log):
    wanted = AuditFilter(subject="carl")
    before = positions(await found(query, subject="carl"))
    page, seen = await query.page(ACME, wanted, page_size=3), []
    while page.next_page_token:
        seen += positions(page.items)
        assert len(page.items) == 3
        await log.append(ACME, "workflow-9", e.WorkflowFinishRequested(), principal=Principal(subject="carl"))
        page = await query.page(ACME, wanted, page_size=3, page_token=page.next_page_token)
    seen += positions(page.items)
    assert seen[: len(before)] == before
    assert seen == sorted(set(seen))


async def test_a_token_continues_only_its_own_filter_and_tenant(query):
    page = await query.page(ACME, AuditFilter(tool="search"), page_size=1)
    for tenant, wanted in [
        (ACME, AuditFilter(tool="refund")),
        (ACME, AuditFilter()),
        (ZENITH, AuditFilter(tool="search")),
    ]:
        with pytest.raises(PageTokenError):
            await query.page(tenant, wanted, page_size=1, page_token=page.next_page_token)


async def test_the_order_of_the_types_does_not_make_another_filter(query):
    page = await query.page(ACME, AuditFilter(types=["step_failed", "steps_added"]), page_size=1)
    again = AuditFilter(types=["steps_added", "step_failed", "steps_added"])
    assert (await query.page(ACME, again, page_size=1, page_token=page.next_page_token)).items


async def test_an_entry_has_its_principal(query):
    [entry] = await found(query, types=["workflow_finish_requested"])
    assert entry.principal == Principal(subject="carl")
    [entry] = await found(query, types=["workflow_succeeded"])
    assert not entry.HasField("principal")


async def test_a_restart_between_a_step_and_its_events_does_not_lose_its_tool(following):
    log = MemoryLog()
    log.record(ACME, "workflow-1", e.StepsAdded(steps=[step("step_1", "search")]))
    async with following(AuditTrail, log):
        pass
    log.record(ACME, "workflow-1", e.StepSucceeded(step_id="step_1"))
    async with following(AuditTrail, log) as runner:
        assert (await found(AuditQuery(runner.model), types=["step_succeeded"]))[0].tool == "search"


async def test_the_same_step_id_in_two_workflows_keeps_two_tools(following):
    log = MemoryLog()
    for tenant, stream_id, tool in [(ACME, "w-1", "search"), (ACME, "w-2", "refund"), (ZENITH, "w-1", "publish")]:
        log.record(tenant, stream_id, e.StepsAdded(steps=[step("step_1", tool)]), e.StepCanceled(step_id="step_1"))
    async with following(AuditTrail, log) as runner:
        query = AuditQuery(runner.model)
        assert [entry.tool for entry in await found(query, types=["step_canceled"])] == ["search", "refund"]
        assert [entry.tool for entry in await found(query, ZENITH, types=["step_canceled"])] == ["publish"]


@pytest.mark.parametrize(
    ("fields", "index"),
    [
        ({}, "by_tenant"),
        ({"stream_id": "w", "types": ["step_failed"], "tool": "t", "subject": "s"}, "by_stream"),
        ({"from_us": 1, "until_us": 2}, "by_tenant"),
        ({"tool": "t", "types": ["step_failed"]}, "by_tool"),
        ({"tool": "t", "from_us": 1, "until_us": 2}, "by_tool"),
        ({"types": ["step_failed"], "from_us": 1, "until_us": 2}, "by_type"),
        ({"decision": e.DECISION_DENY, "tool": "t", "subject": "s"}, "by_decision"),
        ({"decision": e.DECISION_ALLOW, "types": ["permission_checked"]}, "by_type"),
        ({"decision": e.DECISION_ALLOW}, "by_decision"),
    ],
)
@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_page_walks_one_index_and_sorts_nothing_though_sqlite_has_no_statistics(following, log, fields, index):
    def explain(connection, trail):
        statement = _statement(trail.lines, ACME, AuditFilter(**fields), 0, 100)
        compiled = statement.compile(connection, compile_kwargs={"render_postcompile": True})
        bound = tuple(compiled.params[name] for name in compiled.positiontup)
        return [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", bound)]

    async with following(AuditTrail, log) as runner:
        plan = await runner.model.read(explain)
    assert f"SEARCH audit_1 USING INDEX audit_1_{index} " in plan[0]
    assert not any("TEMP B-TREE" in line for line in plan), plan


async def test_an_unknown_event_keeps_the_sequence_whole(following):
    log = MemoryLog()
    log.record(ACME, "workflow-1", check("step_1", "search", e.DECISION_ALLOW))
    unknown = e.Event(position=2, tenant_sequence=2, tenant=ACME, stream_id="workflow-1", type=4711, ignorable=True)
    log.record_bytes(ACME, "workflow-1", 4711, unknown.SerializeToString())
    async with following(AuditTrail, log) as runner:
        entries = await found(AuditQuery(runner.model))
    assert [(entry.tenant_sequence, entry.type) for entry in entries] == [
        (1, "permission_checked"),
        (2, "unknown_4711"),
    ]
