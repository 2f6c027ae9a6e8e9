"""Open workflows, which grow while they run."""

import pytest

from podium.v1 import definition_pb2 as pb
from podium.v1 import events_pb2
from service.domain.decide import Rules
from service.domain.errors import InvalidInput
from service.domain.state import REQUESTS_REMEMBERED
from tests.unit.domain.scenario import (
    WORKFLOW_SUCCEEDED,
    given,
    succeeded,
    unjoined,
    workflow_failed,
)
from tests.unit.domain.workflow_run import (
    AUTHORITY,
    adds,
    begins,
    breaks,
    completes,
    denies,
    finishes,
    runs,
    starts,
    step,
    waits,
)

FINISHED = events_pb2.WorkflowFinishRequested()


def open_with(*steps, **fields):
    return starts(*steps, open=True, **fields)


def sizes(events):
    return [len(event.steps) for event in events if isinstance(event, events_pb2.StepsAdded)]


def test_an_open_workflow_waits_for_more():
    given(open_with()).when(waits(10**9)).then()
    given(open_with(step("a")), begins("a")).when(completes("a")).then(succeeded("a"))


def test_an_empty_start_still_records_under_whose_authority_steps_may_be_added():
    run = given(open_with()).run
    assert run.events[1:] == [events_pb2.StepsAdded(authority=AUTHORITY)]
    assert run.state.authorities == [AUTHORITY]


def test_added_steps_run():
    given(open_with()).when(adds(step("a"), step("b", "a"))).admitting("a")


def test_finishing_ends_a_workflow_whose_steps_have_all_ended():
    given(open_with(step("a")), runs("a")).when(finishes()).then(FINISHED, WORKFLOW_SUCCEEDED)


def test_finishing_waits_for_the_steps_that_are_left():
    history = given(open_with(step("a")), begins("a"))
    history.when(finishes()).then(FINISHED)
    history.when(completes("a")).then(succeeded("a"), WORKFLOW_SUCCEEDED)


def test_finishing_an_empty_workflow_succeeds():
    given(open_with()).when(finishes()).then(FINISHED, WORKFLOW_SUCCEEDED)


def test_finishing_twice_changes_nothing():
    history = given(open_with(step("a")), finishes())
    history.when(finishes()).then()
    given(starts(step("a"))).when(finishes()).then()


def test_an_open_workflow_goes_on_after_a_failure():
    history = given(open_with(step("a")), breaks("a"))
    history.when(adds(step("b"))).admitting("b")
    history.run.perform(runs("b"))
    history.when(finishes()).then(FINISHED, workflow_failed("a", "TOOL_ERROR"))


def test_nothing_is_added_to_a_workflow_that_is_not_open():
    given(starts(step("a"))).when(adds(step("b"))).then_refused("WORKFLOW_NOT_OPEN")
    given(open_with(step("a")), finishes()).when(adds(step("b"))).then_refused("WORKFLOW_NOT_OPEN")


def test_nothing_is_added_to_a_workflow_that_ended():
    given(starts(step("a")), runs("a")).when(adds(step("b"))).then_refused("WORKFLOW_ENDED")
    given(open_with(), finishes()).when(adds(step("b"))).then_refused("WORKFLOW_ENDED")


def test_nothing_is_added_beyond_the_limit():
    rules = Rules(steps_limit=3)
    history = given(open_with(step("a"), step("b")), rules=rules)
    history.when(adds(step("c"), step("d"))).then_refused("TOO_MANY_STEPS")
    history.when(adds(step("c"))).admitting("a", "b", "c")


def test_a_workflow_begins_once():
    given(open_with()).when(open_with()).then_refused("ALREADY_STARTED")


@pytest.mark.parametrize(
    ("ending", "join", "comes_up"),
    [
        (runs, pb.JOIN_ALL, True),
        (runs, pb.JOIN_ANY, True),
        (breaks, pb.JOIN_ALL, False),
        (breaks, pb.JOIN_DONE, True),
        (denies, pb.JOIN_ANY, False),
        (denies, pb.JOIN_DONE, True),
    ],
)
def test_a_step_may_depend_on_steps_that_have_ended(ending, join, comes_up):
    history = given(open_with(step("a")), ending("a"))
    outcome = history.when(adds(step("b", "a", join=join)))
    outcome.admitting(*(["b"] if comes_up else []))
    assert (history.run.events[-1] == unjoined("b")) is not comes_up


def test_a_step_may_depend_on_ended_and_waiting_steps_together():
    history = given(open_with(step("a"), step("b")), runs("a", 1))
    history.when(adds(step("c", arguments=["${steps.a.output}", "${steps.b.output}"]))).admitting("b")
    history.when(runs("b", 2)).admitting("c").with_arguments("c", [1, 2])


def test_a_step_may_depend_on_a_for_each_that_runs():
    history = given(open_with(step("a", each=[1])))
    history.when(adds(step("b", "a"))).admitting("a[0]")
    history.when(runs("a[0]")).admitting("b")


def test_added_steps_without_ids_are_numbered_on():
    history = given(open_with(step(""), step("named"), step("", each=[1, 2])))
    history.when(adds(step(""), step("", "step_1"))).admitting("step_1", "named", "step_3[0]", "step_3[1]", "step_4")
    assert history.run.step("step_5").plan.depends_on == ("step_1",)


def test_an_id_cannot_be_used_again():
    history = given(open_with(step("a")))
    with pytest.raises(InvalidInput, match="a is already the id of another step"):
        history.run.perform(adds(step("a")))


def test_an_item_is_no_step_to_depend_on():
    history = given(open_with(step("a", each=[1])))
    with pytest.raises(InvalidInput, match=r"a\[0\], which is no step"):
        history.run.perform(adds(step("b", "a[0]")))


def test_steps_keep_the_authority_they_were_added_with():
    run = given(open_with(step("a"))).run
    run.perform(adds(step("b")))
    command = next(adds(step("c"))(run))
    command.authority.CopyFrom(AUTHORITY)
    command.authority.principal.subject = "grace"
    run.apply(command)
    subjects = [run.state.authorities[run.step(name).plan.authority].principal.subject for name in "abc"]
    assert subjects == ["ada", "ada", "grace"]
    assert len(run.state.authorities) == 2


# Events hold at most 500 steps


@pytest.mark.parametrize(("count", "expected"), [(1, [1]), (500, [500]), (501, [500, 1]), (1200, [500, 500, 200])])
def test_a_plan_is_recorded_in_events_of_at_most_500_steps(count, expected):
    plan = starts(*(step(f"s{i}", *([f"s{i - 1}"] if i else [])) for i in range(count)))
    outcome = given().when(plan)
    assert sizes(outcome.run.events) == expected
    outcome.admitting("s0")
    assert len(outcome.run.state.authorities) == 1


def test_dependencies_reach_over_events():
    steps = [step("first", "last"), *(step(f"s{i}") for i in range(600)), step("last", "s599")]
    run = given(starts(*steps)).run
    run.perform(runs("s599"))
    assert run.perform(runs("last"))[-1] == succeeded("last")
    assert run.step("first").holds_slot


# Requests


def added_by(run, request_id):
    return run.state.requests[request_id][1]


def test_a_request_is_remembered_with_its_digest_and_its_steps():
    run = given(open_with(), adds(step("a"), step(""), request_id="r1", digest=b"d1")).run
    assert dict(run.state.requests) == {"r1": (b"d1", ("a", "step_2"))}


def test_a_request_without_an_id_is_not_remembered():
    assert not given(open_with(step("a")), adds(step("b"))).run.state.requests


@pytest.mark.parametrize(("count", "digests"), [(500, [b"d1"]), (1000, [b"", b"d1"]), (1001, [b"", b"", b"d1"])])
def test_a_large_request_is_remembered_as_one_and_its_digest_stands_on_its_last_event(count, digests):
    run = given(open_with(), adds(*(step(f"s{i}") for i in range(count)), request_id="r1", digest=b"d1")).run
    assert run.state.requests["r1"][0] == b"d1"
    assert len(added_by(run, "r1")) == count
    events = [event for event in run.events if isinstance(event, events_pb2.StepsAdded)][1:]
    assert [(event.request_id, event.request_digest) for event in events] == [("r1", digest) for digest in digests]


def test_the_last_thousand_requests_are_remembered():
    run = given(open_with()).run
    for number in range(REQUESTS_REMEMBERED + 5):
        run.perform(adds(step(f"s{number}"), request_id=f"r{number}"))
    assert REQUESTS_REMEMBERED == 1000
    assert list(run.state.requests) == [f"r{number}" for number in range(5, REQUESTS_REMEMBERED + 5)]
