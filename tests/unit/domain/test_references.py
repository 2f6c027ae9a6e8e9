"""References in a running workflow: what steps get as their arguments."""

import pytest

from podium.v1 import definition_pb2 as pb
from podium.v1 import value_pb2
from service.domain.definition import normalise
from service.domain.values import PayloadNotLoadedError, Ports, make_arguments
from tests.unit.domain.scenario import failed, given, workflow_failed
from tests.unit.domain.workflow_run import (
    EXPRESSIONS,
    VALIDATION,
    Run,
    begins,
    breaks,
    completes,
    denies,
    runs,
    starts,
    step,
)

CONTINUE = pb.ON_FAILURE_CONTINUE


def test_a_reference_is_a_dependency_by_itself():
    plan = starts(step("search"), step("report", arguments={"urls": "${steps.search.output.urls}"}))
    given().when(plan).admitting("search")
    outcome = given(plan).when(runs("search", {"urls": ["a", "b"]}))
    outcome.admitting("report").with_arguments("report", {"urls": ["a", "b"]})


def test_the_input_is_there_from_the_start():
    plan = starts(step("a", arguments={"q": "${input.q}", "all": "${input}"}), value={"q": "x"})
    given().when(plan).with_arguments("a", {"q": "x", "all": {"q": "x"}})


@pytest.mark.parametrize("number", [2**64 + 1, -(2**63) - 1, 10**300 + 1])
def test_whole_numbers_beyond_64_bits_go_from_step_to_step_as_they_are(number):
    arguments = {
        "all": "${steps.a.output}",
        "one": "${steps.a.output.n}",
        "told": "n=${steps.a.output.n}",
        "given": "${input.n}",
        "own": number,
    }
    plan = starts(step("a"), step("b", arguments=arguments), value={"n": number})
    expected = {"all": {"n": number}, "one": number, "told": f"n={number}", "given": number, "own": number}
    given(plan).when(runs("a", {"n": number})).with_arguments("b", expected)


def test_a_workflow_without_input_has_null():
    given().when(starts(step("a", arguments={"q": "${input}"}))).with_arguments("a", {"q": None})


def test_a_step_without_arguments_gets_an_empty_object():
    given().when(starts(step("a"))).with_arguments("a", {})


@pytest.mark.parametrize(
    ("ending", "state"), [(runs, "succeeded"), (breaks, "failed"), (denies, "denied")], ids=lambda v: str(v)[:9]
)
def test_the_state_of_a_step_can_be_an_argument(ending, state):
    plan = starts(
        step("a", on_failure=CONTINUE),
        step("b", arguments={"was": "${steps.a.state}", "got": "${steps.a.output.x.y}"}, join=pb.JOIN_DONE),
    )
    outcome = given(plan).when(ending("a"))
    outcome.with_arguments("b", {"was": state, "got": None})


def test_the_output_of_a_skipped_step_is_null_and_so_are_all_paths_into_it():
    plan = starts(
        step("a", condition="false"),
        step(
            "b",
            arguments={"x": "${steps.a.output}", "y": "${steps.a.output.list[3]}", "is": "${steps.a.state}"},
            join=pb.JOIN_DONE,
        ),
    )
    given().when(plan).with_arguments("b", {"x": None, "y": None, "is": "skipped"})


def test_a_reference_that_leads_nowhere_fails_the_step_when_it_comes_up():
    plan = starts(step("a"), step("b", arguments={"x": "${steps.a.output.missing}"}))
    outcome = given(plan, runs("a", {"other": 1})).when(begins("b"))
    message = "${steps.a.output.missing} leads nowhere: there is no .missing"
    outcome.then(failed("b", "REFERENCE_ERROR", message=message), workflow_failed("b", "REFERENCE_ERROR"))


def test_text_from_a_tool_is_only_text():
    poison = "${steps.secret.output} and $${input}"
    plan = starts(
        step("secret"), step("a"), step("b", arguments={"x": "${steps.a.output}", "y": "<${steps.a.output}>"})
    )
    outcome = given(plan).when(runs("a", poison))
    outcome.with_arguments("b", {"x": poison, "y": f"<{poison}>"})


def test_an_argument_may_name_steps_that_do_not_wait_for_each_other():
    plan = starts(
        step("a"),
        step("b"),
        step("c", join=pb.JOIN_ANY, arguments={"a": "${steps.a.output}", "b": "${steps.b.output}"}),
    )
    given(plan).when(runs("b", 2)).with_arguments("c", {"a": None, "b": 2})


def test_a_large_value_is_asked_for_when_it_is_needed():
    run = Run()
    run.perform(starts(step("a"), step("b", arguments={"x": "${steps.a.output[1]}"})))
    run.perform(begins("a"))
    reference = value_pb2.PayloadReference(digest=b"digest")
    run.perform(completes("a", value_pb2.Value(payload=reference)))
    with pytest.raises(PayloadNotLoadedError) as missing:
        run.arguments("b")
    assert missing.value.reference == reference
    run.payloads[b"digest"] = "[1, 2]"
    assert run.arguments("b") == {"x": 2}


def test_a_sealed_value_cannot_be_an_argument_here():
    run = Run()
    run.perform(starts(step("a"), step("b", arguments={"x": "${steps.a.output}"})))
    run.perform(begins("a"))
    run.perform(completes("a", value_pb2.Value(sealed=value_pb2.SealedValue(key_id="key"))))
    with pytest.raises(ValueError, match="sealed"):
        run.arguments("b")


class OpenSeals:
    """Seals that close nothing: what is sealed stands in the ciphertext."""

    def text(self, sealed):
        return sealed.ciphertext.decode()

    def template(self, sealed):
        return pb.Template.FromString(sealed.ciphertext)


def test_what_runs_over_a_sealed_list_holds_secrets():
    run = Run()
    run.ports = Ports(EXPRESSIONS, run.payloads, OpenSeals())
    [definition] = normalise([step("a", each=["x"], arguments={"n": "${item}"})], VALIDATION)
    sealed = value_pb2.SealedValue(ciphertext=definition.for_each.items.SerializeToString())
    definition.for_each.items.CopyFrom(pb.Template(sealed=sealed))
    start = next(starts(step("a"))(run))
    run.perform(lambda _: iter([start._replace(steps=[definition])]))
    assert make_arguments(run.state, run.step("a[0]"), run.ports) == ('{"n":"x"}', True)


def test_the_shorthand_names_outputs_and_conditions():
    plan = starts(
        step("step_1"),
        step("step_2", condition="false"),
        step("report", arguments={"found": "step_1"}, condition="step_1 is not None and step_1 is not None"),
        step("apology", arguments={"text": "no step_2"}, condition="step_2 is not None", join=pb.JOIN_DONE),
        shorthand=True,
    )
    outcome = given(plan).when(runs("step_1", [1]))
    outcome.admitting("report").with_arguments("report", {"found": [1]})
    assert given(plan).run.step("apology").skip_reason


def test_half_of_a_surrogate_pair_from_a_tool_reaches_the_next_one_as_an_escape():
    run = Run()
    run.perform(starts(step("a"), step("b", arguments={"x": "${steps.a.output.t}"})))
    run.perform(runs("a", {"t": "\ud83d"}))
    assert run.arguments("b") == {"x": "\ud83d"}
