"""The list of workflows: what a row says after each event, filters, pages and tenants."""

import pytest

from podium.v1 import events_pb2 as e
from podium.v1 import value_pb2 as v
from podium.v1.value_pb2 import Failure, Principal
from service.projections.paging import PageTokenError
from service.projections.workflow_query import WorkflowQuery
from service.projections.workflows import WorkflowList
from tests.unit.projections.memory_log import MemoryLog
from tests.unit.projections.samples import record_history, step

ACME, ZENITH = "acme", "zenith"
RUNNING, CANCELING = v.WORKFLOW_STATE_RUNNING, v.WORKFLOW_STATE_CANCELING
SUCCEEDED, FAILED, CANCELED = v.WORKFLOW_STATE_SUCCEEDED, v.WORKFLOW_STATE_FAILED, v.WORKFLOW_STATE_CANCELED
ANA = Principal(subject="ana")


@pytest.fixture(params=[1, 1000], ids=["one_by_one", "in_one_batch"])
def log(request):
    return MemoryLog(batch_events=request.param)


@pytest.fixture
def listed(following, log):
    async def page(tenant=ACME, **asked):
        async with following(WorkflowList, log) as runner:
            return (await WorkflowQuery(runner.model).page(tenant, **asked)).items

    return page


def start(log, workflow_id, tenant=ACME, **fields):
    log.record(tenant, workflow_id, e.WorkflowStarted(**fields), principal=ANA)


def ids(summaries):
    return [summary.workflow_id for summary in summaries]


def counts(summary):
    return {count.state: count.count for count in summary.step_counts}


async def test_a_started_workflow_is_listed(log, listed):
    start(log, "w-1", name="report", open=True, kind=e.WORKFLOW_KIND_AGENT)
    [summary] = await listed()
    assert (summary.workflow_id, summary.name, summary.kind) == ("w-1", "report", e.WORKFLOW_KIND_AGENT)
    assert (summary.state, summary.open, summary.principal) == (RUNNING, True, ANA)
    assert (summary.started_at_us, summary.ended_at_us) == (log.events[0].recorded_at_us, 0)


async def test_a_kind_that_is_not_set_is_a_workflow(log, listed):
    start(log, "w-1")
    assert (await listed())[0].kind == e.WORKFLOW_KIND_WORKFLOW


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        (e.WorkflowSucceeded(), SUCCEEDED),
        (e.WorkflowFailed(failure=Failure(reason="TIMEOUT")), FAILED),
        (e.WorkflowCanceled(), CANCELED),
    ],
)
async def test_an_ended_workflow_says_how_and_when(log, listed, ending, state):
    start(log, "w-1", open=True)
    log.record(ACME, "w-1", ending)
    [summary] = await listed()
    assert (summary.state, summary.open) == (state, False)
    assert summary.ended_at_us == log.events[1].recorded_at_us
    assert summary.failure.reason == ("TIMEOUT" if state == FAILED else "")


async def test_a_cancel_that_is_not_complete(log, listed):
    start(log, "w-1", open=True)
    log.record(ACME, "w-1", e.WorkflowCancelRequested())
    [summary] = await listed()
    assert (summary.state, summary.open, summary.ended_at_us) == (CANCELING, False, 0)


async def test_a_cancel_that_lost_to_another_outcome(log, listed):
    start(log, "w-1")
    log.record(ACME, "w-1", e.WorkflowCancelRequested(), e.WorkflowSucceeded())
    assert (await listed())[0].state == SUCCEEDED


async def test_a_finished_plan_is_no_longer_open(log, listed):
    start(log, "w-1", open=True)
    log.record(ACME, "w-1", e.WorkflowFinishRequested())
    [summary] = await listed()
    assert (summary.state, summary.open) == (RUNNING, False)


async def test_the_stream_version_is_that_of_the_last_event(log, listed):
    start(log, "w-1")
    log.record(ACME, "w-1", e.StepQueued(step_id="step_1"), e.AttemptStarted(step_id="step_1"))
    assert (await listed())[0].stream_version == 3


async def test_steps_are_counted_by_how_they_ended(log, listed):
    start(log, "w-1")
    steps = [step(f"step_{n}", "search") for n in range(1, 8)]
    log.record(ACME, "w-1", e.StepsAdded(steps=steps[:4]), e.StepsAdded(steps=steps[4:]))
    endings = (e.StepSucceeded, e.StepSucceeded, e.StepFailed, e.StepDenied, e.StepSkipped, e.StepCanceled)
    log.record(ACME, "w-1", *(ending(step_id=f"step_{n}") for n, ending in enumerate(endings, start=1)))
    assert counts((await listed())[0]) == {
        v.STEP_STATE_UNSPECIFIED: 1,
        v.STEP_STATE_SUCCEEDED: 2,
        v.STEP_STATE_FAILED: 1,
        v.STEP_STATE_DENIED: 1,
        v.STEP_STATE_SKIPPED: 1,
        v.STEP_STATE_CANCELED: 1,
    }


async def test_the_items_of_a_for_each_step_count_as_steps(log, listed):
    start(log, "w-1")
    log.record(
        ACME,
        "w-1",
        e.StepsAdded(steps=[step("extract", "read_page")]),
        e.ForEachExpanded(step_id="extract", count=3),
        e.StepSucceeded(step_id="extract[0]"),
    )
    assert counts((await listed())[0]) == {v.STEP_STATE_UNSPECIFIED: 3, v.STEP_STATE_SUCCEEDED: 1}


async def test_what_had_not_ended_when_the_workflow_did_was_canceled(log, listed):
    start(log, "w-1")
    steps = [step("step_1", "search"), step("step_2", "search"), step("step_3", "search")]
    log.record(ACME, "w-1", e.StepsAdded(steps=steps), e.StepCanceled(step_id="step_1"), e.WorkflowCanceled())
    assert counts((await listed())[0]) == {v.STEP_STATE_CANCELED: 3}


async def test_a_stream_that_is_no_workflow_is_not_listed(log, listed):
    record_history(log)
    assert ids(await listed()) == ["workflow-3", "workflow-2", "workflow-1"]


async def test_the_newest_come_first(log, listed):
    for number in range(5):
        start(log, f"w-{number}")
    log.record(ACME, "w-0", e.WorkflowSucceeded())
    assert ids(await listed()) == ["w-4", "w-3", "w-2", "w-1", "w-0"]


async def test_by_states_and_name(log, listed):
    for number, name in enumerate(["report", "invoice", "report", "report"]):
        start(log, f"w-{number}", name=name)
    log.record(ACME, "w-1", e.WorkflowSucceeded())
    log.record(ACME, "w-2", e.WorkflowFailed())
    log.record(ACME, "w-3", e.WorkflowSucceeded())
    assert ids(await listed(states=[SUCCEEDED])) == ["w-3", "w-1"]
    assert ids(await listed(states=[RUNNING, FAILED, RUNNING])) == ["w-2", "w-0"]
    assert ids(await listed(name="report")) == ["w-3", "w-2", "w-0"]
    assert ids(await listed(name="report", states=[SUCCEEDED, FAILED])) == ["w-3", "w-2"]
    assert ids(await listed(name="rep")) == []


async def test_a_name_that_no_database_can_keep_is_kept_as_near_as_it_can_be(log, listed):
    start(log, "w-1", name="a\0b")
    [summary] = await listed()
    assert summary.name == "a\ufffdb"
    assert ids(await listed(name="a\0b")) == ["w-1"]


async def test_a_tenant_sees_nothing_of_another(log, listed):
    start(log, "w-1", ACME, name="report")
    start(log, "w-1", ZENITH, name="report")
    log.record(ZENITH, "w-1", e.WorkflowSucceeded())
    assert [(s.workflow_id, s.state) for s in await listed(ACME)] == [("w-1", RUNNING)]
    assert await listed(ACME, states=[SUCCEEDED]) == []
    assert [(s.workflow_id, s.state) for s in await listed(ZENITH, name="report")] == [("w-1", SUCCEEDED)]


@pytest.mark.parametrize("asked", [{}, {"states": [RUNNING, SUCCEEDED]}, {"name": "report"}])
async def test_pages_follow_each_other_while_workflows_start(log, following, asked):
    for number in range(10):
        start(log, f"w-{number}", name="report")
    async with following(WorkflowList, log) as runner:
        query, seen, token = WorkflowQuery(runner.model), [], ""
        while token or not seen:
            page = await query.page(ACME, page_size=3, page_token=token, **asked)
            seen += ids(page.items)
            token = page.next_page_token
            await log.append(ACME, f"later-{log.head}", e.WorkflowStarted(name="report"))
            await runner.wait_for(log.head, 30)
    assert seen == [f"w-{number}" for number in reversed(range(10))]


async def test_a_token_continues_only_its_own_filter_and_tenant(log, following):
    for number in range(4):
        start(log, f"w-{number}", name="report")
    async with following(WorkflowList, log) as runner:
        query = WorkflowQuery(runner.model)
        token = (await query.page(ACME, name="report", page_size=1)).next_page_token
        for tenant, asked in [
            (ACME, {}),
            (ACME, {"name": "report", "states": [RUNNING]}),
            (ZENITH, {"name": "report"}),
        ]:
            with pytest.raises(PageTokenError):
                await query.page(tenant, page_token=token, **asked)
