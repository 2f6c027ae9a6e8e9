"""Steps that run once for each item of a list."""

import json

import pytest

from podium.v1 import definition_pb2 as pb
from service.domain.decide import Rules
from service.domain.retry import RetryDefaults
from service.domain.values import output_text
from tests.unit.domain.scenario import (
    WORKFLOW_SUCCEEDED,
    collected,
    expanded,
    failed,
    given,
    succeeded,
    unwanted,
    workflow_failed,
)
from tests.unit.domain.workflow_run import begins, breaks, completes, denies, fails, runs, starts, step, waits

CONTINUE = pb.ON_FAILURE_CONTINUE


def over(items, **fields):
    return starts(step("a", each=items, **fields), step("b", "a", arguments={"all": "${steps.a.output}"}))


def output_of(run, step_id):
    return json.loads(output_text(run.step(step_id), run.payloads))


def test_a_list_becomes_as_many_steps_as_it_has_items():
    outcome = given().when(over(["x", "y", "z"]))
    assert outcome.run.events[-1] == expanded("a", 3)
    outcome.admitting("a[0]", "a[1]", "a[2]")


def test_no_items_succeed_at_once_with_an_empty_list():
    outcome = given().when(over([]))
    assert outcome.run.events[-2:] == [expanded("a", 0), collected("a", 0)]
    outcome.admitting("b").with_arguments("b", {"all": []})


def test_one_item_is_still_a_list():
    outcome = given(over(["x"]), begins("a[0]")).when(completes("a[0]", 1))
    outcome.then(succeeded("a[0]", "1"), collected("a", 1)).admitting("b").with_arguments("b", {"all": [1]})


def test_outputs_are_collected_in_the_order_of_the_items():
    history = given(over(["x", "y", "z"]), runs("a[2]", "Z"), runs("a[0]", "X"))
    history.when(runs("a[1]", "Y")).with_arguments("b", {"all": ["X", "Y", "Z"]})


def test_the_texts_of_the_items_are_kept_only_while_they_run():
    run = given(over(["x"], arguments={"n": "${item}"}), begins("a[0]")).run
    assert run.step("a").item_texts == ['"x"']
    run.perform(completes("a[0]"))
    assert run.step("a").item_texts is None


def test_a_thousand_items_are_one_event():
    outcome = given().when(over(list(range(1000))))
    assert len(outcome.run.events) == 3
    assert outcome.run.step("a[999]").item == 999


def test_arguments_name_the_item_and_its_index():
    plan = over([{"id": 7}, {"id": 8}], arguments={"id": "${item.id}", "n": "${index}", "text": "${index}: ${item}"})
    outcome = given().when(plan)
    outcome.with_arguments("a[0]", {"id": 7, "n": 0, "text": '0: {"id":7}'})
    outcome.with_arguments("a[1]", {"id": 8, "n": 1, "text": '1: {"id":8}'})


def test_items_may_be_found_by_an_earlier_step():
    plan = starts(step("find"), step("read", each="${steps.find.output.urls}", arguments={"url": "${item}"}))
    outcome = given(plan).when(runs("find", {"urls": ["u", "v"]}))
    outcome.admitting("read[0]", "read[1]").with_arguments("read[1]", {"url": "v"})


def test_items_may_be_put_together_from_several_steps():
    plan = starts(
        step("x"), step("y"), step("z", each=["${steps.x.output}", "${steps.y.output}", 3], arguments={"i": "${item}"})
    )
    given(plan, runs("x", [1])).when(runs("y", "two")).with_arguments("z[0]", {"i": [1]})


@pytest.mark.parametrize("items", ["text", {"a": 1}, 7, None, True])
def test_what_is_no_list_fails_the_step(items):
    plan = starts(step("find"), step("read", each="${steps.find.output}"))
    outcome = given(plan, begins("find")).when(completes("find", items))
    outcome.then(
        succeeded("find", json.dumps(items)),
        failed("read", "REFERENCE_ERROR", message="for_each needs a list"),
        workflow_failed("read", "REFERENCE_ERROR"),
    )


def test_a_list_that_leads_nowhere_fails_the_step():
    plan = starts(step("find"), step("read", each="${steps.find.output.urls}"))
    given(plan, runs("find", {})).when(waits(0)).then()
    assert given(plan, runs("find", {})).run.step("read").failure.reason == "REFERENCE_ERROR"


def test_a_for_each_over_the_outputs_of_a_for_each():
    plan = starts(
        step("find", each=["x", "y"]),
        step("read", each="${steps.find.output}", arguments={"page": "${item.page}"}),
    )
    outcome = given(plan, runs("find[1]", {"page": 2})).when(runs("find[0]", {"page": 1}))
    outcome.admitting("read[0]", "read[1]")
    outcome.with_arguments("read[0]", {"page": 1}).with_arguments("read[1]", {"page": 2})


def test_one_output_of_a_for_each_can_be_named_by_its_index():
    plan = starts(step("find", each=["x", "y"]), step("last", arguments={"got": "${steps.find.output[-1]}"}))
    given(plan, runs("find[0]", "X")).when(runs("find[1]", "Y")).with_arguments("last", {"got": "Y"})


def test_no_more_items_run_at_once_than_the_step_allows():
    plan = over(list("vwxyz"), at_once=2)
    given().when(plan).admitting("a[0]", "a[1]")
    given(plan).when(runs("a[1]")).admitting("a[0]", "a[2]")
    given(plan, runs("a[0]"), breaks("a[1]")).when(denies("a[2]")).admitting("a[3]", "a[4]")


def test_an_item_keeps_its_place_while_it_waits_for_another_attempt():
    plan = over(["x", "y"], at_once=1, tool="look")
    outcome = given(plan).when(breaks("a[0]", retryable=True))
    outcome.admitting()
    given(plan, breaks("a[0]", retryable=True), waits(60_000), begins("a[0]")).when(completes("a[0]")).admitting("a[1]")


def test_a_failed_item_fails_the_step_once_all_items_have_ended():
    plan = over(["x", "y", "z"])
    waiting = given(plan, begins("a[1]")).when(fails("a[1]", "TOOL_ERROR"))
    assert waiting.run.events[-1] == failed("a[1]", "TOOL_ERROR")
    waiting.admitting("a[0]", "a[2]")
    run = given(plan, breaks("a[1]"), runs("a[0]"), runs("a[2]")).run
    message = "1 of 3 items failed, the first a[1]: "
    assert run.step("a").failure.message == message
    assert run.events[-1] == workflow_failed("a", "ITEMS_FAILED", message=message)
    assert run.step("b").skip_reason


def test_denied_items_are_failures_and_are_counted_with_them():
    run = given(over(["x", "y", "z"]), denies("a[2]"), breaks("a[1]"), runs("a[0]")).run
    assert run.step("a").failure.message.startswith("2 of 3 items failed, the first a[1]")


def test_failed_items_are_null_where_the_step_goes_on_without_them():
    history = given(over(["x", "y", "z"], on_failure=CONTINUE), breaks("a[0]"), denies("a[2]"))
    history.when(runs("a[1]", "Y")).admitting("b").with_arguments("b", {"all": [None, "Y", None]})


def test_a_workflow_whose_items_all_fail_goes_on_where_the_step_says_so():
    run = given(over(["x"], on_failure=CONTINUE), breaks("a[0]"), runs("b")).run
    assert run.events[-1] == WORKFLOW_SUCCEEDED


def test_a_for_each_that_went_on_early_still_waits_for_all_of_its_items():
    # It may begin after a or b, and both c and the other one end while its items run.
    plan = starts(
        step("a"),
        step("b"),
        step("c"),
        step("each", "a", "b", "c", join=pb.JOIN_ANY, each=["x", "y", "z"]),
        step("last", arguments={"all": "${steps.each.output}"}),
    )
    history = given(plan, runs("a"), begins("each[0]", "each[1]", "each[2]"), runs("b"), runs("c"))
    assert history.run.step("each").waiting == 3
    history.when(completes("each[0]", "X")).then(succeeded("each[0]", '"X"'))
    history.when(completes("each[1]", "Y")).then(succeeded("each[1]", '"Y"'))
    outcome = history.when(completes("each[2]", "Z"))
    outcome.then(succeeded("each[2]", '"Z"'), collected("each", 3)).with_arguments("last", {"all": ["X", "Y", "Z"]})


def test_a_for_each_that_went_on_early_does_not_mind_failures_of_the_rest():
    plan = starts(
        step("a"),
        step("b", on_failure=CONTINUE),
        step("each", "a", "b", join=pb.JOIN_ANY, each=["x"]),
    )
    history = given(plan, runs("a"), breaks("b"), begins("each[0]"))
    history.when(completes("each[0]")).then(succeeded("each[0]"), collected("each", 1), WORKFLOW_SUCCEEDED)


def test_items_are_repeated_by_themselves():
    rules = Rules(retry=RetryDefaults(jitter=0, initial_backoff_ms=100))
    history = given(over(["x", "y"], tool="look"), breaks("a[0]", retryable=True), runs("a[1]"), rules=rules)
    run = history.run
    run.perform(waits(100))
    run.perform(runs("a[0]", "again"))
    assert output_of(run, "a") == ["again", None]
    assert [run.step(f"a[{i}]").attempts for i in (0, 1)] == [2, 1]


def test_a_false_condition_skips_all_items():
    outcome = given().when(starts(step("a", each=[1, 2], condition="false")))
    assert outcome.run.events[2:] == [unwanted("a"), WORKFLOW_SUCCEEDED]


def test_items_count_as_steps_of_the_workflow():
    plan = starts(step("a"), step("b", each="${steps.a.output}"))
    full = given(plan, runs("a", [1, 2, 3]), rules=Rules(steps_limit=5)).run
    assert full.events[-1] == expanded("b", 3)
    over_it = given(plan, runs("a", [1, 2, 3, 4]), rules=Rules(steps_limit=5)).run
    assert over_it.step("b").failure.reason == "TOO_MANY_STEPS"


def test_two_lists_at_once_do_not_pass_the_limit_together():
    plan = starts(step("a", each=[1, 2, 3]), step("b", each=[1, 2, 3]))
    run = given(plan, rules=Rules(steps_limit=6)).run
    assert [run.step(name).failure is None for name in "ab"] == [True, False]
    assert len(run.state.steps) == 5


def test_items_do_not_count_for_default_ids():
    run = given(over([1, 2, 3])).run
    assert run.state.submitted == 2
