"""`podium bench`: measures a running service with an executor of its own."""

from __future__ import annotations

import statistics
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from service.cli.bench.measures import Measure
    from service.cli.bench.target import Round

EPILOG = "\n".join(
    (
        "\b",
        "Measures:",
        "  a     50 workflows of 10 sequential steps at once: steps a second",
        "  a500  500 at once; and how many times the mean of a step its 99th percentile is",
        "  b     10 sequential steps, one workflow at a time",
        "  c     100 steps at once, one workflow at a time",
        "  d     direct calls of a tool, one at a time",
        "  e     streamed output to a watcher; and the way of a first chunk, from the tool",
        "  j     what 1,000 watchers of idle workflows cost a; and a watcher of each workflow",
        "",
        example("podium bench", "podium bench --address podium.example.com:7233 --only a,b --rounds 5 --json"),
    )
)


def bench(
    only: Annotated[
        str, typer.Option(metavar="LETTERS", help="These measures alone, joined by commas: a,a500,b,c,d,e,j.")
    ] = "",
    rounds: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Medians of so many rounds.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Small rounds: to see that it works, not to compare.")] = False,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Measure a running service: its throughput, the latency of its steps and calls, its streams and its watchers.

    It starts an executor beside itself, whose tools podium_bench_noop and podium_bench_stream stay registered. What it
    runs is recorded as any other work is, a few hundred thousand events, and has ended when it ends. Load and executor
    compete with a service on the same machine. The token needs a role that may serve tools and run workflows: admin.
    """
    from service.cli.bench.measures import MEASURES
    from service.cli.connecting import run

    letters = [letter.strip() for letter in only.split(",") if letter.strip()] or list(MEASURES)
    if unknown := [letter for letter in letters if letter not in MEASURES]:
        message = f"--only {', '.join(unknown)} is no measure; there are {', '.join(MEASURES)}"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_ARGUMENT")
    try:
        run(_bench(letters, rounds, address, token, quick=quick, as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except CancelledError:
        raise typer.Exit(ExitCode.TERMINATED) from None


async def _bench(
    letters: Sequence[str], rounds: int, address: str | None, token: str | None, *, quick: bool, as_json: bool
) -> None:
    from contextlib import aclosing

    from service.cli.child_processes import cancelled_when_asked_to_end
    from service.cli.output import print_json, table

    cancelled_when_asked_to_end()
    rows: list[dict[str, Any]] = []
    async with aclosing(_measured(letters, rounds, address, token, quick=quick)) as found:
        async for row in found:
            if as_json:
                print_json(row)
            rows.append(row)
    if not as_json:
        table(("measure", "figure", "median", "min to max", "what"), [_cells(row) for row in rows])


async def _measured(
    letters: Sequence[str], rounds: int, address: str | None, token: str | None, *, quick: bool
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the figures, measure by measure. Raises podium.PodiumError."""
    from service.cli.bench.measures import MEASURES
    from service.cli.bench.session import session
    from service.cli.output import note

    async with session(address, token) as target:
        # What is only done once, as when a connection or a cache is new, is no part of a round.
        await MEASURES["a"].round(target, quick=True)
        for letter in letters:
            measure = MEASURES[letter]
            note(f"{letter}: {measure.title} …")
            found = [await measure.round(target, quick=quick) for _ in range(rounds)]
            for row in _figures(letter, measure, found):
                yield row


def _figures(letter: str, measure: Measure, rounds: Sequence[Round]) -> list[dict[str, Any]]:
    rows = []
    for figure in measure.figures:
        values = [figure.of(each) for each in rounds]
        rows.append(
            {
                "measure": letter,
                "title": measure.title,
                "figure": figure.name,
                "unit": figure.unit,
                "median": round(statistics.median(values), 3),
                "min": round(min(values), 3),
                "max": round(max(values), 3),
                "rounds": len(values),
            }
        )
    return rows


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    span = f"{row['min']:,g} to {row['max']:,g}"
    return row["measure"], row["figure"], f"{row['median']:,g} {row['unit']}", span, row["title"]
