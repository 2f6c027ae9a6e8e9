"""ToolService: register and list tools, and call them directly."""

from __future__ import annotations

from collections.abc import Sequence

from podium.v1 import definition_pb2, events_pb2, value_pb2
from podium.v1 import tool_service_pb2 as pb
from podium.v1 import tool_service_pb2_grpc as grpc_stubs
from service.api import parts as p
from service.api.authentication import current_caller
from service.api.handlers import Context
from service.api.page_tokens import page_begins, page_token
from service.api.sealing import make_ready, put_output
from service.api.sizes import ANSWER_BYTES
from service.api.starting import Submission, start
from service.api.summaries import StepOutput, outcome
from service.domain import permissions
from service.domain.errors import InvalidInput, NotFound
from service.domain.policy_rules import facts_of
from service.engine.catalog import CatalogTool
from service.engine.keys import WorkflowKey
from service.engine.resident import Resident


class ToolServicer(grpc_stubs.ToolServiceServicer):
    """Serves ToolService. Method names are those of the contract."""

    def __init__(self, parts: p.ApiParts) -> None:
        self._parts = parts

    async def RegisterTool(self, request: pb.RegisterToolRequest, context: Context) -> pb.RegisterToolResponse:
        """Register a tool or a new version of it."""
        p.require(self._parts, "tools.register", request.definition.name)
        return pb.RegisterToolResponse(version=await register(self._parts, request.definition))

    async def GetTool(self, request: pb.GetToolRequest, context: Context) -> pb.GetToolResponse:
        """Read a tool. One the caller may not use does not exist for it."""
        tool = self._parts.catalog.newest(current_caller().tenant, request.name)
        if tool is None or not self._may_read(request.name) or not self._may_see(tool, current_caller().authority):
            raise NotFound("TOOL_NOT_FOUND", f"there is no tool {request.name[:100]!r}")
        return pb.GetToolResponse(tool=self._message(tool))

    async def ListTools(self, request: pb.ListToolsRequest, context: Context) -> pb.ListToolsResponse:
        """List the tools the caller may use, by name."""
        caller = current_caller()
        if request.include_denied:
            p.require(self._parts, "tools.administer", "", why="include_denied")
        authority = p.authority_for(
            self._parts, caller, now_us=0, narrowed=request.narrowed, granted=list(request.permissions)
        )
        after = page_begins("tools", request.page_token)
        size = p.page_size(request.page_size)
        seen = (
            tool
            for tool in self._parts.catalog.of_tenant(caller.tenant)
            if tool.definition.name > after
            and self._may_read(tool.definition.name)
            and (request.include_denied or self._may_see(tool, authority))
        )
        response, bytes_left = pb.ListToolsResponse(), ANSWER_BYTES
        for tool in seen:
            message = self._message(tool)
            bytes_left -= message.ByteSize()
            if response.tools and (len(response.tools) == size or bytes_left < 0):
                response.next_page_token = page_token("tools", response.tools[-1].definition.name)
                break
            response.tools.append(message)
        return response

    async def CallTool(self, request: pb.CallToolRequest, context: Context) -> pb.CallToolResponse:
        """Call a tool and wait for its outcome. A caller that leaves does not stop the call."""
        p.require(self._parts, "tools.call", request.call.tool)
        submission = Submission(
            steps=[_step(request.call)],
            path="call",
            kind=events_pb2.WORKFLOW_KIND_CALL,
            timeout_ms=request.timeout_ms,
            on_behalf_of=request.on_behalf_of,
            priority=request.priority,
        )
        key, _ = await start(self._parts, "call", request.request_id, request, submission)
        outcomes = await self._outcomes(key)
        return pb.CallToolResponse(outcome=outcomes[0], workflow_id=key.workflow_id)

    async def CallToolBatch(self, request: pb.CallToolBatchRequest, context: Context) -> pb.CallToolBatchResponse:
        """Call several tools at once and wait for all outcomes."""
        if not request.calls:
            problem = "is empty: give at least one call"
            raise InvalidInput("EMPTY_REQUEST", f"calls {problem}", violations=[("calls", problem)])
        if len(request.calls) > self._parts.batch_calls:
            problem = f"are {len(request.calls)}, and a batch has at most {self._parts.batch_calls}: split it"
            raise InvalidInput("TOO_MANY_CALLS", f"calls {problem}", violations=[("calls", problem)])
        for name in dict.fromkeys(call.tool for call in request.calls):
            p.require(self._parts, "tools.call", name)
        submission = Submission(
            steps=[_step(call) for call in request.calls],
            path="calls[{}]",
            kind=events_pb2.WORKFLOW_KIND_BATCH,
            max_parallel=request.max_workers,
            timeout_ms=request.timeout_ms,
            on_behalf_of=request.on_behalf_of,
            priority=request.priority,
        )
        key, _ = await start(self._parts, "batch", request.request_id, request, submission)
        return pb.CallToolBatchResponse(outcomes=await self._outcomes(key), workflow_id=key.workflow_id)

    async def _outcomes(self, key: WorkflowKey) -> list[pb.ToolOutcome]:
        def select(resident: Resident) -> Sequence[tuple[pb.ToolOutcome, StepOutput]]:
            return [outcome(resident, step) for step in resident.state.steps.values()]

        outcomes = []
        for message, output in await self._parts.engine.when_ended(key, select):
            await put_output(self._parts, key.tenant, output, message)
            outcomes.append(message)
        return outcomes

    def _may_read(self, name: str) -> bool:
        """Whether the caller may read the tool of this name; asked of what it is, however narrow a run is to be."""
        caller, now_us = current_caller(), self._parts.clock.now_us()
        policy = self._parts.policy_of(caller.tenant)
        return permissions.decide(policy, caller.authority, ["tools.read"], name, now_us=now_us).allowed

    def _may_see(self, tool: CatalogTool, authority: value_pb2.Authority) -> bool:
        """Whether the caller may use the tool, with some arguments at least."""
        name, required = tool.definition.name, tool.definition.permissions
        policy = self._parts.policy_of(current_caller().tenant)
        case = permissions.case_of(policy, authority, required, name, is_call=True)
        now_us = self._parts.clock.now_us()
        return case.might_allow(facts_of(authority, case.needs, tool=name, now_us=now_us))

    def _message(self, tool: CatalogTool) -> pb.Tool:
        sessions = self._parts.engine.dispatcher.sessions(current_caller().tenant, tool.definition.name)
        return pb.Tool(definition=tool.definition, version=tool.version, sessions=len(sessions))


async def register(parts: p.ApiParts, definition: definition_pb2.ToolDefinition) -> int:
    """Register a tool for the caller and return its version."""
    caller = current_caller()
    dispatcher = parts.engine.dispatcher
    administer = permissions.decide(
        parts.policy_of(caller.tenant),
        caller.authority,
        ["tools.administer"],
        definition.name,
        now_us=parts.clock.now_us(),
    )
    require_secrets(parts, definition)
    await make_ready(parts, caller.tenant, definition)
    return await parts.catalog.register(
        caller.tenant,
        definition,
        p.cause_of_request(),
        is_served=lambda name, version: any(
            executor.serves.get(name) == version for executor in dispatcher.sessions(caller.tenant, name)
        ),
        may_administer=administer.allowed,
        tools_max=parts.tenants.quotas_of(caller.tenant).tools,
    )


def require_secrets(parts: p.ApiParts, definition: definition_pb2.ToolDefinition) -> None:
    """Raise Denied unless the caller may use every secret that a tool names: whoever serves the tool is given them."""
    for name in definition.secrets:
        p.require(parts, permissions.USE_SECRET, name, why=f"tool {definition.name} uses the secret ")


def _step(call: pb.ToolCall) -> definition_pb2.StepDefinition:
    # Taken literally: what looks like a reference in the arguments of a call is only text.
    template = definition_pb2.Template(literal_json=call.arguments_json or "{}")
    return definition_pb2.StepDefinition(
        tool=call.tool, arguments=template, on_failure=definition_pb2.ON_FAILURE_CONTINUE
    )
