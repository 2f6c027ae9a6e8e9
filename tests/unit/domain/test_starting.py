"""What a workflow is started with."""

from podium.v1 import definition_pb2 as pb
from podium.v1 import events_pb2
from service.domain import commands as c
from tests.unit.domain.scenario import at_ms, given
from tests.unit.domain.workflow_run import AUTHORITY, START_US, Run, adds, runs, starts, step, value_of


def begun(**fields):
    run = Run()
    run.apply(c.StartWorkflow(START_US, "report", value_of({"x": 1}), [], AUTHORITY, **fields))
    return run


def test_the_first_event_says_how_it_was_started():
    digest = b"\x01" * 32
    kind = events_pb2.WORKFLOW_KIND_AGENT
    run = begun(open=True, max_parallel=3, timeout_ms=500, request_digest=digest, kind=kind, cancel_grace_ms=70)
    assert run.events[0] == events_pb2.WorkflowStarted(
        name="report",
        input=value_of({"x": 1}),
        open=True,
        max_parallel=3,
        deadline_at_us=at_ms(500),
        request_digest=digest,
        kind=kind,
        cancel_grace_ms=70,
    )


def test_the_state_keeps_how_it_was_started():
    digest = b"\x01" * 32
    state = begun(open=True, timeout_ms=500, request_digest=digest, cancel_grace_ms=70).state
    assert (state.name, state.input, state.open) == ("report", value_of({"x": 1}), True)
    assert (state.kind, state.request_digest) == (events_pb2.WORKFLOW_KIND_WORKFLOW, digest)
    assert (state.deadline_at_us, state.cancel_grace_ms) == (at_ms(500), 70)


def test_a_workflow_without_a_timeout_has_no_deadline():
    assert begun(open=True).events[0].deadline_at_us == 0


def test_the_start_has_no_request_beside_its_own_digest():
    assert begun(request_digest=b"digest").events[1] == events_pb2.StepsAdded(authority=AUTHORITY)


def test_steps_know_their_place_among_all_steps_and_items():
    history = given(starts(step("a", each=[1, 2]), step("b"), open=True), adds(step("c")))
    assert [(s.id, s.order) for s in history.run.state.steps.values()] == [
        ("a", 0),
        ("b", 1),
        ("a[0]", 2),
        ("a[1]", 3),
        ("c", 4),
    ]


def test_steps_are_recorded_in_the_order_in_which_they_were_given():
    run = given(starts(step("z"), step("a"), step("m"))).run
    assert [definition.id for definition in run.events[1].steps] == ["z", "a", "m"]


def test_a_skipped_step_says_why():
    run = given(starts(step("a", condition="false"), step("b", "a"), step("c", "b", join=pb.JOIN_DONE)), runs("c")).run
    reasons = [run.step(name).skip_reason for name in "abc"]
    assert reasons == [events_pb2.SKIP_REASON_CONDITION, events_pb2.SKIP_REASON_JOIN, 0]
