"""The windows in which the service is killed, and the real service built with them.

Imported only in the process that becomes the service: gRPC must not be there before the fork.
"""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from sqlalchemy import Engine, event

from service import assembly
from service.api.executor_servicer import ExecutorServicer
from service.config import Settings, Timings
from service.domain.retry import RetryDefaults
from service.engine.attempts import Attempts
from service.engine.keys import StepKey
from service.main import ServeError, serve
from service.settings.listening import Listening
from service.settings.storage import Storage
from store.limits import StoreLimits
from store.migrate import migrate
from store.sqlite import sqlite_log
from store.sqlite_engine import path_of
from store.units import AppendUnit
from store.writer import GroupCommitWriter
from tests.faults.ledger import Ledger

TIME_TO_LEAVE_S = 0.02
WINDOW_OF_POINT = {"written": "committing", "committed": "committed"}


def settings_for(directory, port=0, grace_ms=3000):
    """The service's settings in a test's directory; short waits, because a test looks at what comes after them."""
    directory = Path(directory)
    return Settings(
        listening=Listening(f"127.0.0.1:{port}"),
        storage=Storage(f"sqlite:///{directory}/podium.db", directory / "state"),
        timings=Timings(
            reconnect_grace_ms=grace_ms, heartbeat_interval_ms=250, reconcile_interval_ms=1000, drain_ms=3000
        ),
        retry=RetryDefaults(initial_backoff_ms=50, max_backoff_ms=200),
    ).checked()


class Fuse:
    """Ends the process, as a SIGKILL from outside would, when a window is reached for the n-th time once armed."""

    def __init__(self, ledger, window="", nth=1):
        self._ledger = ledger
        self._window = window
        self._left = nth
        self.armed = False

    def arm(self):
        self.armed = True

    def reach(self, window):
        if not self.armed or window != self._window:
            return
        self._left -= 1
        if self._left == 0:
            self._ledger.write(event="killed", window=window, pid=os.getpid())
            os.kill(os.getpid(), signal.SIGKILL)

    def pass_point(self, point):
        if point in WINDOW_OF_POINT:
            self.reach(WINDOW_OF_POINT[point])


def writer_class(fuse, kind):
    """The writer that tells the fuse of what is queued; "hasty": the one that acknowledges before it commits."""

    class WatchedWriter(GroupCommitWriter):
        def submit(self, unit):
            super().submit(unit)
            if isinstance(unit, AppendUnit):
                fuse.reach("queued")

    class HastyWriter(WatchedWriter):
        async def _commit(self, group):
            self._acknowledge(group)
            # What was released must have left, or the kill takes it along.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TIME_TO_LEAVE_S):
                    await asyncio.Event().wait()
            if group.batch:
                await self._backend.commit(group.batch)

    return HastyWriter if kind == "hasty" else WatchedWriter


def servicer_class(fuse):
    """The servicer that tells the fuse of frames: assignments that have left and results that came in."""

    class WatchedServicer(ExecutorServicer):
        async def Session(self, request_iterator, context):  # noqa: N802 - the contract's name
            async def incoming():
                async for frame in request_iterator:
                    if any(item.HasField("result") for item in frame.items):
                        fuse.reach("result_received")
                    yield frame

            async with contextlib.aclosing(super().Session(incoming(), context)) as frames:
                async for frame in frames:
                    yield frame
                    # gRPC asks for the next frame when this one was handed to the connection.
                    if any(item.HasField("assign") for item in frame.items):
                        fuse.reach("dispatched")

    return WatchedServicer


def without_fence(attempts, tenant, reference):
    """A negative control: whoever speaks of a step is taken to speak of the attempt that runs."""
    return attempts.of_step(StepKey(tenant, reference.workflow_id, reference.step_id))


def become_service(order, report):
    """Serve as ordered until the end; `report` is told of the address, or of why there is none."""
    directory = Path(order["directory"])
    fuse = Fuse(Ledger(directory / "kills.ledger"), order["window"], order["nth"])
    assembly.ExecutorServicer = servicer_class(fuse)

    def make_log(settings, clock):
        path = path_of(settings.storage.database_url)
        event.listen(Engine, "before_cursor_execute", lambda *_: fuse.reach("migrating"))
        migrate(f"sqlite:///{path}")
        log = sqlite_log(path, clock=clock, limits=StoreLimits(), on_point=fuse.pass_point)
        log.writer_class = writer_class(fuse, order["writer"])
        return log

    def on_ready(running):
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, fuse.arm)
        report(what="ready", address=running.address)

    if not order["fencing"]:
        Attempts.find = without_fence
    if order["armed"]:
        fuse.arm()
    try:
        serve(settings_for(directory, order["port"], order["grace_ms"]), on_ready=on_ready, make_log=make_log)
    except ServeError as error:
        report(what="failed", message=str(error))
        return 1
    return 0
