"""The executors that are connected, as a page of a list."""

from __future__ import annotations

from podium.v1 import monitoring_service_pb2 as pb
from service.api.authentication import current_caller
from service.api.page_tokens import page_begins, page_token
from service.api.parts import ApiParts, page_size
from service.api.sizes import ANSWER_BYTES
from service.engine.dispatch import Executor


def executors_page(parts: ApiParts, request: pb.ListExecutorsRequest) -> pb.ListExecutorsResponse:
    """The executors of the caller's tenant, by session. Raises InvalidInput for a page that is none of this list."""
    tool, tenant = request.tool, current_caller().tenant
    after = page_begins(f"executors/{tool}", request.page_token)
    size = page_size(request.page_size)
    found = [each for each in parts.engine.dispatcher.executors(tenant) if not tool or tool in each.serves]
    found.sort(key=lambda each: each.session.session_id)
    response, bytes_left = pb.ListExecutorsResponse(), ANSWER_BYTES
    for executor in found:
        if executor.session.session_id <= after:
            continue
        message = _status(executor)
        bytes_left -= message.ByteSize()
        if response.executors and (len(response.executors) == size or bytes_left < 0):
            response.next_page_token = page_token(f"executors/{tool}", response.executors[-1].session_id)
            break
        response.executors.append(message)
    return response


def _status(executor: Executor) -> pb.ExecutorStatus:
    session = executor.session
    return pb.ExecutorStatus(
        session_id=session.session_id,
        executor=session.executor,
        labels=session.labels,
        attempts=len(executor.holding),
        max_attempts=executor.max_attempts,
        leaving=executor.leaving,
        tools=[_tool(executor, *tool) for tool in sorted(executor.serves.items())],
        heard_at_us=session.heard_us,
    )


def _tool(executor: Executor, tool: str, version: int) -> pb.ServedTool:
    probed_at_us, said = executor.probed.get(tool, (0, ""))
    return pb.ServedTool(
        tool=tool,
        version=version,
        healthy=tool not in executor.unfit,
        # Why it is unfit stays told while it says, not often enough yet, that it is well.
        message=executor.unfit.get(tool) or said,
        probed_at_us=probed_at_us,
    )
