"""The `podium` command: its groups, its exit codes, and how any failure is told.

Invariant: what a command needs is imported when it runs, so that `podium --help` stays quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from service.cli.access import addresses_commands, audit_commands, keys_commands, tenants_commands, token_commands
from service.cli.bench import command as bench_command
from service.cli.demo import command as demo_command
from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode, failure_of
from service.cli.operation import (
    breakers_commands,
    cache_commands,
    config_commands,
    database_commands,
    executors_commands,
    log_commands,
    projections_commands,
    quarantine_commands,
    server_commands,
    stats_command,
    status_command,
    top_command,
)
from service.cli.policy import commands as policy_commands
from service.cli.production import check_command
from service.cli.security import command as security_command
from service.cli.tools import builtin_commands, call_command, executor_command
from service.cli.tools import commands as tools_commands
from service.cli.tools import docs_command as tool_docs_command
from service.cli.workflows import commands as workflows_commands
from service.cli.workflows import events_command, replay_command, run_command

EPILOG = "\n".join(
    (
        "\b",
        "Exit codes:",
        "  0  it succeeded",
        "  1  what was asked for failed: a workflow failed, a replay differs, a log was altered",
        "  2  bad input",
        "  3  denied, or not authenticated",
        "  4  not found",
        "  5  no service answers",
        "",
        example("podium dev", "podium tools list"),
    )
)

app = typer.Typer(
    name="podium",
    help="Run the tool calls of AI agents durably, and prove afterwards what happened.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order of the help.
app.command("serve", epilog=server_commands.SERVE_EXAMPLE)(server_commands.serve)
app.command("dev", epilog=server_commands.DEV_EXAMPLE)(server_commands.dev)
app.command("status", epilog=status_command.EXAMPLE)(status_command.status)
app.command("run", epilog=run_command.EXAMPLE)(run_command.run_file)
app.command("call", epilog=call_command.EXAMPLE)(call_command.call)
app.add_typer(workflows_commands.app, name="workflows")
tools_commands.app.command("docs", epilog=tool_docs_command.EXAMPLE)(tool_docs_command.docs)
app.add_typer(tools_commands.app, name="tools")
app.command("events", epilog=events_command.EXAMPLE)(events_command.events)
app.command("replay", epilog=replay_command.EXAMPLE)(replay_command.replay)
audit_commands.app.command("security", epilog=security_command.EXAMPLE)(security_command.security)
app.add_typer(audit_commands.app, name="audit")
app.command("top", epilog=top_command.EXAMPLE)(top_command.top)
app.command("stats", epilog=stats_command.EXAMPLE)(stats_command.stats)
app.add_typer(projections_commands.app, name="projections")
app.add_typer(config_commands.app, name="config")
app.add_typer(database_commands.app, name="database")
app.add_typer(log_commands.app, name="log")
app.add_typer(token_commands.app, name="token")
app.add_typer(addresses_commands.app, name="addresses")
app.add_typer(tenants_commands.app, name="tenants")
app.add_typer(policy_commands.app, name="policy")
app.add_typer(breakers_commands.app, name="breakers")
app.add_typer(keys_commands.app, name="keys")
app.add_typer(quarantine_commands.app, name="quarantine")
app.add_typer(cache_commands.app, name="cache")
app.command("check", epilog=check_command.EXAMPLE)(check_command.check)
app.command("executor", epilog=executor_command.EXAMPLE)(executor_command.executor)
app.add_typer(executors_commands.app, name="executors")
app.add_typer(builtin_commands.app, name="builtin")
app.command("bench", epilog=bench_command.EPILOG)(bench_command.bench)
app.add_typer(demo_command.app, name="demo")


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"podium {version('podium-server')}")
        except PackageNotFoundError:
            typer.echo("podium, not installed")
        raise typer.Exit


@app.callback()
def podium(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the program an error came from.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run the tool calls of AI agents durably, and prove afterwards what happened."""
    context.obj = debug


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit with its code; without arguments, that of this process."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, TextIOWrapper):
        # A character that the terminal's encoding has not must not end a command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(words, prog_name="podium")
    except Exception as error:
        if "--debug" in words:
            raise
        failure = _told(error)
        _say(failure.json() if "--json" in words else f"error: {failure.text()}")
        sys.exit(failure.code)
    sys.exit(ExitCode.OK)


def _say(text: str) -> None:
    """Say why the command failed: on standard error, or wherever else it can still be said."""
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.write(text + "\n")
            stream.flush()
        except OSError:
            continue
        return


def _told(error: Exception) -> CommandFailed:
    """Return how the command tells an error."""
    if isinstance(error, CommandFailed):
        return error
    podium_errors = sys.modules.get("podium.errors")
    if podium_errors is not None and isinstance(error, podium_errors.PodiumError):
        return failure_of(error)
    config = sys.modules.get("service.config")
    if config is not None and isinstance(error, config.ConfigurationError):
        message = "the settings are not in order"
        return CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_SETTINGS", error.violations)
    serving = sys.modules.get("service.main")
    if serving is not None and isinstance(error, serving.ServeError):
        return CommandFailed(str(error))
    hint = "this is a fault of the program; `podium --debug ...` shows where it is"
    return CommandFailed(f"{type(error).__name__}: {error}", reason="INTERNAL", hint=hint)
