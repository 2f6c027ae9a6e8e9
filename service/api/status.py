"""How the service is: component by component, and what waits in the caller's tenant.

What is said of the service as a whole, its figures and its names, is for the operator's tenant; others learn whether a
component does its work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from podium.v1 import monitoring_service_pb2 as pb
from service.api.draining import Draining
from service.api.executor_servicer import ExecutorServicer
from service.api.parts import ApiParts
from service.api.status_components import (
    Component,
    cache_component,
    checkpoints_component,
    executors_component,
    lease_component,
    log_component,
    projections_component,
)
from service.engine.engine import Engine
from service.engine.longest_waits import waits_of
from service.projections.runner import ProjectionRunner
from store.checkpointer import Checkpointer
from store.contract import EventStore

STUCK_MAX = 20
QUARANTINED = "a release from the quarantine"


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while the service runs."""

    version: str
    started_at_us: int
    database: str
    """Where the log is, without credentials."""
    operator_tenant: str
    schedule_to_start_ms: int


class Process(Protocol):
    """What the process knows of itself."""

    serves: bool
    """What health checks are told."""
    components: list[Component]


@dataclass(slots=True)
class Status:
    """What the report is made of. Parts that have something to tell add themselves to the components."""

    about: About
    store: EventStore
    engine: Engine
    draining: Draining
    runners: Sequence[ProjectionRunner]
    sessions_of: Callable[[str], int]
    """How many sessions executors of a tenant have."""
    components: list[Component] = field(default_factory=list)
    load: Callable[[], float] = lambda: 0.0
    """How full the service is, 0 to 1."""
    is_ready: Callable[[], bool] = lambda: True
    """What health checks are told: not while it is full."""

    async def report(self, tenant: str) -> pb.GetStatusResponse:
        """How the service is, for a caller of a tenant."""
        engine, about = self.engine, self.about
        waits = await waits_of(engine, tenant, schedule_to_start_ms=about.schedule_to_start_ms, longest=STUCK_MAX)
        quarantined = [key.workflow_id for key in engine.residency.quarantined if key.tenant == tenant]
        components = [tell() for tell in self.components]
        works = self.is_ready() and all(each.healthy for each in components if each.essential)
        answer = pb.GetStatusResponse(
            serving=works and not self.draining.has_begun,
            version=about.version,
            started_at_us=about.started_at_us,
            components=components,
            projection_lag_us=max([await runner.lag_us() for runner in self.runners], default=0),
            executors=self.sessions_of(tenant),
            open_workflows=engine.open_counts.of(tenant),
            running_attempts=engine.attempts.of_tenant(tenant),
            queued_steps=waits.number,
            load=self.load(),
        )
        for workflow_id in sorted(quarantined)[:STUCK_MAX]:
            answer.stuck.add(workflow_id=workflow_id, waits_for=QUARANTINED)
        for wait in waits.longest[: STUCK_MAX - len(answer.stuck)]:
            answer.stuck.add(
                workflow_id=wait.workflow_id, step_id=wait.step_id, waits_for=wait.waits_for, since_us=wait.since_us
            )
        if tenant == about.operator_tenant:
            self._add_what_operators_know(answer)
        else:
            for each in answer.components:
                each.detail = ""
        return answer

    def _add_what_operators_know(self, answer: pb.GetStatusResponse) -> None:
        tenure = self.store.tenure
        answer.database = self.about.database
        answer.owner, answer.epoch = tenure.owner, tenure.epoch
        answer.lease_expires_at_us = tenure.lease_expires_at_us
        answer.head = self.store.head


def status_of(
    about: About,
    parts: ApiParts,
    draining: Draining,
    runners: Sequence[ProjectionRunner],
    checkpointer: Checkpointer,
    executors: ExecutorServicer,
    *,
    failure: Callable[[], Exception | None],
    process: Process,
) -> Status:
    """The report of a service put together. `failure` tells why the log cannot be written any more."""
    components = [
        log_component(parts.store, failure),
        lease_component(parts.store, parts.clock),
        projections_component(runners),
        *process.components,
        cache_component(parts.cache),
        checkpoints_component(parts.store, checkpointer),
        executors_component(lambda: len(executors), parts.engine),
    ]
    return Status(
        about,
        parts.store,
        parts.engine,
        draining,
        runners,
        executors.sessions_of,
        components,
        load=lambda: parts.load.level,
        is_ready=lambda: process.serves,
    )
