"""The builder writes what the contract wants: typed templates, never text to be scanned."""

import json
from dataclasses import dataclass

import pytest
from google.protobuf import json_format

import podium
from podium.v1 import definition_pb2


@dataclass
class Query:
    text: object
    limit: int


def arguments_of(value, workflow=None):
    workflow = workflow or podium.Workflow()
    workflow.step("tool", value=value)
    return json_format.MessageToDict(workflow.steps[-1].arguments)


def test_what_has_no_reference_is_sent_as_it_stands():
    workflow = podium.Workflow()
    workflow.step("search", {"query": "${steps.step_1.output}", "timeout": 3}, limit=5)
    [step] = workflow.steps
    assert (step.id, step.tool) == ("step_1", "search")
    assert json.loads(step.arguments.literal_json) == {"query": "${steps.step_1.output}", "timeout": 3, "limit": 5}
    assert step.arguments_json == ""


def test_handing_an_output_on_makes_a_reference():
    workflow = podium.Workflow("research")
    search = workflow.step("search", query="x")
    workflow.step("fetch", url=search.output["hits"][0]["url"], all=search, last=search.output[-1], how=search.state)
    members = json_format.MessageToDict(workflow.steps[1].arguments)["object"]["members"]
    by_name = {member["name"]: member["value"]["reference"] for member in members}
    assert by_name["url"] == {"stepOutput": "step_1", "path": [{"member": "hits"}, {"index": 0}, {"member": "url"}]}
    assert by_name["all"] == {"stepOutput": "step_1"}
    assert by_name["last"] == {"stepOutput": "step_1", "path": [{"index": -1}]}
    assert by_name["how"] == {"stepState": "step_1"}


def test_references_are_found_in_dictionaries_lists_and_dataclasses():
    workflow = podium.Workflow()
    search = workflow.step("search")
    built = arguments_of({"a": [1, search.output], "q": Query(workflow.input["text"], 3)}, workflow)
    [value] = [member["value"] for member in built["object"]["members"]]
    a, q = [member["value"] for member in value["object"]["members"]]
    assert a["array"]["elements"] == [{"literalJson": "1"}, {"reference": {"stepOutput": "step_1"}}]
    assert q["object"]["members"] == [
        {"name": "text", "value": {"reference": {"input": True, "path": [{"member": "text"}]}}},
        {"name": "limit", "value": {"literalJson": "3"}},
    ]


def test_text_is_put_together_when_the_workflow_runs():
    workflow = podium.Workflow()
    title = workflow.step("search").output["title"]
    built = arguments_of(podium.text("about {}: {n} {{x}} {}{}", title, "${a}", [1], n=podium.index), workflow)
    parts = built["object"]["members"][0]["value"]["interpolation"]["parts"]
    assert parts == [
        {"text": "about "},
        {"reference": {"stepOutput": "step_1", "path": [{"member": "title"}]}},
        {"text": ": "},
        {"reference": {"index": True}},
        {"text": " {"},
        {"text": "x}"},
        {"text": " "},
        {"text": "${a}"},
        {"text": "[1]"},
    ]


@pytest.mark.parametrize("template", ["{:>3}", "{!r}", "{a.b}", "{", "{2}", "{missing}"])
def test_text_with_a_field_that_makes_no_sense_is_refused(template):
    with pytest.raises((podium.InvalidInput, ValueError)):
        podium.text(template, podium.item)


def test_a_reference_has_no_text_no_truth_and_no_length_yet():
    output = podium.Workflow().step("search").output
    with pytest.raises(TypeError, match=r"podium\.text"):
        f"{output['title']}"
    with pytest.raises(TypeError, match=r"podium\.text"):
        str(output)
    with pytest.raises(TypeError, match="when="):
        bool(output)
    with pytest.raises(TypeError):
        list(output)
    with pytest.raises(TypeError):
        "a" in output  # noqa: B015 -- it raises
    with pytest.raises(TypeError, match="path"):
        output[1:2]
    assert repr(output["a b"][0]) == '<reference steps.step_1.output["a b"][0]>'


def test_a_reference_can_stand_in_a_condition():
    search = podium.Workflow().step("search", step_id="find")
    assert f"{search.output['total'].cel} > 3 && {search.state.cel} == 'succeeded'" == (
        "steps.find.output.total > 3 && steps.find.state == 'succeeded'"
    )


def test_everything_else_about_a_step_is_written_down():
    workflow = podium.Workflow(max_parallel=7, timeout="1m", cancel_grace="5s")
    search = workflow.step("search", step_id="find")
    workflow.step(
        "extract",
        document=podium.item,
        for_each=search.output["hits"],
        max_parallel=4,
        after=["find"],
        when="size(steps.find.output.hits) > 0",
        join=2,
        retry=podium.Retry(max_attempts=3, initial_backoff="500ms", jitter=0.0, retry_on=["TIMEOUT"]),
        timeout="10s",
        start_timeout=30,
        heartbeat="1.5s",
        on_failure="continue",
    )
    request = workflow.request([1])
    step = request.steps[1]
    assert (request.max_parallel, request.timeout_ms, request.cancel_grace_ms) == (7, 60_000, 5_000)
    assert request.input_json == "[1]"
    assert list(step.depends_on) == ["find"]
    assert (step.join, step.join_count) == (definition_pb2.JOIN_N_OF, 2)
    assert step.condition == "size(steps.find.output.hits) > 0"
    assert step.for_each.items.reference.step_output == "find"
    assert step.for_each.max_parallel == 4
    assert (step.retry.max_attempts, step.retry.initial_backoff_ms) == (3, 500)
    assert step.retry.HasField("jitter")
    assert list(step.retry.retry_on) == ["TIMEOUT"]
    assert step.timeouts.start_to_close_ms == 10_000
    assert step.timeouts.schedule_to_start_ms == 30_000
    assert step.timeouts.heartbeat_ms == 1_500
    assert step.on_failure == definition_pb2.ON_FAILURE_CONTINUE


@pytest.mark.parametrize(
    ("join", "written"),
    [("all", "JOIN_UNSPECIFIED"), ("done", "JOIN_DONE"), ("any", "JOIN_ANY")],
)
def test_a_join_has_its_word(join, written):
    workflow = podium.Workflow()
    workflow.step("tool", join=join)
    assert definition_pb2.Join.Name(workflow.steps[0].join) == written


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda wf: wf.step("tool", step_id="step_1"), "step_id"),
        (lambda wf: wf.step("tool", after=["nowhere"]), "after"),
        (lambda wf: wf.step("tool", value=podium.Workflow().step("other", step_id="elsewhere").output), "arguments"),
        (lambda wf: wf.step("tool", join="most"), "join"),
        (lambda wf: wf.step("tool", on_failure="explode"), "on_failure"),
        (lambda wf: wf.step("tool", when=wf.input), "when"),
        (lambda wf: wf.step("tool", value=b"x"), "arguments"),
        (lambda wf: wf.step("tool", value=[wf.input, float("nan")]), "arguments.value[1]"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_field_at_fault(build, field):
    workflow = podium.Workflow()
    workflow.step("first")
    with pytest.raises(podium.InvalidInput) as raised:
        build(workflow)
    assert raised.value.field == field
    assert len(workflow.steps) == 1


def test_a_list_can_be_gone_through_as_it_stands():
    workflow = podium.Workflow()
    workflow.step("tool", value=podium.item["url"], for_each=["a", "b"])
    assert workflow.steps[0].for_each.items.literal_json == '["a","b"]'


def test_a_fallback_chain_is_written_in_its_order():
    workflow = podium.Workflow()
    search = workflow.step("search")
    quote = workflow.step("quote", symbol=search.output["symbol"]).fallback(
        podium.Fallback.tool("mirror", {"code": search.output["symbol"]}, on=["TIMEOUT", "DENIED"]),
        podium.Fallback.tool("archive", retry=podium.Retry(max_attempts=2)),
    )
    assert (
        quote.fallback(podium.Fallback.stale(max_age="1d"), podium.Fallback.value({"price": None}, on=["*"])) is quote
    )
    mirror, archive, stale, value = workflow.steps[1].fallback
    assert (list(mirror.on), mirror.tool.tool) == (["TIMEOUT", "DENIED"], "mirror")
    [member] = mirror.tool.arguments.object.members
    assert (member.name, member.value.reference.step_output) == ("code", "step_1")
    assert (archive.tool.HasField("arguments"), archive.tool.retry.max_attempts) == (False, 2), (
        "the step's own arguments"
    )
    assert (stale.stale.max_age_ms, list(stale.on)) == (86_400_000, [])
    assert (value.value_json, list(value.on)) == ('{"price":null}', ["*"])


def test_a_link_that_cannot_be_is_refused():
    workflow, other = podium.Workflow(), podium.Workflow()
    other.step("search")
    stranger = other.step("search")
    step = workflow.step("quote")
    with pytest.raises(podium.InvalidInput, match="no step step_2"):
        step.fallback(podium.Fallback.tool("mirror", {"symbol": stranger.output}))
    with pytest.raises(podium.InvalidInput, match="no JSON form"):
        podium.Fallback.value(object())
    with pytest.raises(podium.InvalidInput, match="a list of reasons"):
        podium.Fallback.stale(on="TIMEOUT")
    for zero in (0, "0s", "0ms"):
        with pytest.raises(podium.InvalidInput, match=r"max_age must be more than 0: leave it out .*fallback\.stale"):
            podium.Fallback.stale(max_age=zero)
    with pytest.raises(ValueError, match="True is no duration"):
        podium.Fallback.stale(max_age=True)
    assert not workflow.steps[0].fallback
