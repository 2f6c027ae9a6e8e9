"""`podium builtin`: the tools that come with Podium, served by a process that can do nothing else."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Json, ParentProcess, Token

if TYPE_CHECKING:
    from service.tools.settings import Builtin

app = typer.Typer(help="Serve the tools that come with Podium.", no_args_is_help=True, rich_markup_mode=None)

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="What the tools may touch, YAML or JSON: see docs/tools.md.")
]


@app.command(
    epilog=example(
        "podium builtin serve podium-tools.yaml",
        "podium builtin serve podium-tools.yaml --address podium.example.org:7233 --allow-root",
    )
)
def serve(
    file: File,
    allow_root: Annotated[
        bool, typer.Option("--allow-root", help="Serve although this is root; commands run as another user.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for a service that is not there yet, or fail.")
    ] = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more, on standard error.")] = False,
    parent: ParentProcess = None,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Serve the tools that FILE names, within its limits, until SIGTERM or Ctrl-C.

    The process gives up, before it serves, what FILE does not name: memory, files, privileges, its environment.
    """
    from podium.discovery import find_server
    from service.cli.child_processes import end_with
    from service.cli.connecting import run
    from service.cli.output import note
    from service.tools.confined import confine
    from service.tools.environment import take_environment

    end_with(parent)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    if os.geteuid() == 0 and not allow_root:
        message = "this is root, whose tools could do anything; serve as a user of their own, or say --allow-root"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "ROOT")
    # Before the file with its address may be out of reach.
    server = find_server(address, token)
    settings = _settings(file, take_environment())
    files_confined = confine(settings)
    if not files_confined:
        note("this kernel has no Landlock: files are guarded by the tools, and by nothing below them")
    run(_serve(settings, server.address, server.token, wait=wait, as_json=as_json, files_confined=files_confined))


@app.command(
    epilog=example(
        "podium builtin check podium-tools.yaml",
        "podium builtin check podium-tools.yaml --json",
    )
)
def check(file: File, as_json: Json = False) -> None:
    """Check FILE and list the tools that it serves, without serving them."""
    import asyncio

    from service.cli.output import print_json, table
    from service.tools.environment import take_environment
    from service.tools.serving import builtin_executor

    settings = _settings(file, take_environment())

    async def declared() -> list[tuple[str, list[str], bool, str]]:
        async with builtin_executor(settings) as served:
            definitions = [tool.definition for tool in served.tools.values()]
        return [(each.name, list(each.permissions), each.read_only, each.description) for each in definitions]

    try:
        tools = asyncio.run(declared())
    except OSError as error:
        raise _missing(file, error) from None
    if as_json:
        for name, permissions, read_only, description in tools:
            print_json({"name": name, "permissions": permissions, "read_only": read_only, "description": description})
    else:
        rows = [
            (name, ", ".join(permissions) or "none", "read-only" if read_only else "", description)
            for name, permissions, read_only, description in tools
        ]
        table(("tool", "permissions", "kind", "description"), rows)


async def _serve(
    settings: Builtin, address: str, token: str, *, wait: bool, as_json: bool, files_confined: bool
) -> None:
    from service.cli.output import print_json, say
    from service.cli.tools.executor_command import serve_until_signal
    from service.tools.serving import builtin_executor

    def ready() -> None:
        names = sorted(served.tools)
        if as_json:
            said = {"ready": True, "executor": served.name, "tools": names, "files_confined": files_confined}
            print_json({**said, "pid": os.getpid()})
        else:
            say(f"executor {served.name} serves {', '.join(names)}")

    async with builtin_executor(settings) as served:
        await serve_until_signal(served, address, token, wait=wait, ready=ready)


def _settings(file: Path, environment: dict[str, str]) -> Builtin:
    from service.cli.tools.builtin_file import read_builtin

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise CommandFailed(f"{file} cannot be read: {reason}", ExitCode.BAD_INPUT, "NO_FILE") from None
    return read_builtin(text, file, environment)


def _missing(file: Path, error: OSError) -> CommandFailed:
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return CommandFailed(f"what it names is not there: {what}", ExitCode.BAD_INPUT, "INVALID_FILE", context=file.name)
