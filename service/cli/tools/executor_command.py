"""`podium executor`: serves the tools of a Python module in a process of their own."""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Json, ParentProcess, Token

if TYPE_CHECKING:
    from podium import Executor

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 2.0


EXAMPLE = example(
    "podium executor shop.billing:app",
    "podium executor shop.py --address 127.0.0.1:7233",
)


def executor(
    module: Annotated[
        str, typer.Argument(metavar="MODULE[:ATTRIBUTE]", help="The module with the podium.Executor, or a .py file.")
    ],
    folder: Annotated[
        Path, typer.Option("--app-dir", metavar="DIR", help="Where the module is looked for first.")
    ] = Path(),
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for a service that is not there yet, or fail.")
    ] = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more, on standard error.")] = False,
    parent: ParentProcess = None,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Serve the tools of the podium.Executor in MODULE until SIGTERM or Ctrl-C.

    At the first signal it takes no more work and lets what runs end; at the second it does not wait.
    """
    from service.cli.child_processes import end_with
    from service.cli.connecting import run
    from service.cli.output import print_json, say

    end_with(parent)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    served = find_executor(module, folder)

    def ready() -> None:
        if as_json:
            print_json({"ready": True, "executor": served.name, "tools": sorted(served.tools)})
        else:
            say(f"executor {served.name} serves {', '.join(sorted(served.tools))}")

    run(serve_until_signal(served, address, token, wait=wait, ready=ready))


def find_executor(name: str, folder: Path) -> Executor:
    """Import the module and return its podium.Executor. Raises CommandFailed."""
    from podium import Executor

    place, _, attribute = name.partition(":")
    if place.endswith(".py"):
        folder, place = folder / Path(place).parent, Path(place).stem
    sys.path.insert(0, str(folder.resolve()))
    module = _imported(place, folder)
    if attribute:
        found = getattr(module, attribute, None)
        if not isinstance(found, Executor):
            message = f"{place} has no podium.Executor named {attribute}"
            raise CommandFailed(message, ExitCode.BAD_INPUT, "NO_EXECUTOR")
        return found
    executors = {key: value for key, value in vars(module).items() if isinstance(value, Executor)}
    if len({id(value) for value in executors.values()}) != 1:
        names = ", ".join(f"{place}:{key}" for key in executors)
        message = f"{place} has several executors: say {names}" if executors else f"{place} has no podium.Executor"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "NO_EXECUTOR")
    return next(iter(executors.values()))


def _imported(place: str, folder: Path) -> object:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        # The module itself, or a package that it is in; not something that it imports.
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            message = f"there is no module {place} in {folder.resolve()} or on Python's path"
            hint = "--app-dir names the folder that it is in"
            raise CommandFailed(message, ExitCode.BAD_INPUT, "NO_MODULE", hint=hint) from error
        raise _broken(place, error) from error
    except Exception as error:
        raise _broken(place, error) from error


def _broken(place: str, error: Exception) -> CommandFailed:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    message = f"importing {place} failed: {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
    return CommandFailed(message, ExitCode.BAD_INPUT, "BROKEN_MODULE")


async def serve_until_signal(
    served: Executor, address: str | None, token: str | None, *, wait: bool, ready: Callable[[], None]
) -> None:
    """Serve until a signal. Raises podium.PodiumError when the service refuses the executor."""
    stopping, serves = asyncio.Event(), asyncio.Event()

    def is_ready() -> None:
        serves.set()
        ready()

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(_serve(served, address, token, stopping, wait=wait, ready=is_ready))

        def stop() -> None:
            # Before it serves nothing can be lost, and a second signal is impatience.
            if stopping.is_set() or not serves.is_set():
                serving.cancel()
            stopping.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)


async def _serve(
    served: Executor,
    address: str | None,
    token: str | None,
    stopping: asyncio.Event,
    *,
    wait: bool,
    ready: Callable[[], None],
) -> None:
    import podium
    from service.cli.output import note

    pause_s = FIRST_WAIT_S
    while True:
        try:
            async with podium.connect(address, token, serve=served):
                ready()
                await stopping.wait()
            return
        except podium.Unavailable as error:
            if not wait or stopping.is_set():
                raise
            if pause_s == FIRST_WAIT_S:
                note(f"waiting for a service: {error.message}")
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_WAIT_S)
