"""Tools in processes of their own, which can be killed in the middle of anything.

Processes are spawned, never forked: this process has gRPC's threads, and a fork would inherit their locks without
them. A spawned process imports the program's main module again, so that module must not run the program on import.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from podium.context import AttemptFacts, Context, Signals
from podium.errors import IllegalState, ToolFailed
from podium.failures import EXECUTOR_LOST, plain
from podium.pieces import Pieces, output_json
from podium.signature import Signature
from podium.spans import in_trace

_PROCESS_NAME = "podium-tool"
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt, as it is handed to a worker."""

    function: Callable[..., Any]
    arguments_json: str
    facts: AttemptFacts
    streams: bool
    streams_output: bool


class Worker:
    """One process, which works on one job at a time."""

    def __init__(self) -> None:
        self._pipe, child_pipe = _spawn.Pipe()
        self._process: SpawnProcess = _spawn.Process(target=_work, args=(child_pipe,), name=_PROCESS_NAME, daemon=True)
        self._process.start()
        # Only the worker holds its end now, so this end is told when the worker dies.
        child_pipe.close()
        self._ended = False

    def call(self, job: Job, put: Callable[[bytes], None], signals: Signals) -> str | None:
        """Runs a job and returns its output as JSON text. Blocks: called in a thread.

        Raises:
            ToolFailed: The tool failed, or its process died.
        """
        try:
            self._pipe.send(job)
            while True:
                match self._pipe.recv():
                    case ("chunk", data):
                        put(data)
                    case ("progress", fraction, message):
                        signals.progress(fraction, message)
                    case ("heartbeat",):
                        signals.heartbeat()
                    case ("cache_for", ttl_ms):
                        signals.cache_for(ttl_ms)
                    case ("failed", error):
                        raise error
                    case ("returned", str() | None as output):
                        return output
                    case message:
                        raise AssertionError(f"a worker sent {message!r}")
        except (EOFError, OSError):
            self._ended = True
            self._process.join()
            message = f"the tool's process ended with exit code {self._process.exitcode}"
            raise ToolFailed(message, reason=EXECUTOR_LOST) from None

    @property
    def alive(self) -> bool:
        """Whether it can take another job."""
        return not self._ended and self._process.is_alive()

    def kill(self) -> None:
        """Ends the process at once, whatever it does."""
        self._ended = True
        self._process.kill()

    def close(self) -> None:
        """Lets an idle process end."""
        self._pipe.close()


class WorkerPool:
    """Workers that wait for their next job, and a bound on how many there are."""

    def __init__(self, limit: int) -> None:
        self.places = asyncio.Semaphore(limit)
        self._idle: list[Worker] = []

    def take(self) -> Worker:
        """Returns an idle worker, or a new one. Only with a place."""
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
        return Worker()

    def give_back(self, worker: Worker) -> None:
        """Keeps a worker for the next job, if it still lives."""
        if worker.alive:
            self._idle.append(worker)

    def close(self) -> None:
        """Lets all idle workers end."""
        while self._idle:
            self._idle.pop().close()


def refuse_in_worker() -> None:
    """Raises in a worker: it imports the program's main module, and must not run the program."""
    if multiprocessing.current_process().name == _PROCESS_NAME:
        message = 'a tool with isolation="process" needs a main module that runs nothing on import: '
        raise IllegalState(f'{message}put the last lines under if __name__ == "__main__"', reason="UNGUARDED_MAIN")


class _PipeSignals:
    """Signs of life through the pipe. A worker is never told of a cancel: it is killed."""

    cancelled = False

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._writing = threading.Lock()

    def send(self, *message: object) -> None:
        with self._writing:
            self._pipe.send(message)

    def progress(self, fraction: float, message: str) -> None:
        self.send("progress", fraction, message)

    def heartbeat(self) -> None:
        self.send("heartbeat")

    def cache_for(self, ttl_ms: int) -> None:
        self.send("cache_for", ttl_ms)


def _work(pipe: Connection) -> None:
    # Ctrl-C reaches every process of the terminal; whether this one ends is for its parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals = _PipeSignals(pipe)
    with contextlib.suppress(EOFError, OSError):
        while True:
            job = pipe.recv()
            try:
                output = _run(job, signals)
            except BaseException as error:  # noqa: BLE001 -- whatever it is, it is the tool's and goes to the service
                signals.send("failed", plain(error))
            else:
                signals.send("returned", output)


def _run(job: Job, signals: _PipeSignals) -> str | None:
    with in_trace(job.facts.trace_context):
        return _called(job, signals)


def _called(job: Job, signals: _PipeSignals) -> str | None:
    keywords = Signature.of(job.function).bind(job.arguments_json, lambda: Context(job.facts, signals))
    if not job.streams:
        return output_json(job.function(**keywords))
    pieces = Pieces(streams_output=job.streams_output)
    for piece in job.function(**keywords):
        if data := pieces.take(piece):
            signals.send("chunk", data)
    return pieces.output()
