"""`podium serve` and `podium dev`: run the service, for good or for an afternoon."""

from __future__ import annotations

import logging
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.examples import example
from service.cli.options import Config, Database, Json, Listen, ParentProcess, StateDirectory

if TYPE_CHECKING:
    from service.config import Settings
    from service.main import Running

DEV_PORT = 7233

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what happens, on standard error.")]


SERVE_EXAMPLE = example(
    "podium serve --listen 127.0.0.1:7233 --database podium.db",
    "podium serve --database postgresql://podium@localhost/podium",
    "podium token mint --subject ana --role agent",
)


def serve(
    listen: Listen = None,
    database: Database = None,
    state_directory: StateDirectory = None,
    config: Config = None,
    verbose: Verbose = False,
    parent: ParentProcess = None,
    as_json: Json = False,
) -> None:
    """Run the service until SIGTERM or Ctrl-C. One line says when it is ready.

    What is not said here comes from the environment, PODIUM_ and a setting's name, or else from a file, which
    `podium config init` writes to begin with.
    """
    from service.cli.child_processes import end_with
    from service.cli.output import print_json, say
    from service.cli.service_settings import settings_with
    from service.main import serve as serve_forever

    end_with(parent)
    settings = settings_with(listen=listen, database=database, state_directory=state_directory, config=config)
    _log(settings, verbose=verbose)

    def ready(running: Running) -> None:
        if as_json:
            ready_line = {"address": running.address, "database": running.database, "pid": running.pid}
            print_json({"ready": True, **ready_line})
        else:
            say(f"podium serves on {running.address} (database {running.database}, process {running.pid})")

    serve_forever(settings, on_ready=ready)


DEV_EXAMPLE = example(
    "podium dev",
    "podium tools list",
)


def dev(
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=0, max=65535, help="Without it: 7233, or any free one if it is taken."),
    ] = None,
    dev_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="PODIUM_DEV_FILE", help="Where clients find the address and a token."),
    ] = None,
    verbose: Verbose = False,
    parent: ParentProcess = None,
    as_json: Json = False,
) -> None:
    """Run a service for development: on this machine alone, with a database that is thrown away at the end.

    `podium.connect()` and every other `podium` command of this user find it without being told where it is.
    """
    from podium.discovery import default_file
    from service.cli.child_processes import end_with
    from service.cli.operation.discovery_file import discovery_file
    from service.cli.output import note
    from service.main import mint_token
    from service.main import serve as serve_forever

    end_with(parent)
    file = dev_file or default_file()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podium-dev-")))
        settings = dev_settings(folder, _free_port() if port is None else port)
        _log(settings, verbose=verbose)
        token = mint_token(settings, subject="dev", roles=("admin",))

        def ready(running: Running) -> None:
            stack.enter_context(discovery_file(file, address=running.address, token=token))
            _tell(running, file, as_json=as_json)

        serve_forever(settings, on_ready=ready)
    if not as_json:
        note("the development server has ended, and its data are gone")


def dev_settings(folder: Path, port: int) -> Settings:
    """Return the settings of a development server whose data are in a folder."""
    from dataclasses import replace

    from service.config import CheckpointSettings, load_settings
    from service.settings.listening import Listening
    from service.settings.tokens import TokenSettings

    settings = load_settings()
    storage = replace(settings.storage, database_url=f"sqlite:///{folder / 'podium.db'}", state_directory=folder)
    return replace(
        settings,
        listening=Listening(f"127.0.0.1:{port}"),
        storage=storage,
        tokens=TokenSettings(),
        # They go with the log when it is thrown away, so there is nothing to warn about.
        checkpoints=CheckpointSettings(checkpoint_file=folder / "checkpoints.txt"),
    ).checked()


def _tell(running: Running, file: Path, *, as_json: bool) -> None:
    from service.cli.output import print_json, say

    if as_json:
        print_json({"ready": True, "address": running.address, "pid": running.pid, "dev_file": str(file)})
        return
    say(f"Podium's development server is ready on {running.address}. Its data are thrown away at the end.")
    say("  Python    async with podium.connect() as client: ...")
    say("  shell     podium tools list")
    say("            podium executor MODULE        serve the tools of a module")
    say(f"  others    the address and an admin's token are in {file}")
    say("Ctrl-C ends it.")


def _free_port() -> int:
    """Return the usual port, or 0 when it is taken."""
    with socket.socket() as probe:
        # As the server will do: a port whose last connection has just closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", DEV_PORT))
        except OSError:
            return 0
    return DEV_PORT


def _log(settings: Settings, *, verbose: bool) -> None:
    from service.log_format import begin_logging

    begin_logging(settings.telemetry.log_format, logging.INFO if verbose else logging.WARNING)
