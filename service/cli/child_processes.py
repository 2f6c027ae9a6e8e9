"""Processes that a command starts and answers for: each says on standard output when it is ready, and ends with us.

Invariant: no child outlives its parent. It is ended by its own id; where the system can, it is told when the parent
dies of SIGKILL too.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.cli.failures import CommandFailed, ExitCode

READY_MAX_S = 90.0
"""Over ten seconds are spent on imports alone where the disk is cold."""
END_MAX_S = 15.0
_LOG_TAIL_BYTES = 2000
_PR_SET_PDEATHSIG = 1
_PASSED_ON = {code.value: code for code in (ExitCode.DENIED, ExitCode.UNAVAILABLE)}
"""What a child was told by a service is what its parent was told."""


@dataclass(slots=True)
class ChildProcess:
    """A child that runs."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    async def ready(self) -> dict[str, Any]:
        """Wait for the line of JSON by which it says that it is ready. Raises CommandFailed."""
        assert self.process.stdout is not None, "made with a pipe"
        try:
            async with asyncio.timeout(READY_MAX_S):
                line = await self.process.stdout.readline()
        except TimeoutError:
            raise self._failed(f"was not ready within {READY_MAX_S:g} s") from None
        if not line:
            code = await self.process.wait()
            raise self._failed(f"ended with exit code {code}", _PASSED_ON.get(code, ExitCode.FAILED))
        said: dict[str, Any] = json.loads(line)
        return said

    async def end(self) -> None:
        """Ask it to end, and see to it that it does."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            async with asyncio.timeout(END_MAX_S):
                await self.process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    def _failed(self, problem: str, code: ExitCode = ExitCode.FAILED) -> CommandFailed:
        said = _last_words(self.log)
        told = f": {said}" if said else ""
        hint = f"all that it said is in {self.log}"
        return CommandFailed(f"{self.name} {problem}{told}", code, "CHILD_FAILED", hint=hint)


@asynccontextmanager
async def child_process(
    name: str, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path
) -> AsyncGenerator[ChildProcess, None]:
    """Run a `podium` command beside this process for as long as the block lasts.

    Args:
        name: What it is, for messages.
        arguments: The command's words.
        environment: What its environment has beyond ours.
        log: Where its standard error goes; what was there before is lost.
    """
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *podium_command(*arguments, "--parent", str(os.getpid())),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**_environment(), **environment},
            # A Ctrl-C in the terminal is for the parent alone, which ends its children in order.
            start_new_session=True,
        )
    child = ChildProcess(name, process, log)
    try:
        yield child
    finally:
        await child.end()


def podium_command(*arguments: str) -> tuple[str, ...]:
    """Return the words that run a `podium` command in a process of its own."""
    # -P: a folder named service where we are must not stand in for ours.
    return (sys.executable, "-P", "-m", "service.cli", *arguments)


def end_with(parent: int | None) -> None:
    """Ask to be told to end when the process `parent`, which started this one, has ended."""
    if parent is None:
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have ended before we asked.
    if os.getppid() != parent:
        sys.exit(1)


def cancelled_when_asked_to_end() -> None:
    """Make SIGTERM cancel the task that calls this, so that it ends its children first."""
    task = asyncio.current_task()
    assert task is not None, "it runs in a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _environment() -> dict[str, str]:
    """What children inherit, without what would lead their clients to another service."""
    environment = os.environ  # noqa: TID251 -- the one place where a command hands its environment on
    return {name: value for name, value in environment.items() if name not in ("PODIUM_ADDRESS", "PODIUM_TOKEN")}


def _last_words(log: Path) -> str:
    """The last that a child said on standard error; of a failure told as JSON, the message."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _LOG_TAIL_BYTES))
        said = file.read().decode("utf-8", "replace").strip()
    last = said.splitlines()[-1] if said else ""
    try:
        return str(json.loads(last)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return last
