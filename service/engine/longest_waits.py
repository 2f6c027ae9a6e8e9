"""The steps of a tenant that wait, and what for: how many there are, and which wait longest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from heapq import nsmallest
from typing import NamedTuple

from service.domain.state import US_PER_MS, Step, TimerKind
from service.engine.engine import Engine
from service.engine.keys import StepKey
from service.engine.resident import Resident

_AT_ONCE = 500
"""Workflows that are looked at before other work has its turn."""


class WaitingStep(NamedTuple):
    """A step that waits."""

    since_us: int
    workflow_id: str
    step_id: str
    waits_for: str
    """For a person."""


class Waits(NamedTuple):
    """The steps of a tenant that wait."""

    number: int
    longest: Sequence[WaitingStep]


async def waits_of(engine: Engine, tenant: str, *, schedule_to_start_ms: int, longest: int) -> Waits:
    """Look at all workflows of a tenant in memory: those that are not have no step that waits.

    `schedule_to_start_ms` is how long a step may wait that does not say.
    """
    found: list[WaitingStep] = []
    for number, resident in enumerate(engine.residency.running(), 1):
        if resident.key.tenant == tenant and resident.loaded:
            found += _waiting_in(engine, resident, schedule_to_start_ms)
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return Waits(len(found), nsmallest(longest, found))


def _waiting_in(engine: Engine, resident: Resident, schedule_to_start_ms: int) -> Iterator[WaitingStep]:
    state = resident.state
    for timer in state.timers:
        due_us, _, kind, step_id, _ = timer
        if kind is TimerKind.QUEUE and state.valid(timer):
            step = state.steps[step_id]
            # One that was queued before and is queued again has a timer of each.
            if due_us == step.deadline_at_us:
                wait_ms = step.plan.definition.timeouts.schedule_to_start_ms or schedule_to_start_ms
                since_us = due_us - wait_ms * US_PER_MS
                yield WaitingStep(since_us, resident.key.workflow_id, step_id, _waits_for(engine, resident, step))


def _waits_for(engine: Engine, resident: Resident, step: Step) -> str:
    tenant, tool = resident.key.tenant, step.call.tool
    if engine.dispatcher.is_waiting(StepKey(*resident.key, step.id)):
        served = engine.dispatcher.sessions(tenant, tool)
        return f"a free place for {tool}" if served else f"an executor that serves {tool}"
    return f"the limit {step.limited_by}" if step.limited_by else step.waits_for or f"a place for {tool}"
