"""Sealed values in a workflow that runs: opened for arguments, and for nothing else."""

import json
from dataclasses import replace

import pytest

from podium.v1 import definition_pb2
from service.domain.definition import normalise
from service.domain.errors import InvalidInput
from service.domain.values import SealBrokenError, make_arguments
from tests.unit.domain.workflow_run import VALIDATION, Run, begins, completes, runs, starts, step


@pytest.fixture
def run(seals):
    run = Run()
    run.ports = replace(run.ports, seals=seals)
    return run


def failure_of(run, step_id):
    failure = run.step(step_id).failure
    return (failure.reason, failure.message) if failure else None


def started(run, seals, *steps, value=None):
    """Runs `secret`, whose output is sealed, with steps behind it."""
    run.perform(starts(step("secret"), *steps, value=value))
    run.perform(begins("secret"))
    run.perform(completes("secret", seals.seal_inline('{"word":"canary","list":[1,2]}')))


def test_a_sealed_output_is_opened_for_arguments(run, seals):
    started(run, seals, step("next", arguments={"word": "${steps.secret.output.word}"}))
    made = make_arguments(run.state, run.step("next"), run.ports)
    assert (json.loads(made.text), made.hold_secrets) == ({"word": "canary"}, True)


def test_arguments_without_anything_sealed_hold_no_secrets(run, seals):
    started(run, seals, step("next", "secret", arguments={"word": "open"}))
    assert not make_arguments(run.state, run.step("next"), run.ports).hold_secrets


def test_a_sealed_template_is_filled_as_an_open_one(run, seals):
    steps = normalise([step("secret"), step("next", arguments={"n": "${steps.secret.output}"})], VALIDATION)
    steps[1].arguments.CopyFrom(seals.seal_template(steps[1].arguments))
    run.perform(starts_as_they_are(steps))
    run.perform(runs("secret", 7))
    assert make_arguments(run.state, run.step("next"), run.ports) == ('{"n":7}', True)


def starts_as_they_are(steps):
    """The steps are sealed already: they are not validated again."""

    def move(run):
        for command in starts(step("placeholder"))(run):
            yield command._replace(steps=steps)

    return move


def test_a_reference_that_leads_nowhere_tells_nothing_of_a_sealed_template(run, seals):
    steps = normalise([step("secret"), step("next", arguments={"n": "${steps.secret.output.canary}"})], VALIDATION)
    steps[1].arguments.CopyFrom(seals.seal_template(steps[1].arguments))
    run.perform(starts_as_they_are(steps))
    run.perform(runs("secret", {"other": 1}))
    with pytest.raises(ValueError, match="leads nowhere") as nowhere:
        make_arguments(run.state, run.step("next"), run.ports)
    assert "canary" not in str(nowhere.value)


def test_sealed_items_are_run_over_and_sealed_values_are_not(run, seals):
    each = step("each", arguments={"n": "${item}"}, each=["a", "b"])
    [normal] = normalise([each], VALIDATION)
    normal.for_each.items.CopyFrom(seals.seal_template(normal.for_each.items))
    run.perform(starts_as_they_are([normal]))
    assert json.loads(make_arguments(run.state, run.step("each[1]"), run.ports).text) == {"n": "b"}


def test_a_list_that_is_sealed_is_not_run_over(run, seals):
    started(run, seals, step("each", each="${steps.secret.output.list}"))
    reason, message = failure_of(run, "each")
    assert reason == "REFERENCE_ERROR"
    assert "sealed" in message


def test_a_condition_does_not_read_a_sealed_value(run, seals):
    started(run, seals, step("next", condition="steps.secret.output.word == 'canary'"))
    reason, message = failure_of(run, "next")
    assert reason == "CONDITION_ERROR"
    assert "sealed" in message
    assert "canary" not in message


def test_a_condition_reads_what_is_beside_a_sealed_value(run, seals):
    started(
        run,
        seals,
        step("state", condition="steps.secret.state == 'succeeded'"),
        value=seals.seal_inline('{"word":"canary"}'),
    )
    assert run.step("state").condition_met


def test_items_whose_key_is_gone_fail_the_step(run, seals, lost_seals):
    [normal] = normalise([step("each", each=["a"])], VALIDATION)
    normal.for_each.items.CopyFrom(seals.seal_template(normal.for_each.items))
    run.ports = replace(run.ports, seals=lost_seals)
    run.perform(starts_as_they_are([normal]))
    assert failure_of(run, "each")[0] == "SEAL_BROKEN"


def test_arguments_whose_key_is_gone_are_not_made(run, seals, lost_seals):
    started(run, seals, step("next", arguments={"word": "${steps.secret.output.word}"}))
    run.ports = replace(run.ports, seals=lost_seals)
    with pytest.raises(SealBrokenError):
        make_arguments(run.state, run.step("next"), run.ports)


def test_without_seals_nothing_is_opened(seals):
    run = Run()
    started(run, seals, step("next", arguments={"word": "${steps.secret.output.word}"}))
    with pytest.raises(ValueError, match="sealed"):
        make_arguments(run.state, run.step("next"), run.ports)


def test_a_sealed_template_is_refused_at_submission(seals):
    sealed = seals.seal_template(definition_pb2.Template(literal_json="{}"))
    nested = definition_pb2.Template(array=definition_pb2.ArrayTemplate(elements=[sealed]))
    for template in (sealed, nested):
        with pytest.raises(InvalidInput) as refused:
            normalise([definition_pb2.StepDefinition(id="a", tool="work", arguments=template)], VALIDATION)
        assert refused.value.violations == [
            ("steps[0].arguments", "is sealed: give it as JSON, the service seals what the tool's schema marks")
        ]
        items = definition_pb2.ForEach(items=template)
        with pytest.raises(InvalidInput):
            normalise([definition_pb2.StepDefinition(id="a", tool="work", for_each=items)], VALIDATION)
