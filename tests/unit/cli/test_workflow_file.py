"""A workflow's file: what it means, and that every mistake in it is named with its field."""

import json

import pytest

from podium.v1 import definition_pb2, workflow_service_pb2
from service.cli.failures import CommandFailed, ExitCode
from service.cli.workflows.file import in_words_of_the_file, read_workflow

EVERYTHING = """\
name: everything
input: {query: queues, since: 2024-01-31}
dialect: shorthand
max_parallel: 8
timeout: 10m
cancel_grace: 1.5
steps:
  - id: search
    tool: search
    arguments: {query: "${input.query}", limit: 3}
    retry: {max_attempts: 4, initial_backoff: 200ms, max_backoff: 10s, multiplier: 1.5, jitter: 0, budget: 1m,
            retry_on: [TIMEOUT], never_retry_on: TOOL_ERROR}
    timeouts: {schedule_to_start: 5m, start_to_close: 30s, heartbeat: 2s}
  - tool: extract
    for_each: {items: "${steps.search.output.hits}", max_parallel: 4}
    arguments: {document: "${item.name}"}
    on_failure: continue
  - id: end
    tool: summarize
    depends_on: [step_2, search]
    condition: step_1 is not None
    join: done
"""


def read(text, name="flow.yaml"):
    return read_workflow(text, name)


def problems_of(text, name="flow.yaml"):
    with pytest.raises(CommandFailed) as caught:
        read(text, name)
    assert caught.value.code == ExitCode.BAD_INPUT
    assert caught.value.text().startswith(f"{name}: ")
    return dict(caught.value.violations) if caught.value.violations else caught.value.message


def test_every_field_reaches_the_request():
    request = read(EVERYTHING)
    assert (request.name, request.max_parallel, request.timeout_ms) == ("everything", 8, 600_000)
    assert request.cancel_grace_ms == 1500
    assert request.dialect == workflow_service_pb2.DIALECT_SHORTHAND
    search, extract, end = request.steps
    assert json.loads(search.arguments_json) == {"query": "${input.query}", "limit": 3}
    assert (search.retry.max_attempts, search.retry.initial_backoff_ms, search.retry.max_backoff_ms) == (4, 200, 10_000)
    assert (search.retry.multiplier, search.retry.jitter, search.retry.budget_ms) == (1.5, 0.0, 60_000)
    assert search.retry.HasField("jitter")
    assert (list(search.retry.retry_on), list(search.retry.never_retry_on)) == (["TIMEOUT"], ["TOOL_ERROR"])
    assert search.timeouts.schedule_to_start_ms == 300_000
    assert (search.timeouts.start_to_close_ms, search.timeouts.heartbeat_ms) == (30_000, 2000)
    assert json.loads(extract.for_each.items_json) == "${steps.search.output.hits}"
    assert extract.for_each.max_parallel == 4
    assert extract.on_failure == definition_pb2.ON_FAILURE_CONTINUE
    assert (extract.id, list(end.depends_on)) == ("", ["step_2", "search"])
    assert (end.condition, end.join) == ("step_1 is not None", definition_pb2.JOIN_DONE)


def test_a_date_is_the_text_that_it_looks_like():
    assert json.loads(read(EVERYTHING).input_json)["since"] == "2024-01-31"


def test_json_and_yaml_mean_the_same():
    content = {"name": "x", "input": [1, None], "steps": [{"tool": "t", "arguments": {"a": "${input[0]}"}, "join": 2}]}
    text = json.dumps(content)
    assert read(text, "flow.json") == read(text, "flow.yaml")
    assert read(text).steps[0].join_count == 2


def test_a_list_can_stand_for_for_each():
    request = read("steps: [{tool: t, for_each: [1, 2]}]")
    assert request.steps[0].for_each.items_json == "[1,2]"


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        ("steps: []", "steps", "is empty"),
        ("name: x", "steps", "is missing"),
        ("steps: {}", "steps", "must be a list, not an object"),
        ("steps: [7]", "steps[0]", "must be an object with named members, not 7"),
        ("steps: [{id: a}]", "steps[0].tool", "is missing"),
        ("steps: [{tool: ''}]", "steps[0].tool", "is empty"),
        ("{name: 7, steps: [{tool: t}]}", "name", "must be text, not 7"),
        ("{nam: x, steps: [{tool: t}]}", "nam", "do you mean name?"),
        ("{dialect: cel, steps: [{tool: t}]}", "dialect", "must be one of shorthand"),
        ("{timeout: soon, steps: [{tool: t}]}", "timeout", "must be a duration"),
        ("{input: .nan, steps: [{tool: t}]}", "input", "has no JSON form"),
        ("steps: [{tool: t, arguments: [1]}]", "steps[0].arguments", "must be an object"),
        ("steps: [{tool: t, depends_on: [1]}]", "steps[0].depends_on", "must be a list of texts"),
        ("steps: [{tool: t, join: most}]", "steps[0].join", "must be all, done, any or how many"),
        ("steps: [{tool: t, join: -1}]", "steps[0].join", "whole number from 0"),
        ("steps: [{tool: t, join: true}]", "steps[0].join", "must be all, done, any"),
        ("steps: [{tool: t, on_failure: ignore}]", "steps[0].on_failure", "must be one of fail, continue"),
        ("steps: [{tool: t, for_each: {max_parallel: 2}}]", "steps[0].for_each.items", "is missing"),
        ("steps: [{tool: t, for_each: {items: [], parallel: 2}}]", "steps[0].for_each.parallel", "is not known"),
        ("steps: [{tool: t, retry: {max_attempts: 1.5}}]", "steps[0].retry.max_attempts", "whole number"),
        ("steps: [{tool: t, retry: {jitter: much}}]", "steps[0].retry.jitter", "must be a number"),
        ("steps: [{tool: t, timeouts: {start: 3s}}]", "steps[0].timeouts.start", "is not known"),
        ("steps: [{tool: t, timeouts: {heartbeat: true}}]", "steps[0].timeouts.heartbeat", "must be a duration"),
    ],
)
def test_a_mistake_is_told_with_its_field(text, field, problem):
    assert problem in problems_of(text)[field]


def test_all_mistakes_are_told_at_once():
    assert problems_of("{name: 1, steps: [{id: 2}, {tool: t, join: x}]}").keys() == {
        "name",
        "steps[0].id",
        "steps[0].tool",
        "steps[1].join",
    }


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        ("{", "flow.json", "is not valid JSON"),
        ('{"name": 1, "name": 2}', "flow.json", "the name 'name' is there twice"),
        ("steps: [", "flow.yaml", "is not valid YAML"),
        ("name: a\nname: b", "flow.yaml", "the name 'name' is there twice"),
        ("name: !!python/object:os.system x", "flow.yaml", "is not valid YAML"),
    ],
)
def test_what_cannot_be_parsed_is_told_with_its_place(text, name, problem):
    assert problem in problems_of(text, name)


def test_what_the_service_refuses_is_told_in_the_words_of_the_file():
    refused = CommandFailed(
        "steps[1].arguments_json is not valid (and 1 more)",
        ExitCode.BAD_INPUT,
        "INVALID_WORKFLOW",
        [("steps[1].arguments_json", "is not valid"), ("steps[0].for_each.items_json", "is not a list")],
    )
    told = in_words_of_the_file(refused, "flow.yaml", {0: "search", 1: "end"}).text()
    assert told.splitlines() == [
        "flow.yaml: steps[1].arguments is not valid (step end) (INVALID_WORKFLOW)",
        "  steps[0].for_each.items is not a list (step search)",
    ]


FALLBACK = """\
priority: high
steps:
  - tool: search
    fallback:
      - {on: [TIMEOUT, EXHAUSTED], tool: mirror, arguments: {q: "${input.q}"}, retry: {max_attempts: 2}}
      - {on: DENIED, stale: 1h}
      - stale: true
      - value: {hits: []}
      - value: null
"""


def test_a_fallback_chain_reaches_the_request():
    request = read(FALLBACK)
    assert request.priority == definition_pb2.PRIORITY_HIGH
    mirror, old, any_old, hits, nothing = request.steps[0].fallback
    assert (list(mirror.on), mirror.tool.tool, mirror.tool.retry.max_attempts) == (
        ["TIMEOUT", "EXHAUSTED"],
        "mirror",
        2,
    )
    assert json.loads(mirror.tool.arguments_json) == {"q": "${input.q}"}
    assert (list(old.on), old.stale.max_age_ms) == (["DENIED"], 3_600_000)
    assert (any_old.WhichOneof("link"), any_old.stale.max_age_ms) == ("stale", 0)
    assert (hits.value_json, nothing.value_json) == ('{"hits":[]}', "null")


WRONG_LINKS = {
    "{}": ("steps[0].fallback[0]", "must have one of tool, stale and value, not none"),
    "{tool: a, value: 1}": ("steps[0].fallback[0]", "not tool and value"),
    "{value: 1, retry: {}}": ("steps[0].fallback[0].retry", "only with a tool"),
    "{stale: soon}": ("steps[0].fallback[0].stale", "must be a duration"),
    "{stale: 0s}": ("steps[0].fallback[0].stale", "must be more than 0: write true for a result of any age"),
    "{stale: 0}": ("steps[0].fallback[0].stale", "must be more than 0"),
    "{stale: false}": ("steps[0].fallback[0].stale", "must be a duration"),
    "{values: 1}": ("steps[0].fallback[0].values", "do you mean value?"),
}


@pytest.mark.parametrize(("link", "expected"), WRONG_LINKS.items(), ids=WRONG_LINKS)
def test_a_link_that_means_nothing_is_named(link, expected):
    field, problem = expected
    assert problem in problems_of(f"steps: [{{tool: t, fallback: [{link}]}}]")[field]


def test_what_the_service_refuses_of_a_link_is_told_in_words_of_the_file():
    refused = CommandFailed(
        "",
        ExitCode.BAD_INPUT,
        "INVALID_WORKFLOW",
        [("steps[0].fallback[1].tool.arguments_json", "is no JSON"), ("steps[0].fallback[2].value_json", "is empty")],
    )
    told = in_words_of_the_file(refused, "flow.yaml", {0: "search"})
    assert [path for path, _ in told.violations] == ["steps[0].fallback[1].arguments", "steps[0].fallback[2].value"]
