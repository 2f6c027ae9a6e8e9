"""A workflow in a file, YAML or JSON: from its text to the request that starts it.

Strings in arguments may hold ${...}; the service parses them, so that a file means the same whoever sends it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from podium.v1 import definition_pb2, events_pb2, workflow_service_pb2
from service.cli.failures import CommandFailed, ExitCode, Violation
from service.cli.fields import Fields
from service.cli.file_text import parsed

_DIALECTS = {"": workflow_service_pb2.DIALECT_UNSPECIFIED, "shorthand": workflow_service_pb2.DIALECT_SHORTHAND}
_JOINS = {"": definition_pb2.JOIN_UNSPECIFIED, "all": definition_pb2.JOIN_ALL, "done": definition_pb2.JOIN_DONE}
_JOINS["any"] = definition_pb2.JOIN_ANY
_PRIORITIES = {
    "": definition_pb2.PRIORITY_UNSPECIFIED,
    "low": definition_pb2.PRIORITY_LOW,
    "normal": definition_pb2.PRIORITY_NORMAL,
    "high": definition_pb2.PRIORITY_HIGH,
}
_ON_FAILURE = {
    "": definition_pb2.ON_FAILURE_UNSPECIFIED,
    "fail": definition_pb2.ON_FAILURE_FAIL,
    "continue": definition_pb2.ON_FAILURE_CONTINUE,
}

# The contract's names for what the file calls otherwise.
_FILE_NAMES = (
    (re.compile(r"\barguments_json\b"), "arguments"),
    (re.compile(r"\bitems_json\b"), "items"),
    (re.compile(r"\bvalue_json\b"), "value"),
    (re.compile(r"(\bfallback\[\d+\])\.tool(?=\.)"), r"\1"),
    (re.compile(r"\binput_json\b"), "input"),
    (re.compile(r"\bjoin_count\b"), "join"),
    (re.compile(r"\b(\w+)_ms\b"), r"\1"),
)


def read_workflow(text: str, name: str) -> workflow_service_pb2.StartWorkflowRequest:
    """Return the request that starts the workflow of a file.

    Args:
        text: The file's contents.
        name: The file's name, for messages; one that ends with .json is read as JSON, any other as YAML.

    Raises:
        CommandFailed: The file is no workflow; every field that is wrong is named.
    """
    problems: list[Violation] = []
    file = Fields(parsed(text, name), "", problems)
    file.known("name", "input", "dialect", "max_parallel", "timeout", "cancel_grace", "priority", "steps")
    request = workflow_service_pb2.StartWorkflowRequest(
        name=file.text("name"),
        input_json=file.json_text("input"),
        dialect=_DIALECTS[file.choice("dialect", ("shorthand",))],
        max_parallel=file.count("max_parallel"),
        timeout_ms=file.duration_ms("timeout"),
        cancel_grace_ms=file.duration_ms("cancel_grace"),
        priority=_PRIORITIES[file.choice("priority", ("low", "normal", "high"))],
        steps=[_step(step) for step in file.objects("steps")],
        kind=events_pb2.WORKFLOW_KIND_WORKFLOW,
    )
    if not request.steps and not problems:
        file.wrong("steps", "is empty: a workflow has at least one step")
    if problems:
        raise invalid(name, problems)
    return request


def in_words_of_the_file(failure: CommandFailed, name: str, step_ids: Mapping[int, str]) -> CommandFailed:
    """Return what the service refused, told with the names that the file uses, and with the ids of its steps."""

    def told(text: str) -> str:
        for contract, file in _FILE_NAMES:
            text = contract.sub(file, text)
        return text

    def whose(path: str) -> str:
        found = re.match(r"steps\[(\d+)\]", path)
        step_id = step_ids.get(int(found[1])) if found else None
        return f" (step {step_id})" if step_id else ""

    violations = [(told(path), told(problem) + whose(path)) for path, problem in failure.violations]
    failure.message = " ".join(violations[0]) if violations else told(failure.message)
    failure.violations, failure.context = violations, name
    return failure


def invalid(name: str, problems: list[Violation]) -> CommandFailed:
    """Return the failure that tells everything that is wrong with a file, the first on its first line."""
    path, problem = problems[0]
    return CommandFailed(f"{path} {problem}", ExitCode.BAD_INPUT, "INVALID_FILE", problems, context=name)


def _step(step: Fields) -> definition_pb2.StepDefinition:
    step.known(
        "id",
        "tool",
        "arguments",
        "depends_on",
        "condition",
        "for_each",
        "join",
        "retry",
        "timeouts",
        "on_failure",
        "fallback",
    )
    definition = definition_pb2.StepDefinition(
        id=step.text("id"),
        tool=step.text("tool", required=True),
        arguments_json=step.json_text("arguments") if step.has("arguments") else "",
        depends_on=step.texts("depends_on"),
        condition=step.text("condition"),
        on_failure=_ON_FAILURE[step.choice("on_failure", ("fail", "continue"))],
    )
    if step.has("arguments") and not isinstance(step.value("arguments"), Mapping):
        step.wrong("arguments", "must be an object with the tool's arguments by name")
    _join(step, definition)
    if step.has("for_each"):
        _for_each(step, definition.for_each)
    if step.has("retry"):
        definition.retry.CopyFrom(_retry(step.object("retry")))
    if step.has("timeouts"):
        definition.timeouts.CopyFrom(_timeouts(step.object("timeouts")))
    if step.has("fallback"):
        definition.fallback.extend([_link(link) for link in step.objects("fallback")])
    return definition


def _link(link: Fields) -> definition_pb2.Fallback:
    """A link of a chain, which is known by the one of its three members that it has."""
    link.known("on", "tool", "arguments", "retry", "stale", "value")
    read = definition_pb2.Fallback(on=link.texts("on"))
    # A declared value may be null.
    value_json = link.json_text("value")
    kinds = [name for name in ("tool", "stale") if link.has(name)] + ["value"] * bool(value_json)
    if len(kinds) != 1:
        link.wrong("", f"must have one of tool, stale and value, not {' and '.join(kinds) or 'none'}")
    for name in ("arguments", "retry"):
        if link.has(name) and not link.has("tool"):
            link.wrong(name, "has a meaning only with a tool")
    if link.has("tool"):
        read.tool.tool = link.text("tool")
        read.tool.arguments_json = link.json_text("arguments") if link.has("arguments") else ""
        if link.has("retry"):
            read.tool.retry.CopyFrom(_retry(link.object("retry")))
    elif link.has("stale"):
        # As a duration it is the greatest age; true is whatever age.
        read.stale.max_age_ms = (
            0
            if link.value("stale") is True
            else link.positive_duration_ms("stale", "write true for a result of any age")
        )
    elif value_json:
        read.value_json = value_json
    return read


def _join(step: Fields, definition: definition_pb2.StepDefinition) -> None:
    value = step.value("join")
    if isinstance(value, int) and not isinstance(value, bool):
        definition.join, definition.join_count = definition_pb2.JOIN_N_OF, step.count("join")
    elif value is None or value in ("all", "done", "any"):
        definition.join = _JOINS[value or ""]
    else:
        step.wrong("join", f"must be all, done, any or how many must succeed, not {value!r}")


def _for_each(step: Fields, for_each: definition_pb2.ForEach) -> None:
    """A list, or the reference to one, can stand for the object that holds nothing else."""
    if isinstance(step.value("for_each"), Mapping):
        fields = step.object("for_each")
        fields.known("items", "max_parallel")
        for_each.items_json = fields.json_text("items")
        for_each.max_parallel = fields.count("max_parallel")
        if not for_each.items_json:
            fields.wrong("items", "is missing: a list, or a reference to one")
    else:
        for_each.items_json = step.json_text("for_each")


def _retry(retry: Fields) -> definition_pb2.RetryPolicy:
    retry.known(
        "max_attempts",
        "initial_backoff",
        "max_backoff",
        "multiplier",
        "jitter",
        "budget",
        "retry_on",
        "never_retry_on",
    )
    return definition_pb2.RetryPolicy(
        max_attempts=retry.count("max_attempts"),
        initial_backoff_ms=retry.duration_ms("initial_backoff"),
        max_backoff_ms=retry.duration_ms("max_backoff"),
        multiplier=retry.number("multiplier") or 0.0,
        jitter=retry.number("jitter"),
        budget_ms=retry.duration_ms("budget"),
        retry_on=retry.texts("retry_on"),
        never_retry_on=retry.texts("never_retry_on"),
    )


def _timeouts(timeouts: Fields) -> definition_pb2.Timeouts:
    timeouts.known("schedule_to_start", "start_to_close", "heartbeat")
    return definition_pb2.Timeouts(
        schedule_to_start_ms=timeouts.duration_ms("schedule_to_start"),
        start_to_close_ms=timeouts.duration_ms("start_to_close"),
        heartbeat_ms=timeouts.duration_ms("heartbeat"),
    )
