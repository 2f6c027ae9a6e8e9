"""The engine put together: the domain, admission's guards in their order, places on executors, the log under them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from service.access import Access
from service.admission.addresses import AddressGuard
from service.admission.guards import Guard
from service.admission.json_bounds import JsonBounds
from service.admission.permission import PermissionGuard
from service.admission.pipeline import Pipeline
from service.admission.revocation import AuthorityAgeGuard, RevocationGuard
from service.admission.sanitizing import SanitizerGuard
from service.admission.schema import SchemaGuard
from service.clock import SystemClock, SystemRandomness
from service.config import Settings
from service.domain.decide import Rules
from service.engine.admitting import Admitting
from service.engine.catalog import Catalog
from service.engine.collaborators import Bounds, Collaborators
from service.engine.data_keys import derived
from service.engine.deciding import Deciding
from service.engine.dispatch import Dispatcher, Executor
from service.engine.engine import Engine
from service.engine.expressions import CelExpressions
from service.engine.keys import StepKey
from service.engine.payloads import PayloadCache
from service.engine.sealing import Sealing
from service.engine.secrets import SecretSource
from service.engine.snapshots import Snapshots
from service.engine.turn import Timing
from service.engine.turn_taker import TurnTaker
from service.engine.watchers import Watchers
from service.resilience import Resilience
from store.contract import EventStore

_US_PER_MS = 1000


@dataclass(frozen=True, slots=True)
class EngineParts:
    """What an engine is made of."""

    settings: Settings
    store: EventStore
    clock: SystemClock
    randomness: SystemRandomness
    catalog: Catalog
    payloads: PayloadCache
    expressions: CelExpressions
    access: Access
    limits: Guard
    """The guard of rate limits."""
    resilience: Resilience
    bounds: JsonBounds
    sealing: Sealing
    secrets: SecretSource
    master_key: bytes
    spawn: Callable[[Coroutine[Any, Any, object]], None]
    fatal: Callable[[Exception], None]


def assemble_engine(parts: EngineParts) -> Engine:
    """An engine that runs nothing yet."""
    settings = parts.settings
    engine: Engine

    def offer(key: StepKey, executor: Executor) -> None:
        engine.offer(key, executor)

    dispatcher = Dispatcher(offer, parts.catalog.compatible, parts.resilience.executor_bounds)
    engine = Engine(
        Collaborators(
            store=parts.store,
            clock=parts.clock,
            randomness=parts.randomness,
            turns=_turns(parts, dispatcher),
            dispatcher=dispatcher,
            payloads=parts.payloads,
            watchers=Watchers(settings.limits.watcher_items),
            snapshots=Snapshots(parts.store, derived(parts.master_key, b"podium snapshots")),
            spawn=parts.spawn,
            fatal=parts.fatal,
        ),
        reconnect_grace_us=settings.timings.reconnect_grace_ms * _US_PER_MS,
        park_after_us=settings.timings.park_after_ms * _US_PER_MS,
        bounds=Bounds(
            mailbox=settings.limits.mailbox_commands,
            resident_workflows=settings.limits.resident_workflows,
            appends=max(1, settings.limits.waiting_appends // 2),
        ),
    )
    parts.resilience.cache.wakes(engine.ask_again)
    return engine


def _turns(parts: EngineParts, dispatcher: Dispatcher) -> TurnTaker:
    settings = parts.settings
    permitting = _permitting(parts)
    guards = [*permitting, parts.limits, *parts.resilience.guards()]
    pipeline = Pipeline(guards, parts.resilience.ledger, permitting=permitting, stale=parts.resilience.stale_results())
    deciding = Deciding(
        pipeline=pipeline,
        expressions=parts.expressions,
        payloads=parts.payloads,
        rules=Rules(retry=settings.retry, steps_limit=settings.limits.workflow_steps),
        sealing=parts.sealing,
    )
    admitting = Admitting(
        deciding,
        pipeline=pipeline,
        tools=parts.catalog,
        dispatcher=dispatcher,
        timing=Timing(settings.timings.start_to_close_ms, settings.timings.schedule_to_start_ms),
        inline_limit_bytes=settings.limits.inline_bytes,
        sealing=parts.sealing,
        secrets=parts.secrets,
        trace_ratio=settings.telemetry.trace_ratio if settings.telemetry.otlp_endpoint else None,
    )
    return TurnTaker(
        deciding,
        admitting,
        pipeline=pipeline,
        dispatcher=dispatcher,
        worked_us=parts.clock.worked_us,
        revocations=parts.access.revocations,
    )


def _permitting(parts: EngineParts) -> Sequence[Guard]:
    """What may deny a step its tool, in the order in which it is asked; nothing is handed out before all of it."""
    access = parts.access
    return [
        AddressGuard(access.addresses),
        RevocationGuard(access.revocations, access.policy_of),
        AuthorityAgeGuard(parts.settings.access.run_authority_max_s, access.policy_of),
        PermissionGuard(access.policy_of),
        SchemaGuard(parts.bounds),
        SanitizerGuard(access.policy_of),
    ]
