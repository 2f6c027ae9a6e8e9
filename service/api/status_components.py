"""How the parts of the service are, each told by a function that answers at once, from memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from podium.v1 import monitoring_service_pb2 as pb
from service.engine.engine import Engine
from service.engine.load import LoopLag, MemoryFill
from service.engine.result_caching import ResultCaching
from service.engine.timers import Clock
from service.projections.runner import ProjectionRunner, RunnerState
from store.checkpointer import Checkpointer
from store.contract import EventStore

_MIB = 1 << 20

Component = Callable[[], pb.ComponentStatus]
"""Tells how a part of the service is."""


def log_component(store: EventStore, failure: Callable[[], Exception | None]) -> Component:
    """The log, which the service cannot do without."""

    def tell() -> pb.ComponentStatus:
        error = failure()
        detail = f"at position {store.head}" if error is None else f"cannot be written: {error}"
        return pb.ComponentStatus(component="log", healthy=error is None, essential=True, detail=detail)

    return tell


def lease_component(store: EventStore, clock: Clock) -> Component:
    """That this process owns the log."""

    def tell() -> pb.ComponentStatus:
        tenure = store.tenure
        detail = f"epoch {tenure.epoch} of {tenure.owner}"
        if tenure.lease_expires_at_us:
            left_s = (tenure.lease_expires_at_us - clock.now_us()) / 1e6
            detail += f", for {left_s:.1f} s unless it is renewed"
        return pb.ComponentStatus(component="lease", healthy=store.is_current, essential=True, detail=detail)

    return tell


def projections_component(runners: Sequence[ProjectionRunner]) -> Component:
    """The read models. Without them nothing can be listed, and all else works."""

    def tell() -> pb.ComponentStatus:
        well = all(not each.problem and each.state is not RunnerState.FAILED for each in runners)
        told = [f"{each.name} {each.state}, {each.lag} events behind" for each in runners]
        told += [f"{each.name}: {each.problem}" for each in runners if each.problem]
        return pb.ComponentStatus(component="projections", healthy=well, detail="; ".join(told))

    return tell


def loop_component(lag: LoopLag) -> Component:
    """The event loop. Its lag is part of the load, by which it is decided whether the service serves."""

    def tell() -> pb.ComponentStatus:
        return pb.ComponentStatus(component="loop", healthy=lag() < 1, detail=f"{lag.late_s * 1000:.0f} ms late")

    return tell


def memory_component(memory: MemoryFill) -> Component:
    """The memory that the process has, of what it may have. It is part of the load too."""

    def tell() -> pb.ComponentStatus:
        bound = f"of {memory.limit_bytes // _MIB} MiB" if memory.limit_bytes else "and no bound"
        detail = f"{memory.used_bytes() // _MIB} MiB {bound}"
        return pb.ComponentStatus(component="memory", healthy=memory() < 1, detail=detail)

    return tell


def cache_component(cache: ResultCaching) -> Component:
    """The results that are kept. A server beside the memory that fails is a miss, and nothing worse."""

    def tell() -> pb.ComponentStatus:
        entries, size_bytes = cache.results.total
        detail = f"{entries} results, {size_bytes / _MIB:.1f} MiB"
        failures = cache.remote_failures()
        if cache.remote_place:
            how = f"has failed {failures} times in a row" if failures else "answers"
            detail += f"; {cache.remote_place} {how}"
        return pb.ComponentStatus(component="cache", healthy=not failures, detail=detail)

    return tell


def checkpoints_component(store: EventStore, checkpointer: Checkpointer) -> Component:
    """The signatures over the log."""

    def tell() -> pb.ComponentStatus:
        detail = checkpointer.problem or f"signed up to {checkpointer.signed_size} of {store.head}"
        return pb.ComponentStatus(component="checkpoints", healthy=not checkpointer.problem, detail=detail)

    return tell


def executors_component(count: Callable[[], int], engine: Engine) -> Component:
    """The sessions of executors, of all tenants."""

    def tell() -> pb.ComponentStatus:
        detail = f"{count()} sessions, {len(engine.attempts)} attempts"
        return pb.ComponentStatus(component="executors", healthy=True, detail=detail)

    return tell
