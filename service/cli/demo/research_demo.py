"""The research demonstration: a service, an executor and a client, each in a process of its own, and a witness.

The witness is one more process. It opens the database read-only, folds the run's events and compares them with what
the live service said.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import podium
from service.cli.access.audit_commands import audit_entries, newest_event
from service.cli.child_processes import cancelled_when_asked_to_end, child_process, podium_command
from service.cli.connecting import Service, reached
from service.cli.demo.research_report import Report, print_report
from service.cli.failures import CommandFailed
from service.cli.operation.discovery_file import discovery_file
from service.cli.output import note
from service.cli.workflows.replay_command import live_dict, live_replay
from service.cli.workflows.watching import watch_live

if TYPE_CHECKING:
    from podium.v1 import audit_service_pb2

AUDIT_ENTRIES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """What the workflow is asked."""

    query: str
    source: Path | None
    limit: int
    sentiment: bool


async def run_research(question: Question, state: Path, *, as_json: bool) -> bool:
    """Run the demonstration and print it. Returns whether the workflow succeeded and its replay matches."""
    cancelled_when_asked_to_end()
    async with stage(question, state) as service:
        run = await service.client.start(*_submission(question))
        if as_json:
            await run.result()
        else:
            await watch_live(service.client, run.id)
        report = await _report(service, run.id, question)
        report.replay = await _witness(service, run.id, state)
    print_report(report, state, as_json=as_json)
    return report.succeeded


@asynccontextmanager
async def stage(question: Question, state: Path) -> AsyncGenerator[Service, None]:
    """Start the service and the executor, and connect to them; end them with the block."""
    async with AsyncExitStack() as stack:
        note(f"Starting the service on {state / 'podium.db'}, and an executor with the research tools …")
        dev_file = state / f"demo-{os.getpid()}.json"
        server = await stack.enter_async_context(server_process(state))
        # It waits for the file that says where the service is; what it imports takes as long as the service's start.
        executor = await stack.enter_async_context(_executor(question, state, dev_file))
        minting = asyncio.to_thread(minter, state)
        said, mint = await asyncio.gather(server.ready(), minting)
        address = str(said["address"])
        stack.enter_context(discovery_file(dev_file.resolve(), address=address, token=mint("executor", "executor")))
        service = await stack.enter_async_context(reached(address, mint("demo", "agent", "auditor")))
        await executor.ready()
        note(f"The service (process {server.pid}) listens on {address}; the executor is process {executor.pid}.")
        yield service


def server_process(state: Path) -> Any:  # noqa: ANN401 -- a context manager
    """Return the service over a database in a folder, as a process of its own."""
    arguments = ("serve", "--json", "--listen", "127.0.0.1:0", "--database", str(state / "podium.db"))
    environment = {"PODIUM_CHECKPOINT_FILE": str(state / "checkpoints.txt")}
    return child_process(
        "the service", (*arguments, "--state-dir", str(state)), environment=environment, log=state / "service.log"
    )


def _executor(question: Question, state: Path, dev_file: Path) -> Any:  # noqa: ANN401 -- a context manager
    environment = {
        "RESEARCH_STATE": str((state / "research").resolve()),
        "RESEARCH_SOURCE": str(question.source.resolve()) if question.source is not None else "",
        "PODIUM_DEV_FILE": str(dev_file.resolve()),
    }
    arguments = ("executor", "research.tools:app", "--app-dir", str(examples_folder()), "--json")
    return child_process("the executor", arguments, environment=environment, log=state / "executor.log")


def minter(state: Path) -> Callable[..., str]:
    """Return what makes tokens, when everything for it is imported."""
    from service.cli.service_settings import settings_with
    from service.main import mint_token

    settings = settings_with(state_directory=state)

    def mint(subject: str, *roles: str) -> str:
        return mint_token(settings, subject=subject, roles=roles, ttl_s=3600)

    return mint


def examples_folder() -> Path:
    """Return the folder with the example. Raises CommandFailed."""
    folder = Path(podium.__file__).resolve().parents[1] / "examples"
    if not (folder / "research" / "tools.py").is_file():
        raise CommandFailed(f"the research example is not in {folder}: run the demonstration from a checkout")
    return folder


def _submission(question: Question) -> tuple[podium.Workflow, dict[str, object]]:
    folder = str(examples_folder())
    if folder not in sys.path:
        sys.path.append(folder)
    example: Any = importlib.import_module("research.workflow")
    workflow: podium.Workflow = example.research_workflow()
    return workflow, example.research_input(question.query, limit=question.limit, sentiment=question.sentiment)


async def _report(service: Service, workflow_id: str, question: Question) -> Report:
    workflow = await service.client.get(workflow_id)
    steps = {step.id: step async for step in service.client.steps(workflow_id)}
    return Report(
        workflow=workflow,
        steps=steps,
        query=question.query,
        audit=await _trail(service, workflow_id),
    )


async def _trail(service: Service, workflow_id: str) -> list[audit_service_pb2.AuditEntry]:
    from podium.v1 import audit_service_pb2

    wanted = audit_service_pb2.AuditFilter(stream_id=workflow_id)
    last = await newest_event(service, workflow_id)
    return await audit_entries(service, wanted, limit=AUDIT_ENTRIES_MAX, consistency_token=last)


async def _witness(service: Service, workflow_id: str, state: Path) -> str:
    """Return what another process, which has only the file, says about the run."""
    saved = state / "replay.json"
    saved.write_text(json.dumps(live_dict(await live_replay(service, workflow_id))), encoding="utf-8")
    words = ("replay", workflow_id, "--database", str(state / "podium.db"), "--against", str(saved))
    process = await asyncio.create_subprocess_exec(
        *podium_command(*words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    answer = (said or complained).decode("utf-8", "replace").strip()
    return answer or f"the replay ended with exit code {process.returncode}"
