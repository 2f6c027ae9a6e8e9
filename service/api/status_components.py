"""How the parts of the service are, each told by a function that answers at once, from memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from podium.v1 import monitoring_service_pb2 as pb
from service.engine.engine import Engine
from service.engine.timers import Clock
from service.projections.runner import ProjectionRunner, RunnerState
from store.checkpointer import Checkpointer
from store.contract import EventStore

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
