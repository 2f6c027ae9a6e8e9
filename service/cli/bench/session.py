"""What `podium bench` needs around it: a connection, and an executor in a process of its own.

Invariant: whatever was started here, processes and workflows, has ended when the block is left.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from podium.discovery import find_server
from podium.v1 import value_pb2
from podium.v1 import workflow_service_pb2 as pb
from service.cli.bench.target import Target
from service.cli.child_processes import child_process
from service.cli.connecting import reached

EXECUTOR = "service.cli.bench.executor:app"
_PAGE = 1000
_CANCEL_WITHIN_S = 30.0


@asynccontextmanager
async def session(address: str | None, token: str | None) -> AsyncGenerator[Target, None]:
    """A service with an executor that serves the tools of the loads. Raises podium.PodiumError, CommandFailed."""
    found = find_server(address, token)
    environment = {"PODIUM_ADDRESS": found.address, "PODIUM_TOKEN": found.token}
    words = ("executor", EXECUTOR, "--no-wait", "--json")
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(reached(address, token))
        log = stack.enter_context(_log())
        executor = child_process("the executor", words, environment=environment, log=log)
        await (await stack.enter_async_context(executor)).ready()
        target = Target(service.connection)
        try:
            yield target
        except BaseException:
            await _cancel_all(target)
            raise


@contextmanager
def _log() -> Generator[Path]:
    """A file for what the executor says. It stays when something failed."""
    descriptor, name = tempfile.mkstemp(prefix="podium-bench-", suffix=".log")
    os.close(descriptor)
    failed = False
    try:
        yield Path(name)
    except Exception:
        failed = True
        raise
    finally:
        if not failed:
            Path(name).unlink()


async def _cancel_all(target: Target) -> None:
    """Cancel what a run that was broken off has left. A service that is gone keeps nobody waiting."""
    start, list_some, cancel = (
        target.method(f"WorkflowService/{name}") for name in ("StartWorkflow", "ListWorkflows", "CancelWorkflow")
    )
    async with asyncio.timeout(_CANCEL_WITHIN_S):
        # A list that knows of this workflow knows of all that began before it.
        last = await start(pb.StartWorkflowRequest(name=target.name, open=True).SerializeToString())
        wanted = pb.ListWorkflowsRequest(
            name=target.name,
            states=[value_pb2.WORKFLOW_STATE_RUNNING],
            page_size=_PAGE,
            consistency_token=pb.StartWorkflowResponse.FromString(last).consistency_token,
        )
        while True:
            page = pb.ListWorkflowsResponse.FromString(await list_some(wanted.SerializeToString()))
            requests = [pb.CancelWorkflowRequest(workflow_id=each.workflow_id) for each in page.workflows]
            await asyncio.gather(*(cancel(request.SerializeToString()) for request in requests))
            if not page.next_page_token:
                return
            wanted.page_token = page.next_page_token
