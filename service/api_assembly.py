"""What the edge works with, put together over an engine: what servicers share, and what executors' sessions need."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from service.admission.json_text import compact
from service.admission.schema import check_template
from service.admission.sensitivity import Sensitivity
from service.api.parts import ApiParts
from service.api.plans import Plans
from service.domain.validation import Validation
from service.engine.engine import Engine
from service.engine.journal import Journal
from service.engine.keys import ToolVersion
from service.engine.load import Load
from service.engine.revoking import Revoker
from service.engine.sealing import TenantSeals
from service.engine_assembly import EngineParts
from service.executors.output_rules import OutputRules
from service.executors.session_parts import SessionLimits, SessionParts


def assemble_api(parts: EngineParts, engine: Engine, sensitivity: Sensitivity, load: Load) -> ApiParts:
    """What servicers work with, over the engine that was made of `parts`."""
    settings, access, resilience = parts.settings, parts.access, parts.resilience
    validation_of = _validations(parts)
    return ApiParts(
        engine=engine,
        store=parts.store,
        catalog=parts.catalog,
        payloads=parts.payloads,
        clock=parts.clock,
        tokens=parts.randomness,
        policy_of=access.policy_of,
        blocks=access.blocks,
        tenants=access.tenants,
        revocations=access.revocations,
        revoker=Revoker(parts.store, access.revocations, engine, access.streams.end_revoked),
        validation_of=validation_of,
        plans=Plans(validation_of, parts.clock.worked_us),
        sealing=parts.sealing,
        sensitivity=sensitivity,
        cancel_grace_ms=settings.timings.cancel_grace_ms,
        inline_bytes=settings.limits.inline_bytes,
        bounds=parts.bounds,
        batch_calls=settings.limits.batch_calls,
        cache=resilience.cache,
        breakers=resilience.breakers,
        load=load,
    )


def _validations(parts: EngineParts) -> Callable[[str], Validation]:
    limits = parts.settings.limits.of_workflows
    reading = (check_template, parts.expressions, limits, parts.bounds.problem, compact)

    def validation_of(tenant: str) -> Validation:
        return Validation(partial(parts.catalog.newest, tenant), *reading)

    return validation_of


def session_parts(parts: EngineParts, api: ApiParts) -> SessionParts:
    """What the sessions of executors work with."""

    def sealer_of(tool: ToolVersion) -> TenantSeals | None:
        return parts.sealing.of(tool.tenant) if api.sensitivity.of_output(*tool) else None

    settings = parts.settings
    definition = parts.catalog.definition
    return SessionParts(
        engine=api.engine,
        store=parts.store,
        payloads=parts.payloads,
        clock=parts.clock,
        chance=parts.randomness.chance,
        definition=definition,
        spawn=parts.spawn,
        journal=Journal(parts.store),
        limits=SessionLimits(
            inline_bytes=settings.limits.inline_bytes,
            chunk_bytes=settings.limits.chunk_bytes,
            json=parts.bounds,
        ),
        rules=OutputRules(definition, parts.access.policy_of, parts.bounds, redact=settings.secrets.redact_outputs),
        sealer_of=sealer_of,
    )
