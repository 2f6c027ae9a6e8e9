"""A command as the executor sees it: its output as it comes, how it ended, and that it can be ended at any time.

Invariant: when the block of `running` is left, however, the command and everything that it started is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncGenerator
from dataclasses import asdict
from pathlib import Path
from typing import Literal, TypeAlias

from podium.tasks import end, spawn
from service.tools.launch import Ended, Launch

Stream: TypeAlias = Literal["stdout", "stderr"]

END_WITHIN_S = 10.0
_PIECE_BYTES = 64 * 1024
_PIECES_AHEAD = 4
# The launcher finds this package and the standard library, and nothing that stands beside either.
_CODE = (
    "import sys, types; package = types.ModuleType('service'); package.__path__ = [sys.argv.pop(1)]; "
    "sys.modules['service'] = package; from service.tools.launch import main; main()"
)
_PACKAGE = str(Path(__file__).parents[1])


class CommandProcess:
    """One command that runs."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        told: asyncio.StreamReader,
        pieces: asyncio.Queue[tuple[Stream, bytes]],
    ) -> None:
        self._process = process
        self._told = told
        self._pieces = pieces

    async def output(self, deadline: float) -> AsyncGenerator[tuple[Stream, bytes], None]:
        """Yield what it prints until both of its streams end. Raises TimeoutError at the deadline, the loop's time."""
        open_streams = 2
        while open_streams:
            async with asyncio.timeout_at(deadline):
                stream, data = await self._pieces.get()
            if data:
                yield stream, data
            else:
                open_streams -= 1

    async def ended(self, deadline: float) -> Ended:
        """Wait for its end. Raises TimeoutError at the deadline."""
        async with asyncio.timeout_at(deadline):
            line = await self._told.readline()
        return Ended(**json.loads(line)) if line else Ended(error="its launcher was killed")


@contextlib.asynccontextmanager
async def running(launch: Launch) -> AsyncGenerator[CommandProcess, None]:
    """Run a command for as long as the block lasts. Its descriptor of the directory stays the caller's to close."""
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as stack:
        # Closing our end is what ends a launcher that has just been started when this is cancelled.
        stack.callback(ours.close)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _CODE, _PACKAGE),
                stdin=theirs.fileno(),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(launch.directory,),
                env={},
                cwd="/",
                start_new_session=True,
            )
        stack.pop_all()
    told, channel = await asyncio.open_connection(sock=ours)
    pieces: asyncio.Queue[tuple[Stream, bytes]] = asyncio.Queue(_PIECES_AHEAD)
    assert process.stdout is not None, "made with pipes"
    assert process.stderr is not None, "made with pipes"
    readers = [
        spawn(_read(process.stdout, "stdout", pieces), name="a command's output"),
        spawn(_read(process.stderr, "stderr", pieces), name="a command's errors"),
    ]
    try:
        channel.write(json.dumps(asdict(launch)).encode() + b"\n")
        yield CommandProcess(process, told, pieces)
    finally:
        channel.close()
        for reader in readers:
            await end(reader)
        await _gone(process)


async def _read(source: asyncio.StreamReader, stream: Stream, pieces: asyncio.Queue[tuple[Stream, bytes]]) -> None:
    while data := await source.read(_PIECE_BYTES):
        await pieces.put((stream, data))
    await pieces.put((stream, b""))


async def _gone(process: asyncio.subprocess.Process) -> None:
    """Wait until the launcher has ended everything. One that cannot is killed, and the program with it."""
    try:
        async with asyncio.timeout(END_WITHIN_S):
            await _drained(process)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await _drained(process)


async def _drained(process: asyncio.subprocess.Process) -> None:
    # A process has not ended for asyncio before its pipes have been read to their end.
    for stream in filter(None, (process.stdout, process.stderr)):
        while await stream.read(_PIECE_BYTES):
            continue
    await process.wait()
