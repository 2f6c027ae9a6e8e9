"""`podium log`: verify the whole log, and show what its owner signed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Json, StateDirectory

app = typer.Typer(help="Verify the whole log, and show what was signed.", no_args_is_help=True, rich_markup_mode=None)

_COUNTED = ("events", "streams", "tenants", "payloads", "tiles", "checkpoints", "outside_checkpoints")

Database: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL|PATH",
        envvar="PODIUM_DATABASE_URL",
        help="sqlite:///PATH, or the path of a SQLite file; a server may be running on it. Without it: podium.db",
    ),
]


@app.callback()
def log() -> None:
    """Verify the whole log, and show what was signed."""


@app.command(
    "verify",
    epilog=example(
        "podium log verify --database podium.db",
        "podium log verify --database copy.db --checkpoints checkpoints.txt --key $(cat log.pub)",
    ),
)
def verify(
    database: Database = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Checkpoints that were kept outside of the database: what is trusted most."),
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key",
            metavar="VERIFIERKEY",
            help="Who may have signed; may be repeated. Without it: the key in --state-dir.",
        ),
    ] = None,
    state_directory: StateDirectory = None,
    as_json: Json = False,
) -> None:
    """Read the whole log again, and check that everything in it is as it was written.

    Positions, versions and sequences without a gap, records against their columns, payloads against their digests,
    the Merkle tree and every signed checkpoint. A log that was cut short, or rewritten as a whole, is found only with
    --checkpoints. Exit code 1 says that something was found, 2 that it could not be looked for.
    """
    from service.cli.json_options import read_text
    from service.cli.output import print_json
    from service.cli.service_settings import settings_with
    from service.main import ServeError, verifier_key, verify_log

    settings = settings_with(database=database, state_directory=state_directory)
    outside = "" if checkpoints is None else read_text(str(checkpoints), "--checkpoints")
    if checkpoints is not None and not outside:
        raise _refused(f"--checkpoints {checkpoints} is empty")
    try:
        if not keys and settings.checkpoint_key_file.exists():
            keys = [verifier_key(settings)]
        with _progress() as on_progress:
            verified = verify_log(settings.storage.database_url, keys or (), outside=outside, on_progress=on_progress)
    except ServeError as error:
        raise _refused(str(error)) from None
    answer = asdict(verified) | {"clean": verified.is_clean}
    if as_json:
        print_json(answer)
    else:
        _tell(answer)
    raise typer.Exit(ExitCode.OK if verified.is_clean else ExitCode.FAILED)


@app.command("checkpoint", epilog=example("podium log checkpoint --database podium.db"))
def checkpoint(database: Database = None, as_json: Json = False) -> None:
    """Print the newest checkpoint of the log, as it was signed.

    The note holds the log's name, how many events it covers, their Merkle root and the signature.
    """
    from service.cli.output import print_json, say
    from service.cli.service_settings import settings_with
    from service.main import ServeError, newest_checkpoint

    try:
        note = newest_checkpoint(settings_with(database=database).storage.database_url)
    except ServeError as error:
        raise _refused(str(error)) from None
    if note is None:
        raise CommandFailed("nothing is signed yet", ExitCode.NOT_FOUND, "CHECKPOINT_NOT_FOUND")
    if as_json:
        print_json({"note": note})
    else:
        say(note.removesuffix("\n"))


@app.command("key", epilog=example("podium log key --state-dir .podium > log.pub"))
def key(state_directory: StateDirectory = None, as_json: Json = False) -> None:
    """Print the key with which anybody can verify the log's checkpoints. It is no secret.

    Keep it apart from the database: whoever can change both can make a log that verifies.
    """
    from service.cli.output import print_json, say
    from service.cli.service_settings import settings_with
    from service.main import ServeError, verifier_key

    try:
        text = verifier_key(settings_with(state_directory=state_directory))
    except ServeError as error:
        raise CommandFailed(str(error), ExitCode.NOT_FOUND, "KEY_NOT_FOUND") from None
    if as_json:
        print_json({"key": text})
    else:
        say(text)


def _refused(message: str) -> CommandFailed:
    return CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_ARGUMENT")


def _tell(answer: dict[str, Any]) -> None:
    from service.cli.output import note, say

    for finding in answer["findings"]:
        say(f"{finding['reason']}: {finding['message']}")
    untold = answer["findings_count"] - len(answer["findings"])
    if untold:
        say(f"and {untold} more")
    counted = ", ".join(_count(answer[name], name.replace("_", " ")) for name in _COUNTED)
    if not answer["clean"]:
        say(f"the log is not as it was written: {_count(answer['findings_count'], 'findings')} in {counted}")
        return
    say(f"the log is as it was written: {counted}")
    if answer["passed_over"]:
        note(f"passed over, because incomplete: {_count(answer['passed_over'], 'outside checkpoints')}")
    if not answer["outside_checkpoints"]:
        note("Without --checkpoints, a log that was cut short or rewritten as a whole can pass.")


def _count(number: int, things: str) -> str:
    return f"{number} {things if number != 1 else things.removesuffix('s')}"


@contextmanager
def _progress() -> Generator[Callable[[int, int], None] | None]:
    """A bar on the terminal; on anything else, nothing."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("verifying", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
