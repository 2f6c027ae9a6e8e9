"""WorkflowService: start, read, follow, extend and end workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypedDict

from podium.v1 import value_pb2
from podium.v1 import workflow_service_pb2 as pb
from podium.v1 import workflow_service_pb2_grpc as grpc_stubs
from service.admission.tokens import Caller
from service.api import parts as p
from service.api.authentication import current_caller
from service.api.handlers import Context
from service.api.page_tokens import page_begins_at, page_token
from service.api.sealing import check_same_body, put_output, recorded_digest, seal_steps
from service.api.sizes import ANSWER_BYTES, check_steps
from service.api.starting import Submission, start
from service.api.summaries import StepOutput, step_summary, workflow_summary
from service.api.watching import watch
from service.domain import commands as c
from service.domain.definition import Draft
from service.domain.errors import InvalidInput, NotFound
from service.domain.permissions import narrow
from service.domain.state import Workflow
from service.engine.keys import WorkflowKey
from service.engine.resident import Content, Resident

_Found = tuple[list[tuple[int, pb.StepSummary, StepOutput]], bool]
"""Steps with their place and their output, still to be read; and whether there are more."""


class _Ending(TypedDict):
    """How a workflow ended, in the words of both answers that say so."""

    workflow: pb.WorkflowSummary
    steps: Sequence[pb.StepSummary]
    next_page_token: str


class WorkflowServicer(grpc_stubs.WorkflowServiceServicer):
    """Serves WorkflowService. Method names are those of the contract."""

    def __init__(self, parts: p.ApiParts, workflows: p.WorkflowLister) -> None:
        self._parts = parts
        self._workflows = workflows

    async def StartWorkflow(self, request: pb.StartWorkflowRequest, context: Context) -> pb.StartWorkflowResponse:
        """Accept a workflow as a whole, or refuse it with every field at fault."""
        key, position = await self._start(request, "steps[{}]")
        return pb.StartWorkflowResponse(
            workflow_id=key.workflow_id,
            step_ids=[step.id or f"step_{number}" for number, step in enumerate(request.steps, 1)],
            consistency_token=p.consistency_token(position),
        )

    async def RunWorkflow(self, request: pb.RunWorkflowRequest, context: Context) -> pb.RunWorkflowResponse:
        """Start a workflow and wait for its end. A caller that leaves does not stop it."""
        p.require(self._parts, "workflows.read", "", why="RunWorkflow")
        key, _ = await self._start(request.workflow, "workflow.steps[{}]")
        return pb.RunWorkflowResponse(**await self._ending(key, without_outputs=request.without_outputs))

    async def AwaitWorkflow(self, request: pb.AwaitWorkflowRequest, context: Context) -> pb.AwaitWorkflowResponse:
        """Wait for a workflow's end."""
        key = _key(request.workflow_id)
        return pb.AwaitWorkflowResponse(**await self._ending(key, without_outputs=request.without_outputs))

    async def _start(self, request: pb.StartWorkflowRequest, path: str) -> tuple[WorkflowKey, int]:
        if not request.steps and not request.open:
            field = path.partition("[")[0]
            problem = "is empty: give at least one step, or open = true to add steps later"
            raise InvalidInput("EMPTY_WORKFLOW", f"{field} {problem}", violations=[(field, problem)])
        submission = Submission(
            steps=request.steps,
            kind=request.kind,
            name=request.name,
            input_json=request.input_json,
            open=request.open,
            max_parallel=request.max_parallel,
            timeout_ms=request.timeout_ms,
            shorthand=request.dialect == pb.DIALECT_SHORTHAND,
            on_behalf_of=request.on_behalf_of,
            narrowed=request.narrowed,
            permissions=request.permissions,
            cancel_grace_ms=request.cancel_grace_ms,
            priority=request.priority,
            path=path,
        )
        return await start(self._parts, "wf", request.request_id, request, submission)

    async def _ending(self, key: WorkflowKey, *, without_outputs: bool) -> _Ending:
        request = pb.ListStepsRequest(without_outputs=without_outputs)

        def select(resident: Resident) -> tuple[pb.WorkflowSummary, _Found]:
            return workflow_summary(resident), _find_steps(resident, request, 0, p.PAGE_SIZE_DEFAULT)

        workflow, found = await self._parts.engine.when_ended(key, select)
        listed = await self._page(key.tenant, request, found)
        return {"workflow": workflow, "steps": listed.steps, "next_page_token": listed.next_page_token}

    async def GetWorkflow(self, request: pb.GetWorkflowRequest, context: Context) -> pb.GetWorkflowResponse:
        """Read the live state."""
        summary = await self._parts.engine.read(_key(request.workflow_id), workflow_summary)
        return pb.GetWorkflowResponse(workflow=summary)

    async def ListWorkflows(self, request: pb.ListWorkflowsRequest, context: Context) -> pb.ListWorkflowsResponse:
        """Read a page of the list, which follows the log."""
        return await self._workflows.list_workflows(current_caller().tenant, request)

    async def ListSteps(self, request: pb.ListStepsRequest, context: Context) -> pb.ListStepsResponse:
        """Read a page of steps in their order, with outputs."""
        first, size = page_begins_at("steps", request.page_token, first=0), p.page_size(request.page_size)
        key = _key(request.workflow_id)
        found = await self._parts.engine.read(key, lambda resident: _find_steps(resident, request, first, size))
        return await self._page(key.tenant, request, found)

    async def _page(self, tenant: str, request: pb.ListStepsRequest, found: _Found) -> pb.ListStepsResponse:
        listed, more = found
        steps: list[pb.StepSummary] = []
        bytes_left = ANSWER_BYTES
        for order, summary, output in listed:
            if not request.without_outputs:
                await put_output(self._parts, tenant, output, summary)
            size = summary.ByteSize()
            if steps and size > bytes_left:
                return pb.ListStepsResponse(steps=steps, next_page_token=page_token("steps", order))
            bytes_left -= size
            steps.append(summary)
        token = page_token("steps", listed[-1][0] + 1) if more else ""
        return pb.ListStepsResponse(steps=steps, next_page_token=token)

    async def WatchWorkflow(
        self, request: pb.WatchWorkflowRequest, context: Context
    ) -> AsyncIterator[pb.WatchWorkflowResponse]:
        """Follow a workflow to its end."""
        async for response in watch(self._parts, _key(request.workflow_id), request):
            yield response

    async def AddSteps(self, request: pb.AddStepsRequest, context: Context) -> pb.AddStepsResponse:
        """Add steps, under the caller's authority and within what the workflow was narrowed to."""
        caller = current_caller()
        digest = p.body_digest(request)
        step_ids: list[str] = []
        if not request.steps:
            problem = "is empty: give at least one step"
            raise InvalidInput("EMPTY_REQUEST", f"steps {problem}", violations=[("steps", problem)])
        validation, shorthand = self._parts.validation_of(caller.tenant), request.dialect == pb.DIALECT_SHORTHAND
        draft = await self._parts.plans.read(Draft(request.steps, validation, shorthand=shorthand))

        def prepare(state: Workflow) -> c.Command | None:
            known = state.requests.get(request.request_id) if request.request_id else None
            if known is not None:
                check_same_body(self._parts, caller.tenant, known[0], digest)
                step_ids[:] = known[1]
                return None
            steps = draft.finish(state.steps, state.submitted + 1)
            step_ids[:] = [step.id for step in steps]
            sealed_steps, sealed = seal_steps(self._parts, caller.tenant, steps)
            check_steps("steps", sealed_steps, self._parts.bounds.size_bytes)
            recorded = recorded_digest(self._parts, caller.tenant, digest, sealed=sealed)
            now_us = self._parts.clock.now_us()
            return c.AddSteps(
                now_us, sealed_steps, _within(self._parts, state, caller, now_us), request.request_id, recorded
            )

        position = await self._ask(request.workflow_id, prepare, request.request_id)
        return pb.AddStepsResponse(step_ids=step_ids, consistency_token=p.consistency_token(position))

    async def FinishWorkflow(self, request: pb.FinishWorkflowRequest, context: Context) -> pb.FinishWorkflowResponse:
        """Say that no more steps will be added. Repeating it changes nothing."""
        command = c.FinishWorkflow(self._parts.clock.now_us(), request.request_id)
        position = await self._ask(request.workflow_id, command, request.request_id)
        return pb.FinishWorkflowResponse(consistency_token=p.consistency_token(position))

    async def CancelWorkflow(self, request: pb.CancelWorkflowRequest, context: Context) -> pb.CancelWorkflowResponse:
        """Ask for a workflow to end. Repeating it, or asking an ended workflow, changes nothing."""
        command = c.CancelWorkflow(self._parts.clock.now_us(), request.reason[:1000], request.request_id)
        position = await self._ask(request.workflow_id, command, request.request_id)
        return pb.CancelWorkflowResponse(consistency_token=p.consistency_token(position))

    async def _ask(self, workflow_id: str, content: Content, request_id: str) -> int:
        p.check_request_id(request_id)
        return await self._parts.engine.ask(_key(workflow_id), content, p.cause_of_request(request_id))


def _find_steps(resident: Resident, request: pb.ListStepsRequest, first: int, size: int) -> _Found:
    wanted = frozenset(request.step_ids)
    found: list[tuple[int, pb.StepSummary, StepOutput]] = []
    for order, step in enumerate(resident.state.steps.values()):
        if order < first or (wanted and step.id not in wanted):
            continue
        if len(found) == size:
            return found, True
        found.append((order, step_summary(resident, step), StepOutput(step)))
    return found, False


def workflow_key(tenant: str, workflow_id: str) -> WorkflowKey:
    """The key of a caller's workflow. Raises NotFound for a stream that is none, whatever it holds."""
    if not workflow_id.startswith(("wf_", "call_", "batch_")):
        raise NotFound("WORKFLOW_NOT_FOUND", f"there is no workflow {workflow_id[:100]!r}")
    return WorkflowKey(tenant, workflow_id)


def _key(workflow_id: str) -> WorkflowKey:
    return workflow_key(current_caller().tenant, workflow_id)


def _within(parts: p.ApiParts, state: Workflow, caller: Caller, now_us: int) -> value_pb2.Authority:
    """The caller's authority, narrowed as the workflow was and for whom the workflow runs. Raises Denied."""
    started = state.authorities[0]
    authority = p.authority_for(parts, caller, now_us=now_us, on_behalf_of=started.principal.on_behalf_of)
    return narrow(authority, started.scopes) if started.limited else authority
