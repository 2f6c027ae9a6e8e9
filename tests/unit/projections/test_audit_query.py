"""Queries of the audit trail: filters, order, pages, and tenants that do not see each other."""

import pytest

from podium.v1 import events_pb2 as e
from podium.v1.audit_service_pb2 import AuditFilter
from podium.v1.value_pb2 import Principal
from service.projections import audit, audit_query
from service.projections.audit import BLOCK_EVENTS, AuditTrail, conditions
from service.projections.audit_lines import line_of
from service.projections.audit_query import AuditFilterError, AuditQuery
from service.projections.paging import PageTokenError
from store.records import TYPE_NAMES, decode_record, known_payload
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
        yield AuditQuery(runner.model, log)


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
        ("request_denied", "", ""),
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
        ("breaker/search", "breaker_transitioned"),
        ("breaker/search", "breaker_transitioned"),
        ("cache", "cache_invalidated"),
        ("health/search", "tool_health_changed"),
        ("health/search", "tool_health_changed"),
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
        assert (await found(AuditQuery(runner.model, log), types=["step_succeeded"]))[0].tool == "search"


async def test_the_same_step_id_in_two_workflows_keeps_two_tools(following):
    log = MemoryLog()
    for tenant, stream_id, tool in [(ACME, "w-1", "search"), (ACME, "w-2", "refund"), (ZENITH, "w-1", "publish")]:
        log.record(tenant, stream_id, e.StepsAdded(steps=[step("step_1", tool)]), e.StepCanceled(step_id="step_1"))
    async with following(AuditTrail, log) as runner:
        query = AuditQuery(runner.model, log)
        assert [entry.tool for entry in await found(query, types=["step_canceled"])] == ["search", "refund"]
        assert [entry.tool for entry in await found(query, ZENITH, types=["step_canceled"])] == ["publish"]


@pytest.mark.parametrize(
    "fields",
    [
        {"tool": "t", "types": [29]},
        {"subject": "s"},
        {"decision": e.DECISION_DENY, "tool": "t", "subject": "s"},
        {"decision": e.DECISION_ALLOW, "types": [26]},
    ],
)
@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_blocks_are_found_in_their_order_and_nothing_is_sorted_though_sqlite_has_no_statistics(
    following, log, fields
):
    def explain(connection, trail):
        statement = trail.blocks_query(ACME, conditions(**fields), 0, 9, 100)
        compiled = statement.compile(connection, compile_kwargs={"render_postcompile": True})
        bound = tuple(compiled.params[name] for name in compiled.positiontup)
        return [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", bound)]

    async with following(AuditTrail, log) as runner:
        plan = await runner.model.read(explain)
    assert all(" USING PRIMARY KEY " in line for line in plan if line.startswith(("SEARCH", "SCAN"))), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan


def lines_of(log, tenant):
    """Every line of a tenant with what it can be found by, the slow way: over the whole log, and without an index."""
    tools = {}
    for recorded in log.events:
        event = decode_record(recorded.record)
        for added in event.steps_added.steps:
            tools[recorded[1:3], added.id] = added.tool
        line = line_of(event)
        if recorded.tenant == tenant:
            tool = line.tool or tools.get((recorded[1:3], line.step_id.partition("[")[0]), "")
            subjects = {event.principal.subject, (line.authority or event.principal).subject} - {""}
            yield recorded, tool, subjects, line.decision


@pytest.fixture
def long_log():
    """The history with every event in a block of its own, so that nothing is found because of its neighbours."""
    history, log = MemoryLog(), MemoryLog(batch_events=90)
    record_history(history, ACME)
    for recorded in history.events:
        event = decode_record(recorded.record)
        principal = event.principal if event.HasField("principal") else None
        log.record(ACME, event.stream_id, known_payload(event), principal=principal)
        log.record(ZENITH, "quiet", *(e.WorkflowSucceeded() for _ in range(BLOCK_EVENTS - 1)))
    return log


async def test_every_filter_finds_over_many_blocks_what_a_walk_over_the_whole_log_finds(following, long_log):
    lines = list(lines_of(long_log, ACME))
    filters = [
        *({"tool": tool} for tool in {tool for _, tool, _, _ in lines if tool}),
        *({"subject": subject} for subject in set().union(*(subjects for _, _, subjects, _ in lines))),
        *({"decision": decision} for decision in (e.DECISION_ALLOW, e.DECISION_DENY)),
        *({"types": [name]} for name in TYPE_NAMES.values()),
        *({"stream_id": stream_id} for stream_id in ("workflow-1", "tool/search", "nothing")),
        {"tool": "search", "types": ["attempt_started", "step_succeeded"]},
        {"tool": "search", "subject": "ana", "decision": e.DECISION_ALLOW, "stream_id": "workflow-2"},
        {"subject": "carl", "from_us": lines[9][0].recorded_at_us, "until_us": lines[-3][0].recorded_at_us},
        {"stream_id": "workflow-1", "from_us": lines[9][0].recorded_at_us},
    ]
    async with following(AuditTrail, long_log) as runner:
        query = AuditQuery(runner.model, long_log)
        for wanted in filters:
            expected = [
                recorded.position
                for recorded, tool, subjects, decision in lines
                if tool == wanted.get("tool", tool)
                and (wanted.get("subject") is None or wanted["subject"] in subjects)
                and decision == wanted.get("decision", decision)
                and TYPE_NAMES[recorded.type] in wanted.get("types", TYPE_NAMES.values())
                and recorded.stream_id == wanted.get("stream_id", recorded.stream_id)
                and wanted.get("from_us", 0) <= recorded.recorded_at_us < wanted.get("until_us", 1 << 62)
            ]
            assert positions(await found(query, **wanted)) == expected, wanted
            seen, token = [], ""
            while not seen or token:
                page = await query.page(ACME, AuditFilter(**wanted), page_size=5, page_token=token)
                seen, token = [*seen, *positions(page.items)], page.next_page_token
                assert page.items or not expected
                if not expected:
                    break
            assert seen == expected, wanted


async def test_a_filter_reads_the_blocks_that_have_what_it_asks_for_and_no_others(following, long_log):
    class Counting:
        def __init__(self):
            self.read = 0

        async def read_all(self, after_position=0, limit=1000, tenant=None):
            events = await long_log.read_all(after_position, limit, tenant)
            self.read += len(events)
            return events

    async with following(AuditTrail, long_log) as runner:
        counting = Counting()
        assert len(await found(AuditQuery(runner.model, counting), decision=e.DECISION_DENY)) == 4
        assert counting.read == 4 * BLOCK_EVENTS < long_log.head
        counting.read = 0
        # Each is in some of the blocks; in none are both.
        assert (
            await found(AuditQuery(runner.model, counting), decision=e.DECISION_DENY, types=["tool_registered"]) == []
        )
        assert counting.read <= 6 * BLOCK_EVENTS


async def test_the_tools_of_more_streams_than_memory_keeps_are_known_all_the_same(following, monkeypatch):
    monkeypatch.setattr(audit, "STREAMS_KEPT", 3)
    monkeypatch.setattr(audit_query, "STREAMS_KEPT", 2)
    log = MemoryLog(batch_events=4)
    for payload in (
        lambda n: e.StepsAdded(steps=[step("step_1", f"tool_{n}")]),
        lambda _: e.StepSucceeded(step_id="step_1"),
    ):
        for number in range(10):
            log.record(ACME, f"workflow-{number}", payload(number))
    async with following(AuditTrail, log) as runner:
        query = AuditQuery(runner.model, log)
        assert [entry.tool for entry in await found(query)] == 2 * [f"tool_{number}" for number in range(10)]
        assert positions(await found(query, tool="tool_4")) == [5, 15]


async def test_an_unknown_event_keeps_the_sequence_whole(following):
    log = MemoryLog()
    log.record(ACME, "workflow-1", check("step_1", "search", e.DECISION_ALLOW))
    unknown = e.Event(position=2, tenant_sequence=2, tenant=ACME, stream_id="workflow-1", type=4711, ignorable=True)
    log.record_bytes(ACME, "workflow-1", 4711, unknown.SerializeToString())
    async with following(AuditTrail, log) as runner:
        entries = await found(AuditQuery(runner.model, log))
    assert [(entry.tenant_sequence, entry.type) for entry in entries] == [
        (1, "permission_checked"),
        (2, "unknown_4711"),
    ]


FALLS_BACK = [
    ("flaky", e.StepsAdded(steps=[step("step_1", "flaky"), step("each", "flaky")])),
    ("flaky", e.AttemptStarted(step_id="step_1", attempt=1)),
    ("mirror", e.FallbackTried(step_id="step_1", link=1, tool="mirror")),
    ("mirror", e.AttemptStarted(step_id="step_1", attempt=2)),
    ("flaky", e.AttemptStarted(step_id="each[0]", attempt=1)),
    ("mirror", e.FallbackTried(step_id="each[0]", link=1, tool="mirror")),
    ("mirror", e.AttemptStarted(step_id="each[0]", attempt=2)),
    ("flaky", e.AttemptStarted(step_id="each[1]", attempt=1)),
    ("flaky", e.FallbackTried(step_id="step_1", link=2)),
    ("flaky", e.StepSucceeded(step_id="step_1", degraded_by=2)),
    ("mirror", e.StepSucceeded(step_id="each[0]", attempt=2, degraded_by=1)),
]
"""Events, and the tool that each is about."""


async def test_a_step_that_falls_back_is_found_by_the_tool_that_it_calls_then(following):
    log = MemoryLog(batch_events=50)
    places = {"flaky": [], "mirror": []}
    for tool, payload in FALLS_BACK:
        log.record(ACME, "workflow-1", payload)
        if not isinstance(payload, e.StepsAdded):
            places[tool].append(log.head)
        for _ in range(BLOCK_EVENTS if isinstance(payload, e.FallbackTried) else 0):
            # So that what the link does lies in another block.
            log.record(ACME, "workflow-2", e.StepSkipped(step_id="other"))
    async with following(AuditTrail, log) as runner:
        query = AuditQuery(runner.model, log)
        for tool, expected in places.items():
            assert positions(await found(query, tool=tool)) == expected
