"""`podium workflows`: look at workflows, follow them, cancel them."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Json, Token, WaitFor

if TYPE_CHECKING:
    from podium import StepStatus, WorkflowStatus
    from podium.v1 import value_pb2
    from service.cli.connecting import Service

app = typer.Typer(help="Look at workflows, follow them, cancel them.", no_args_is_help=True, rich_markup_mode=None)

WorkflowId = Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's id.")]


@app.command(
    "list",
    epilog=example(
        "podium workflows list --state running",
        "podium workflows list --json | jq -r .workflow_id",
    ),
)
def list_workflows(
    states: Annotated[
        list[str] | None, typer.Option("--state", metavar="STATE", help="Only in this state; may be repeated.")
    ] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="Only with this name.")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 50,
    wait_for: WaitFor = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List workflows, the newest first."""
    from podium import WorkflowStatus
    from podium.listing import list_workflows as pages
    from podium.v1 import workflow_service_pb2
    from service.cli.connecting import with_service
    from service.cli.output import note, print_json, table
    from service.cli.status_json import workflow_dict

    async def read(service: Service) -> list[WorkflowStatus]:
        found: list[WorkflowStatus] = []
        request = workflow_service_pb2.ListWorkflowsRequest(
            name=name, states=map(_state, states or ()), consistency_token=wait_for
        )
        async with aclosing(pages(service.connection, request)) as workflows:
            async for workflow in workflows:
                found.append(WorkflowStatus.of(workflow))
                if len(found) == limit:
                    break
        return found

    workflows = with_service(address, token, read)
    if as_json:
        for workflow in workflows:
            print_json(workflow_dict(workflow))
        return
    if not workflows:
        note("there are no such workflows")
        return
    table(
        ("workflow", "name", "kind", "state", "steps", "started", "took", "by"),
        [_row(workflow) for workflow in workflows],
    )


@app.command(
    "show",
    epilog=example(
        "podium workflows show WORKFLOW --outputs",
        "podium workflows show WORKFLOW --json | jq .steps.summarize.output",
    ),
)
def show_workflow(
    workflow_id: WorkflowId,
    outputs: Annotated[bool, typer.Option("--outputs", help="Print the outputs of the steps as well.")] = False,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show a workflow and its steps as they are now."""
    from service.cli.connecting import with_service
    from service.cli.output import print_json, print_value, say, table
    from service.cli.status_json import run_dict

    async def read(service: Service) -> tuple[WorkflowStatus, list[StepStatus]]:
        workflow = await service.client.get(workflow_id)
        return workflow, [step async for step in service.client.steps(workflow_id, outputs=outputs or as_json)]

    workflow, steps = with_service(address, token, read)
    if as_json:
        print_json(run_dict(workflow, steps))
        return
    columns = ("workflow", "name", "kind", "state", "steps", "started", "took", "by")
    for column, value in zip(columns, _row(workflow), strict=True):
        if value:
            say(f"{column:<9} {value}")
    if workflow.failure is not None:
        say(f"failure   {workflow.failure}")
    say()
    rows = [
        (
            step.id,
            step.tool,
            _step_state(step),
            step.attempts,
            _took(step),
            ", ".join(step.depends_on),
            step.failure or "",
        )
        for step in steps
    ]
    table(("step", "tool", "state", "attempts", "took", "depends on", "failure"), rows)
    for step in steps if outputs else ():
        if step.state == "succeeded":
            say(f"\n{step.id}:")
            print_value(step.output)


@app.command(
    "watch",
    epilog=example(
        "podium workflows watch WORKFLOW",
        "podium workflows watch WORKFLOW --json --no-output | jq -r .kind",
    ),
)
def watch_workflow(
    workflow_id: WorkflowId,
    cursor: Annotated[
        str, typer.Option("--after", metavar="CURSOR", help="With --json: go on after this cursor of an earlier line.")
    ] = "",
    chunks: Annotated[bool, typer.Option("--output/--no-output", help="Show streamed output.")] = True,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Follow a workflow until it has ended; exit with 1 when it did not succeed.

    With --json, each event, piece of output and progress is a line.
    """
    from service.cli.connecting import with_service
    from service.cli.output import say
    from service.cli.workflows.watching import tell_that_it_goes_on, watch_json, watch_live

    async def follow(service: Service) -> str:
        if as_json:
            await watch_json(service.client, workflow_id, cursor=cursor, chunks=chunks)
        else:
            await watch_live(service.client, workflow_id, chunks=chunks)
        workflow = await service.client.get(workflow_id)
        if workflow.failure is not None and not as_json:
            say(f"\n{workflow.state}: {workflow.failure}")
        return workflow.state

    try:
        state = with_service(address, token, follow)
    except KeyboardInterrupt:
        tell_that_it_goes_on(workflow_id)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    raise typer.Exit(ExitCode.OK if state == "succeeded" else ExitCode.FAILED)


@app.command(
    "cancel",
    epilog=example(
        'podium workflows cancel WORKFLOW --reason "the question was wrong"',
    ),
)
def cancel_workflow(
    workflow_id: WorkflowId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Ask for a workflow to end. What runs gets its grace to end first."""
    from service.cli.connecting import with_service
    from service.cli.output import print_json, say
    from service.cli.status_json import workflow_dict

    async def cancel(service: Service) -> WorkflowStatus:
        await service.client.cancel(workflow_id, reason)
        return await service.client.get(workflow_id)

    workflow = with_service(address, token, cancel)
    if as_json:
        print_json(workflow_dict(workflow))
    else:
        say(f"{workflow_id} is {workflow.state}")


def _state(name: str) -> value_pb2.WorkflowState.ValueType:
    from podium.v1 import value_pb2

    try:
        return value_pb2.WorkflowState.Value(f"WORKFLOW_STATE_{name.upper()}")
    except ValueError:
        raise CommandFailed(f"a workflow is never {name!r}", ExitCode.BAD_INPUT, "INVALID_ARGUMENT") from None


def _row(workflow: WorkflowStatus) -> tuple[str, ...]:
    from service.cli.terminal_text import counted

    total = sum(workflow.step_counts.values())
    states = ", ".join(f"{count} {state}" for state, count in workflow.step_counts.items())
    steps = counted(total, "step") if len(workflow.step_counts) < 2 else states  # noqa: PLR2004 -- one state
    by = f"{workflow.subject} for {workflow.on_behalf_of}" if workflow.on_behalf_of else workflow.subject
    state = f"{workflow.state}, open" if workflow.open and not workflow.ended else workflow.state
    started = workflow.started_at.isoformat(" ", "seconds") if workflow.started_at else ""
    return workflow.id, workflow.name, workflow.kind, state, steps, started, _took(workflow), by


def _step_state(step: StepStatus) -> str:
    return f"{step.state}, degraded by link {step.degraded_by}" if step.degraded_by else step.state


def _took(about: WorkflowStatus | StepStatus) -> str:
    from service.cli.terminal_text import duration

    if about.started_at is None or about.ended_at is None:
        return ""
    return duration(round((about.ended_at - about.started_at).total_seconds() * 1e6))
