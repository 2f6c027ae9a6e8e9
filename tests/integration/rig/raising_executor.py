"""A program that serves tools which raise what they are told: `python -m tests.integration.rig.raising_executor WAY`.

It is served as `podium.Executor.run` does, by `asyncio.run`, or on a loop that leaves Ctrl-C to Python.
"""

import asyncio
import logging
import os
import signal
import sys
from dataclasses import dataclass

import podium


class OwnError(BaseException):
    """One that is no Exception."""


RAISED = {
    each.__name__: each
    for each in (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, OwnError, ValueError)
}

LEFT_IN_THE_MIDDLE = 130

app = podium.Executor("raising", max_processes=1)


@dataclass
class Call:
    what: str


@app.tool
async def on_loop(what: str) -> str:
    raise RAISED[what]("x")


@app.tool
def in_thread(what: str) -> str:
    raise RAISED[what]("x")


@app.tool
def thrown_in_thread(what: str) -> str:
    """Nowhere in it stands `raise`."""
    (each for each in what).throw(RAISED[what]("x"))


@app.tool
async def pieces_on_loop(what: str):
    yield "a piece"
    raise RAISED[what]("x")


@app.tool
def pieces_in_thread(what: str):
    yield "a piece"
    raise RAISED[what]("x")


@app.tool(isolation="process")
def in_process(what: str) -> str:
    raise RAISED[what]("x")


@app.tool(batch=podium.Batch(max_wait=0))
async def batch_on_loop(calls: list[Call]) -> list[str]:
    raise RAISED[calls[0].what]("x")


@app.tool(batch=podium.Batch(max_wait=0))
def batch_in_thread(calls: list[Call]) -> list[str]:
    raise RAISED[calls[0].what]("x")


@app.tool(batch=podium.Batch(max_wait=0))
async def batch_gives(calls: list[Call]) -> list[BaseException]:
    return [RAISED[call.what]("x") for call in calls]


@app.tool
async def awaits_a_thread(what: str) -> str:
    return await asyncio.to_thread(in_thread, what)


TOOLS = tuple(app.tools)


@app.tool
async def greet() -> str:
    return "hello"


@app.tool
async def presses_ctrl_c(times: int) -> str:
    """A signal comes while the loop is here: the one that ends what a loop runs, or one that ends the program."""
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)
    return "still here"


def main(way: str) -> None:
    """Serves until it is ended, and says when it begins."""
    logging.basicConfig()
    logging.getLogger("podium.serving").setLevel(logging.INFO)
    match way:
        case "run":
            app.run()
        case "asyncio.run":
            asyncio.run(app.serve())
        case "loop":
            try:
                asyncio.new_event_loop().run_until_complete(app.serve())
            except KeyboardInterrupt:
                # A loop that was left in the middle stays as it is, and with gRPC on it Python does not always end.
                os._exit(LEFT_IN_THE_MIDDLE)


if __name__ == "__main__":
    main(sys.argv[1])
