"""An agent's run: a workflow that grows with what a model asks for.

Each call of the model becomes a step under the call's own id, so a call that is sent again, after a lost answer or
after a crash, gives the recorded result and runs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

from podium.chance import new_id
from podium.connection import Connection
from podium.errors import IllegalState, InvalidInput, NotFound, PodiumError
from podium.listing import list_tools
from podium.model_formats import FORMATS, FormatName, JsonObject, ModelCall, ModelFormat, read_reply
from podium.settlements import Settlements
from podium.v1 import (
    definition_pb2,
    events_pb2,
    tool_service_pb2,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)

_logger = logging.getLogger(__name__)

FINISH_WAIT_S = 30.0


class AgentRun:
    """A run that lasts as long as its `async with` block.

    Left without an exception it is finished. Left with one, also by Ctrl-C, it stays open, so that
    `client.agent_run(resume=run.id)` can go on with it.
    """

    def __init__(
        self,
        connection: Connection,
        request: workflow_service_pb2.StartWorkflowRequest,
        *,
        resume: str | None = None,
    ) -> None:
        self._connection = connection
        self._request = request
        self._resume = resume
        self._stub = workflow_service_pb2_grpc.WorkflowServiceStub(connection.channel)
        self._entered: Settlements | None = None
        self._id = ""

    @property
    def id(self) -> str:
        """The workflow that records the run. There is one as soon as the block is entered."""
        return self._id

    async def __aenter__(self) -> Self:
        if self._resume is not None:
            request = workflow_service_pb2.GetWorkflowRequest(workflow_id=self._resume)
            self._id = (await self._connection.call(self._stub.GetWorkflow, request)).workflow.workflow_id
        else:
            self._request.request_id = new_id()
            self._request.kind = events_pb2.WORKFLOW_KIND_AGENT
            self._request.open = True
            self._id = (await self._connection.call(self._stub.StartWorkflow, self._request)).workflow_id
        self._entered = Settlements(self._connection, self._id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._finish()
            else:
                _logger.info("run %s stays open; go on with agent_run(resume=%r)", self._id, self._id)
        finally:
            await self._settlements.close()

    async def tools(self, format: FormatName) -> list[JsonObject]:  # noqa: A002 -- what it is
        """Returns the tools that this run may use, as "anthropic", "openai" or "mcp" wants them."""
        if format not in FORMATS:
            raise InvalidInput(f"{format!r} is none of {', '.join(FORMATS)}", field="format")
        request = tool_service_pb2.ListToolsRequest(
            permissions=self._request.permissions, narrowed=self._request.narrowed
        )
        return [FORMATS[format].tool(tool.definition) async for tool in list_tools(self._connection, request)]

    async def execute(self, reply: object) -> list[JsonObject]:
        """Runs all tool calls in a model's reply at once and returns their results, in order, in the vendor's format.

        A call that is refused or fails has a result as well, which says why and names the event that proves it.

        Args:
            reply: An Anthropic message, an OpenAI completion or message, a dictionary like one of these, or a list of
                {id, name, arguments}.

        Raises:
            PodiumError: The service could not be asked. Nothing is lost: the same reply can be executed again.
        """
        format_, calls = read_reply(reply)
        results = await asyncio.gather(*(self._execute(format_, call) for call in calls), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if not isinstance(result, BaseException)]

    async def _execute(self, format_: ModelFormat, call: ModelCall) -> JsonObject:
        if call.problem:
            return format_.result(call, "", f"invalid: {call.problem}")
        try:
            step_id = await self._add(call)
        except (InvalidInput, NotFound) as error:
            if isinstance(error, NotFound) and "TOOL" not in error.reason:
                raise
            return format_.result(call, "", _invalid(error))
        settlement = await self._settlements.of(step_id)
        return format_.result(call, settlement.output_json or "", settlement.error)

    async def _add(self, call: ModelCall) -> str:
        step = definition_pb2.StepDefinition(
            tool=call.name,
            # As it stands: what a model writes is never a template.
            arguments=definition_pb2.Template(literal_json=call.arguments_json),
            # What to do about a failure is for the model to say.
            on_failure=definition_pb2.ON_FAILURE_CONTINUE,
        )
        request = workflow_service_pb2.AddStepsRequest(
            workflow_id=self._id, request_id=call.id or new_id(), steps=[step]
        )
        return (await self._connection.call(self._stub.AddSteps, request)).step_ids[0]

    async def _finish(self) -> None:
        request = workflow_service_pb2.FinishWorkflowRequest(workflow_id=self._id, request_id=new_id())
        try:
            await self._connection.call(self._stub.FinishWorkflow, request)
        except IllegalState:
            _logger.debug("run %s had already ended", self._id)
            return
        # The end is recorded. Who waits for it here only wants to find the run ended afterwards.
        try:
            async with asyncio.timeout(FINISH_WAIT_S):
                await self._settlements.run_ended()
        except (TimeoutError, PodiumError) as error:
            _logger.warning("run %s is finished, but was not seen to end: %s", self._id, error)

    @property
    def _settlements(self) -> Settlements:
        if self._entered is None:
            raise IllegalState("enter the run first: async with client.agent_run() as run", reason="NOT_ENTERED")
        return self._entered


def _invalid(error: PodiumError) -> str:
    """A model is told all that is wrong at once, in its own terms: it knows nothing of the request around its call."""
    problems = [f"{field.removeprefix('steps[0].')} {problem}" for field, problem in error.violations]
    return f"invalid: {'; '.join(problems) or error.message} (reason {error.reason})"
