"""The client: start workflows, follow them, call tools.

Every mutation carries a request id, chosen here when the caller has none, so that repeating it after a lost answer
does nothing twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from podium.agent_run import AgentRun
from podium.chance import new_id
from podium.connection import Connection
from podium.durations import Duration, milliseconds
from podium.errors import InvalidInput
from podium.json_text import to_json
from podium.listing import list_steps, list_tools, list_workflows
from podium.outcomes import Outcome, Result, StepStatus, WorkflowStatus
from podium.priority import Priority, priority_message
from podium.run import Run
from podium.v1 import definition_pb2, tool_service_pb2, tool_service_pb2_grpc, value_pb2, workflow_service_pb2
from podium.v1 import workflow_service_pb2_grpc as workflow_grpc
from podium.watching import Update, updates, watch
from podium.workflow import Workflow

Startable: TypeAlias = Workflow | workflow_service_pb2.StartWorkflowRequest


@dataclass(frozen=True, slots=True)
class Call:
    """One call in a batch."""

    tool: str
    arguments: Mapping[str, object] = field(default_factory=dict)

    def message(self) -> tool_service_pb2.ToolCall:
        """Returns the call as the contract writes it."""
        return tool_service_pb2.ToolCall(tool=self.tool, arguments_json=_arguments_json(self.arguments))


class Client:
    """What a program can ask of Podium. Made by `podium.connect`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._workflows = workflow_grpc.WorkflowServiceStub(connection.channel)
        self._tools = tool_service_pb2_grpc.ToolServiceStub(connection.channel)

    async def start(
        self,
        workflow: Startable,
        input: object = None,  # noqa: A002 -- the contract's word
        *,
        request_id: str | None = None,
        on_behalf_of: str = "",
        permissions: Iterable[str] | None = None,
        priority: Priority | None = None,
    ) -> Run:
        """Starts a workflow and returns as soon as it is recorded.

        Args:
            workflow: What to run, from the builder or as the contract writes it.
            input: What `workflow.input` stands for.
            request_id: The same id starts the same workflow only once.
            on_behalf_of: For whom the caller acts.
            permissions: Narrows the caller's authority to these permissions.
            priority: What goes first when there is too much: "high" before "normal" before "low".
        """
        request = workflow_service_pb2.StartWorkflowRequest()
        _fill(request, workflow, input, request_id=request_id, on_behalf_of=on_behalf_of, permissions=permissions)
        request.priority = priority_message(priority) or request.priority
        answer = await self._connection.call(self._workflows.StartWorkflow, request)
        return Run(self, answer.workflow_id, tuple(answer.step_ids))

    async def run(
        self,
        workflow: Startable,
        input: object = None,  # noqa: A002 -- the contract's word
        *,
        request_id: str | None = None,
        on_behalf_of: str = "",
        permissions: Iterable[str] | None = None,
        priority: Priority | None = None,
    ) -> Result:
        """Starts a workflow and waits until it has ended, well or not. The arguments are those of `start`."""
        request = workflow_service_pb2.RunWorkflowRequest()
        _fill(
            request.workflow, workflow, input, request_id=request_id, on_behalf_of=on_behalf_of, permissions=permissions
        )
        request.workflow.priority = priority_message(priority) or request.workflow.priority
        # How long the workflow may take is the service's to say.
        ended = await self._connection.call(self._workflows.RunWorkflow, request, timeout=None)
        return await self._result(ended)

    def agent_run(
        self,
        name: str = "",
        *,
        on_behalf_of: str = "",
        permissions: Iterable[str] | None = None,
        resume: str | None = None,
        timeout: Duration | None = None,
        max_parallel: int = 0,
        priority: Priority | None = None,
    ) -> AgentRun:
        """Returns a run that grows with what a model asks for; use it with `async with`.

        Args:
            name: A name for people.
            on_behalf_of: For whom the agent acts.
            permissions: Narrows the caller's authority to these permissions, for the tools listed and for those run.
            resume: The id of a run to go on with, after a crash for example. Calls that it has run already give
                their recorded results.
            timeout: How long the whole run may take.
            max_parallel: How many calls run at once; 0: no limit.
            priority: As in `start`.
        """
        request = workflow_service_pb2.StartWorkflowRequest(
            name=name,
            on_behalf_of=on_behalf_of,
            timeout_ms=milliseconds(timeout),
            max_parallel=max_parallel,
            priority=priority_message(priority),
        )
        if permissions is not None:
            request.narrowed = True
            request.permissions.extend(permissions)
        return AgentRun(self._connection, request, resume=resume)

    async def get(self, workflow_id: str) -> WorkflowStatus:
        """Returns the live state of a workflow."""
        request = workflow_service_pb2.GetWorkflowRequest(workflow_id=workflow_id)
        return WorkflowStatus.of((await self._connection.call(self._workflows.GetWorkflow, request)).workflow)

    async def result(self, workflow_id: str) -> Result:
        """Waits until a workflow has ended, and returns all of it."""
        request = workflow_service_pb2.AwaitWorkflowRequest(workflow_id=workflow_id)
        ended = await self._connection.call(self._workflows.AwaitWorkflow, request, timeout=None)
        return await self._result(ended)

    async def _result(
        self, ended: workflow_service_pb2.RunWorkflowResponse | workflow_service_pb2.AwaitWorkflowResponse
    ) -> Result:
        steps = {step.step_id: StepStatus.of(step) for step in ended.steps}
        if ended.next_page_token:
            rest = workflow_service_pb2.ListStepsRequest(
                workflow_id=ended.workflow.workflow_id, page_token=ended.next_page_token
            )
            async for step in list_steps(self._connection, rest):
                steps[step.step_id] = StepStatus.of(step)
        return Result(WorkflowStatus.of(ended.workflow), steps)

    async def steps(
        self, workflow_id: str, step_ids: Sequence[str] = (), *, outputs: bool = True
    ) -> AsyncIterator[StepStatus]:
        """Yields the steps of a workflow in their order, page by page."""
        request = workflow_service_pb2.ListStepsRequest(
            workflow_id=workflow_id, step_ids=step_ids, without_outputs=not outputs
        )
        async for step in list_steps(self._connection, request):
            yield StepStatus.of(step)

    async def list(self, *, name: str = "", states: Iterable[str] = ()) -> AsyncIterator[WorkflowStatus]:
        """Yields workflows, the newest first, page by page: all, or those with this name or in one of these states."""
        request = workflow_service_pb2.ListWorkflowsRequest(
            name=name, states=[_workflow_state(each) for each in states]
        )
        async for workflow in list_workflows(self._connection, request):
            yield WorkflowStatus.of(workflow)

    def watch(
        self, workflow_id: str, cursor: str | None = None, *, chunks: bool = True
    ) -> AsyncGenerator[Update, None]:
        """Yields what happens to a workflow until it ends, through outages of the service too.

        Args:
            workflow_id: The workflow.
            cursor: From an earlier update; otherwise everything from the beginning.
            chunks: Whether to yield the pieces of streamed output.
        """
        return updates(watch(self._connection, workflow_id, cursor=cursor or "", chunks=chunks), cursor or "")

    async def add_steps(
        self, workflow_id: str, steps: Iterable[definition_pb2.StepDefinition], *, request_id: str | None = None
    ) -> tuple[str, ...]:
        """Adds steps to an open workflow and returns their ids."""
        request = workflow_service_pb2.AddStepsRequest(
            workflow_id=workflow_id, request_id=request_id or new_id(), steps=steps
        )
        return tuple((await self._connection.call(self._workflows.AddSteps, request)).step_ids)

    async def finish(self, workflow_id: str, *, request_id: str | None = None) -> None:
        """Says that no more steps will be added to an open workflow."""
        request = workflow_service_pb2.FinishWorkflowRequest(workflow_id=workflow_id, request_id=request_id or new_id())
        await self._connection.call(self._workflows.FinishWorkflow, request)

    async def cancel(self, workflow_id: str, reason: str = "", *, request_id: str | None = None) -> None:
        """Asks for a workflow to end. Attempts that run get their grace to end first."""
        request = workflow_service_pb2.CancelWorkflowRequest(
            workflow_id=workflow_id, reason=reason, request_id=request_id or new_id()
        )
        await self._connection.call(self._workflows.CancelWorkflow, request)

    async def call(self, tool: str, arguments: Mapping[str, object] | None = None, /, **keywords: object) -> Any:  # noqa: ANN401 -- any JSON value
        """Calls a tool with arguments as a mapping, as keywords, or both; returns its output.

        Raises:
            PodiumError: Why there is none; PermissionDenied or ToolFailed for example.
        """
        return (await self.try_call(tool, {**(arguments or {}), **keywords})).unwrap()

    async def try_call(
        self,
        tool: str,
        arguments: Mapping[str, object] | None = None,
        *,
        timeout: Duration | None = None,
        on_behalf_of: str = "",
        request_id: str | None = None,
        priority: Priority | None = None,
    ) -> Outcome:
        """Calls a tool and returns what became of it; raises only when the call itself is refused."""
        request = tool_service_pb2.CallToolRequest(
            request_id=request_id or new_id(),
            call=Call(tool, arguments or {}).message(),
            timeout_ms=milliseconds(timeout),
            on_behalf_of=on_behalf_of,
            priority=priority_message(priority),
        )
        # How long the tool may take is the service's to say.
        return Outcome.of((await self._connection.call(self._tools.CallTool, request, timeout=None)).outcome)

    async def call_batch(
        self,
        calls: Iterable[Call | tuple[str, Mapping[str, object]]],
        *,
        max_workers: int = 0,
        timeout: Duration | None = None,
        on_behalf_of: str = "",
        request_id: str | None = None,
        priority: Priority | None = None,
    ) -> Sequence[Outcome]:
        """Calls several tools at once and returns what became of each, in order. A failure stops no other call."""
        request = tool_service_pb2.CallToolBatchRequest(
            request_id=request_id or new_id(),
            calls=[(each if isinstance(each, Call) else Call(*each)).message() for each in calls],
            max_workers=max_workers,
            timeout_ms=milliseconds(timeout),
            on_behalf_of=on_behalf_of,
            priority=priority_message(priority),
        )
        answer = await self._connection.call(self._tools.CallToolBatch, request, timeout=None)
        return [Outcome.of(each) for each in answer.outcomes]

    async def tools(self, *, include_denied: bool = False) -> Sequence[definition_pb2.ToolDefinition]:
        """Returns the tools that the caller may use, by name; with `include_denied` all of the tenant's."""
        request = tool_service_pb2.ListToolsRequest(include_denied=include_denied)
        return [tool.definition async for tool in list_tools(self._connection, request)]


def _fill(
    request: workflow_service_pb2.StartWorkflowRequest,
    workflow: Startable,
    input: object,  # noqa: A002 -- the contract's word
    *,
    request_id: str | None,
    on_behalf_of: str,
    permissions: Iterable[str] | None,
) -> None:
    request.CopyFrom(workflow.request() if isinstance(workflow, Workflow) else workflow)
    if input is not None:
        request.input_json = to_json(input)
    request.request_id = request_id or request.request_id or new_id()
    request.on_behalf_of = on_behalf_of or request.on_behalf_of
    if permissions is not None:
        request.narrowed = True
        request.permissions.extend(permissions)


def _arguments_json(arguments: Mapping[str, object]) -> str:
    try:
        return to_json(arguments)
    except ValueError as error:
        raise InvalidInput(str(error), field="arguments") from None


def _workflow_state(name: str) -> value_pb2.WorkflowState.ValueType:
    try:
        return value_pb2.WorkflowState.Value(f"WORKFLOW_STATE_{name.upper()}")
    except ValueError:
        raise InvalidInput(f"a workflow is never {name!r}", field="states") from None
