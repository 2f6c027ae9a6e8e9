"""`podium run`: starts the workflow of a file and shows it until it has ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.failures import ExitCode
from service.cli.options import Address, Json, OnBehalfOf, Priority, Token

if TYPE_CHECKING:
    from podium import StepStatus, WorkflowStatus
    from podium.v1.workflow_service_pb2 import StartWorkflowRequest
    from service.cli.connecting import Service


EXAMPLE = example(
    'podium run research.yaml --input \'{"query": "retry with backoff"}\'',
    "podium run research.yaml --json | jq .steps.summarize.output",
)


def run_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The workflow, YAML or JSON; - is standard input.")],
    input_json: Annotated[
        str | None, typer.Option("--input", metavar="JSON", help="The workflow's input, instead of the file's; @FILE.")
    ] = None,
    *,
    watch: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Follow it to its end, or only start it and print its id.")
    ] = True,
    request_id: Annotated[
        str, typer.Option(metavar="ID", help="The same id starts the workflow only once, however often it is sent.")
    ] = "",
    on_behalf_of: OnBehalfOf = "",
    priority: Priority = None,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Start the workflow in FILE and show it until it has ended.

    The file has a name, an input, a dialect (shorthand), limits (max_parallel, timeout) and steps; each step has an id,
    a tool, arguments, and as wanted depends_on, condition, for_each {items, max_parallel}, join, retry, timeouts and
    on_failure. Strings in arguments may hold ${steps.ID.output.PATH} and ${input.PATH}.

    With --json, one object with all steps and their outputs is printed at the end.
    """
    from service.cli.connecting import with_service
    from service.cli.workflows.watching import tell_that_it_goes_on

    request = _request(file, input_json, request_id, on_behalf_of, priority)
    started: list[str] = []
    try:
        code = with_service(
            address, token, lambda service: _run(service, request, file, watch, as_json, started.append)
        )
    except KeyboardInterrupt:
        tell_that_it_goes_on("".join(started))
        code = ExitCode.INTERRUPTED
    raise typer.Exit(code)


def _request(
    file: str, input_json: str | None, request_id: str, on_behalf_of: str, priority: Priority
) -> StartWorkflowRequest:
    import json

    from podium.priority import priority_message
    from service.cli.json_options import json_option, read_text
    from service.cli.workflows.file import read_workflow

    request = read_workflow(read_text(file, "the workflow file"), "standard input" if file == "-" else file)
    request.name = request.name or Path(file).stem.strip("-")
    if input_json is not None:
        request.input_json = json.dumps(json_option(input_json, "--input"), ensure_ascii=False)
    request.request_id, request.on_behalf_of = request_id, on_behalf_of
    request.priority = priority_message(priority) or request.priority
    return request


async def _run(
    service: Service,
    request: StartWorkflowRequest,
    file: str,
    watch: bool,
    as_json: bool,
    on_started: Any,  # noqa: ANN401 -- told the workflow's id
) -> ExitCode:
    from podium import InvalidInput
    from service.cli.failures import failure_of
    from service.cli.output import print_json, say
    from service.cli.status_json import run_dict
    from service.cli.workflows.file import in_words_of_the_file
    from service.cli.workflows.watching import watch_live

    client = service.client
    try:
        run = await client.start(request)
    except InvalidInput as error:
        step_ids = {number: step.id or f"step_{number + 1}" for number, step in enumerate(request.steps)}
        raise in_words_of_the_file(failure_of(error), file, step_ids) from error
    on_started(run.id)
    if not watch:
        if as_json:
            print_json({"workflow_id": run.id, "step_ids": list(run.step_ids)})
        else:
            say(run.id)
        return ExitCode.OK
    if as_json:
        result = await run.result()
        workflow, steps = result.workflow, list(result.steps.values())
        print_json(run_dict(workflow, steps))
    else:
        await watch_live(client, run.id)
        workflow, steps = await run.status(), [step async for step in client.steps(run.id)]
        print_outcome(workflow, steps)
    return ExitCode.OK if workflow.state == "succeeded" else ExitCode.FAILED


def print_outcome(workflow: WorkflowStatus, steps: list[StepStatus]) -> None:
    """Print what came of a workflow: the outputs of the steps that no other step uses, or why it failed."""
    from service.cli.output import print_value, say

    if workflow.failure is not None:
        say(f"\n{workflow.state}: {workflow.failure}")
        return
    used = {name for step in steps for name in step.depends_on}
    last = [step for step in steps if not step.parent and step.id not in used and step.state == "succeeded"]
    for step in last:
        say(f"\n{step.id}:")
        print_value(step.output)
