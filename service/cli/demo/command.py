"""`podium demo`: the whole of Podium at work on this machine."""

from __future__ import annotations

from asyncio import CancelledError
from pathlib import Path
from typing import Annotated

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Json

app = typer.Typer(help="See the whole of it at work on this machine.", no_args_is_help=True, rich_markup_mode=None)

DEFAULT_QUERY = "parse command line arguments"


@app.callback()
def demo() -> None:
    """See the whole of it at work on this machine."""


@app.command(
    "research",
    epilog=example(
        'podium demo research --query "retry with backoff" --source ./docs',
    ),
)
def research(
    query: Annotated[str, typer.Option(metavar="TEXT", help="What to look for.")] = DEFAULT_QUERY,
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder of text, Markdown or HTML. Without it: the documentation that comes with Python.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=20, help="At most so many documents.")] = 6,
    sentiment: Annotated[bool, typer.Option("--sentiment/--no-sentiment", help="Analyse the sentiment, too.")] = True,
    state_directory: Annotated[
        Path, typer.Option("--state-dir", metavar="DIR", help="What is kept between runs: the database and the index.")
    ] = Path(".podium"),
    as_json: Json = False,
) -> None:
    """Search documents, extract their text, analyse its sentiment and summarise it, as a durable workflow.

    Starts the service and an executor in processes of their own, runs the workflow over gRPC, prints its result and its
    audit trail, and rebuilds its state from the events in another process. With --json, one object is printed.
    """
    from service.cli.connecting import run
    from service.cli.demo.research_demo import Question, run_research

    if source is not None and not source.is_dir():
        raise CommandFailed(f"--source {source} is not a folder", ExitCode.BAD_INPUT, "NO_SOURCE")
    if not query.strip():
        raise CommandFailed("--query is empty", ExitCode.BAD_INPUT, "INVALID_ARGUMENT")
    try:
        state_directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"--state-dir {state_directory} cannot be made a folder: {error.strerror}"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_ARGUMENT") from None
    question = Question(query, source, limit, sentiment=sentiment)
    try:
        succeeded = run(run_research(question, state_directory, as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except CancelledError:
        raise typer.Exit(ExitCode.TERMINATED) from None
    raise typer.Exit(ExitCode.OK if succeeded else ExitCode.FAILED)


@app.command("breakers", epilog=example("podium demo breakers", "podium demo breakers --seed 7 --calls 40 --json"))
def breakers(
    seed: Annotated[int, typer.Option(metavar="N", help="Which calls fail.")] = 17,
    calls: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="How often each tool is called.")] = 25,
    as_json: Json = False,
) -> None:
    """Call tools that fail at 40 % of their calls, and see their breakers open, try again and close.

    Starts the service in a process of its own, on a database that is deleted afterwards. Fails when no breaker went all
    the way round from closed to open, half-open and closed.
    """
    from tempfile import TemporaryDirectory

    from service.cli.connecting import run
    from service.cli.demo.unreliable import run_breakers

    try:
        with TemporaryDirectory(prefix="podium-demo-") as folder:
            went_round = run(run_breakers(seed, calls, Path(folder), as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except CancelledError:
        raise typer.Exit(ExitCode.TERMINATED) from None
    raise typer.Exit(ExitCode.OK if went_round else ExitCode.FAILED)
