"""`command_run`: a program that is allowed, with arguments that are, and its output as it comes."""

import asyncio
import os
import pwd
from collections.abc import AsyncGenerator
from typing import Annotated, TypedDict

import podium
from podium.marks import SANITIZE
from podium.sanitizers.command import CommandSanitizer
from podium.sanitizers.rejection import Rejected
from service.tools.command_process import END_WITHIN_S, running
from service.tools.confinement import Resources
from service.tools.failures import TIMEOUT, TOO_LARGE, failed, rejected, told
from service.tools.folders import Folders
from service.tools.launch import Ended, Launch
from service.tools.settings import Commands

_MARGIN_S = 5


class CommandResult(TypedDict):
    """How the program ended. `exit_code` is null when it ended by a signal; output that is no UTF-8 is replaced."""

    exit_code: int | None
    signal: str | None
    stdout: str
    stderr: str
    duration_ms: int


def options_of(settings: Commands) -> dict[str, dict[str, list[str]]]:
    """What the sanitizer is told."""
    return {"programs": {name: list(program.arguments) for name, program in settings.programs.items()}}


def add_command_run(app: podium.Executor, folders: Folders, settings: Commands) -> None:
    """Serve the tool."""
    sanitizer = CommandSanitizer(options_of(settings))
    identity = _identity(settings.user)

    @app.tool(permissions=["system_commands"], timeout=settings.timeout_s + END_WITHIN_S + _MARGIN_S)
    async def command_run(
        command: Annotated[
            list[str], "The program's name and its arguments.", {SANITIZE: {"command": options_of(settings)}}
        ],
        directory: Annotated[str, "Where it runs, relative to the folder of commands.", folders.declaration] = ".",
        timeout_s: Annotated[
            float, "After which it is ended.", {"exclusiveMinimum": 0, "maximum": settings.timeout_s}
        ] = settings.timeout_s,
    ) -> AsyncGenerator[object, None]:
        """Run a program, without a shell. An exit code other than 0 is an answer, and no failure."""
        try:
            vector = sanitizer.check(command)
        except Rejected as error:
            raise rejected(error, "command") from None
        with told("directory"):
            root, relative = folders.at(directory)
            descriptor = root.folder(relative)
        try:
            launch = _launch(settings, vector, descriptor, identity)
            async for piece in _run(launch, timeout_s, settings.max_output_bytes):
                yield piece
        finally:
            os.close(descriptor)


async def _run(launch: Launch, timeout_s: float, max_output_bytes: int) -> AsyncGenerator[object, None]:
    """Yield the output as it comes, and then the result."""
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    deadline = started_at + timeout_s
    kept = {"stdout": bytearray(), "stderr": bytearray()}
    try:
        async with running(launch) as process:
            async for stream, data in process.output(deadline):
                kept[stream] += data
                if sum(map(len, kept.values())) > max_output_bytes:
                    raise failed(TOO_LARGE, f"the program was ended: it printed more than {max_output_bytes} bytes")
                yield data
            ended = await process.ended(deadline)
    except TimeoutError:
        raise failed(TIMEOUT, f"the program was ended: it took longer than {timeout_s:g} s") from None
    yield podium.Output(_result(ended, kept, loop.time() - started_at))


def _result(ended: Ended, kept: dict[str, bytearray], duration_s: float) -> CommandResult:
    if ended.error is not None:
        raise failed("COMMAND_NOT_STARTED", f"the program could not be started: {ended.error}")
    return CommandResult(
        exit_code=ended.exit_code,
        signal=ended.signal,
        stdout=kept["stdout"].decode("utf-8", "replace"),
        stderr=kept["stderr"].decode("utf-8", "replace"),
        duration_ms=round(duration_s * 1000),
    )


def _launch(settings: Commands, vector: list[str], directory: int, identity: tuple[int, int] | None) -> Launch:
    program = settings.programs[vector[0]]
    user, group = identity or (None, None)
    return Launch(
        program=program.path,
        arguments=vector[1:],
        environment={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": settings.directory, **settings.environment},
        directory=directory,
        resources=Resources(
            memory_bytes=settings.memory_bytes,
            open_files=settings.open_files,
            file_bytes=settings.file_size_bytes,
            cpu_s=round(settings.timeout_s) + 1,
            processes=settings.processes,
        ),
        readable=[program.path, settings.directory],
        writable=[settings.directory] if settings.writable else [],
        user=user,
        group=group,
    )


def _identity(user: str) -> tuple[int, int] | None:
    """User and group of commands where this process is root; else they are its own."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid
