"""The parts of the service put together over an opened store: engine, admission, projections, servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2

from service.access import Access
from service.admission.json_bounds import JsonBounds
from service.admission.json_text import compact
from service.admission.published_keys import PublishedKeys
from service.admission.schema import check_definition, check_template
from service.admission.sensitivity import Sensitivity
from service.admission.tokens import Tokens
from service.api.draining import Draining
from service.api.executor_servicer import ExecutorServicer
from service.api.handlers import EdgeInterceptor
from service.api.ownership import Ownership
from service.api.parts import ApiParts
from service.api.plans import Plans
from service.api.service_names import SERVICE_NAMES
from service.api.status import About, Status, status_of
from service.api.trace_contexts import take_trace_context
from service.checkpointing import checkpoint_copies
from service.clock import SystemClock, SystemRandomness
from service.collector import settle_collector
from service.config import Settings
from service.domain.validation import Validation
from service.draining import Drain
from service.engine.catalog import Catalog
from service.engine.data_keys import Keyring
from service.engine.engine import Engine
from service.engine.expressions import CelExpressions
from service.engine.journal import Journal
from service.engine.keys import ToolVersion
from service.engine.limit_tail import counted_guard
from service.engine.payloads import PayloadCache
from service.engine.recovery import make_rounds, recover
from service.engine.revoking import Revoker
from service.engine.sealing import Sealing, TenantSeals
from service.engine_assembly import EngineParts, assemble_engine
from service.executors.output_rules import OutputRules
from service.executors.secret_files import SecretFiles
from service.executors.session_parts import SessionLimits, SessionParts
from service.listening import bind, server_options
from service.projections.audit import AuditTrail
from service.projections.database import ProjectionsDatabase
from service.projections.read_model import ReadModel
from service.projections.runner import ProjectionRunner
from service.projections.tool_statistics import ToolStatistics
from service.projections.workflows import WorkflowList
from service.resilience import Resilience
from service.servicers import Served, add_servicers
from service.serving import Serving
from service.tasks import Tasks
from service.telemetry.switch import Observed, telemetry_of
from store.checkpointer import Checkpointer
from store.checkpoints import Signer
from store.contract import EventStore, StoreError
from store.event_log import EventLog

logger = logging.getLogger(__name__)


class Service:
    """One process's worth of Podium, put together."""

    def __init__(  # noqa: PLR0913 - what the composition root opens
        self,
        settings: Settings,
        *,
        clock: SystemClock,
        randomness: SystemRandomness,
        tokens: Tokens,
        master_key: bytes,
        signer: Signer,
        stop: Callable[[], None],
        previous_master_key: bytes | None = None,
        published_keys: PublishedKeys | None = None,
        database_name: str = "",
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._randomness = randomness
        self._tokens = tokens
        self._master_key = master_key
        self._previous_master_key = previous_master_key
        self._signer = signer
        self._stop = stop
        self._tasks = Tasks()
        self._published_keys = published_keys
        self._database_name = database_name
        self._access = Access(
            settings.access,
            clock,
            self._tasks.spawn,
            condition_bytes=settings.limits.condition_bytes,
            token_leeway_s=settings.tokens.token_leeway_s,
        )
        self._resilience = Resilience(
            self._access.policy_of,
            clock,
            randomness.chance,
            cache=settings.cache,
            spawn=self._tasks.spawn,
            master_key=master_key,
        )
        self._secrets = SecretFiles(settings.secrets.secrets_directory, self._access.policy_of, clock.now_us)
        self._bounds = JsonBounds(*settings.limits.json_bounds)
        self._telemetry = telemetry_of(settings.telemetry, clock, self._tasks.spawn)
        self.failure: Exception | None = None
        self.address = ""
        self._store: EventStore | None = None
        self._draining = Draining()

    async def start(self, stack: AsyncExitStack, store: EventLog, database: ProjectionsDatabase) -> None:
        """Open everything over an opened store, innermost first, and serve. The stack closes it in reverse.

        Call `bind` before. Raises MasterKeyError when the master key does not open the data keys.
        """
        self._store = store
        models: list[ReadModel[Any]] = [
            ReadModel(WorkflowList, database),
            ReadModel(AuditTrail, database),
            ReadModel(ToolStatistics, database),
        ]
        runners = [ProjectionRunner(model, store, self._clock) for model in models]
        for runner in runners:
            await runner.open()
        self._checkpoints = checkpointer = self._checkpointer(store)
        # Behind the tasks, so that it signs what they appended last.
        stack.push_async_callback(checkpointer.finish)
        stack.push_async_callback(self._tasks.close)
        self._tasks.spawn(checkpointer.run())
        for runner in runners:
            self._tasks.spawn(runner.run())
        parts = await self.assemble(store)
        self._parts, self._runners = parts, runners
        stack.callback(parts.engine.close)
        if (keys := self._published_keys) is not None:
            await keys.refresh()
            self._tasks.spawn(keys.run())
        await self._listen(parts, runners)
        if self._telemetry is not None:
            self._telemetry.start(stack, self._observed(parts.engine, store, runners))
        self.begin_work(parts)
        self._tasks.spawn(self._watch_log(store))
        settle_collector()

    async def assemble(self, store: EventStore) -> ApiParts:
        """Put together what servicers work with, over an opened store. Nothing runs yet. Raises MasterKeyError."""
        catalog = Catalog(store, check_definition)
        await catalog.load()
        await self._access.load(store)
        payloads = PayloadCache(store)
        self._sealing = await self._open_sealing(store, catalog, payloads)
        self._resilience.cache.opens_with(self._sealing.keyring)
        tenants = {tool.tenant for tool in catalog.versions()}
        self._rate_limits = await counted_guard(
            store, store.head, self._clock.now_us(), self._access.policy_of, tenants
        )
        await self._resilience.load(store)
        engine = self._engine(store, catalog, payloads)
        engine.open_counts.load(await store.open_workflows())
        self._access.policies.on_change(self._resilience.policy_changed)
        self._access.policies.on_change(engine.dispatcher.serve_tenant)
        self._serving = Serving(engine, store, self._settings.limits.memory_bytes, self._randomness.chance)
        return self._api_parts(engine, store, catalog, payloads)

    def _observed(self, engine: Engine, store: EventLog, runners: list[ProjectionRunner]) -> Observed:
        return Observed(
            engine=engine,
            store=store,
            runners=runners,
            sessions=lambda: len(self._executors),
            waiting_appends_limit=self._settings.limits.waiting_appends,
            resident_limit=self._settings.limits.resident_workflows,
            load=self._serving.load,
            lag=self._serving.lag,
            cache=self._resilience.cache.results,
            bulkheads=self._resilience.bulkheads,
        )

    def begin_work(self, parts: ApiParts) -> None:
        """Go on with what is open, and look at it again and again."""
        self._tasks.spawn(self._work(parts.engine, parts.store))

    async def _work(self, engine: Engine, store: EventStore) -> None:
        try:
            logger.info("recovered: %d open workflows", await recover(engine, store))
        except StoreError:
            logger.exception("recovery could not be finished; the rounds go on with it")
        await make_rounds(engine, store, self._clock, self._settings.timings.reconcile_interval_ms / 1000)

    async def _open_sealing(self, store: EventStore, catalog: Catalog, payloads: PayloadCache) -> Sealing:
        settings = self._settings
        random_bytes = self._randomness.bytes
        keyring = Keyring(
            store,
            self._master_key,
            now_us=self._clock.now_us,
            random_bytes=random_bytes,
            spawn=self._tasks.spawn,
            previous_master_key=self._previous_master_key,
        )
        await keyring.load()
        self._sensitivity = Sensitivity(catalog.definition, everything=settings.sealing.seal_everything)
        # Whoever seals cannot wait for a key, so there is one for every tenant that may need it.
        for tool in catalog.versions():
            if self._sensitivity.of_input(*tool) or self._sensitivity.of_output(*tool):
                await keyring.ready(tool.tenant)
        return Sealing(keyring, payloads, random_bytes, inline_limit_bytes=settings.limits.inline_bytes)

    def _checkpointer(self, store: EventStore) -> Checkpointer:
        settings = self._settings.checkpoints
        return Checkpointer(
            store,
            self._signer,
            checkpoint_copies(settings),
            every_events=settings.checkpoint_every_events,
            interval_s=settings.checkpoint_interval_ms / 1000,
        )

    def _engine(self, store: EventStore, catalog: Catalog, payloads: PayloadCache) -> Engine:
        settings = self._settings
        self._expressions = CelExpressions(text_limit_bytes=settings.limits.condition_bytes)
        return assemble_engine(
            EngineParts(
                settings=settings,
                store=store,
                clock=self._clock,
                randomness=self._randomness,
                catalog=catalog,
                payloads=payloads,
                expressions=self._expressions,
                access=self._access,
                limits=self._rate_limits,
                resilience=self._resilience,
                bounds=self._bounds,
                sealing=self._sealing,
                secrets=self._secrets,
                master_key=self._master_key,
                spawn=self._tasks.spawn,
                fatal=self._fail,
            )
        )

    def _fail(self, error: Exception) -> None:
        """The log cannot be written: stop, so that a supervisor starts a process that opens it anew."""
        if self.failure is None:
            logger.critical("the log cannot be written any more, the service stops: %s", error)
            self.failure = error
            self._stop()

    def _api_parts(self, engine: Engine, store: EventStore, catalog: Catalog, payloads: PayloadCache) -> ApiParts:
        settings = self._settings
        limits = settings.limits.of_workflows
        reading = (check_template, self._expressions, limits, self._bounds.problem, compact)

        def validation_of(tenant: str) -> Validation:
            return Validation(partial(catalog.newest, tenant), *reading)

        return ApiParts(
            engine=engine,
            store=store,
            catalog=catalog,
            payloads=payloads,
            clock=self._clock,
            tokens=self._randomness,
            policy_of=self._access.policy_of,
            blocks=self._access.blocks,
            tenants=self._access.tenants,
            revocations=self._access.revocations,
            revoker=Revoker(store, self._access.revocations, engine, self._access.streams.end_revoked),
            validation_of=validation_of,
            plans=Plans(validation_of),
            sealing=self._sealing,
            sensitivity=self._sensitivity,
            cancel_grace_ms=settings.timings.cancel_grace_ms,
            inline_bytes=settings.limits.inline_bytes,
            bounds=self._bounds,
            batch_calls=settings.limits.batch_calls,
            cache=self._resilience.cache,
            breakers=self._resilience.breakers,
            load=self._serving.load,
        )

    def bind(self) -> None:
        """Take the address to listen on, without serving yet. Call on the loop, once. Raises ListenError."""
        edge = EdgeInterceptor(
            [
                take_trace_context,
                Ownership(lambda: self._store is not None and self._store.is_current),
                self._draining,
                *self._access.guards(self._tokens),
            ],
            self._access.refused,
            self._access.streams.lasting,
            self._access.standing,
        )
        self._server = grpc.aio.server(interceptors=[edge], options=server_options(self._settings))
        self.address = bind(self._server, self._settings.listening)

    async def _listen(self, parts: ApiParts, runners: list[ProjectionRunner]) -> None:
        settings, server = self._settings, self._server
        self._executors = ExecutorServicer(
            parts, self._session_parts(parts), heartbeat_interval_ms=settings.timings.heartbeat_interval_ms
        )
        self._access.policies.on_change(self._executors.recheck)
        self._health = health.aio.HealthServicer()
        status = self._status(parts)
        add_servicers(
            server,
            Served(parts, self._access, self._executors, runners, status, self._health, self._tasks.spawn),
        )
        await server.start()
        for name in ("", *SERVICE_NAMES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._tasks.spawn(self._serving.run(self._health))

    def _session_parts(self, parts: ApiParts) -> SessionParts:
        def sealer_of(tool: ToolVersion) -> TenantSeals | None:
            return parts.sealing.of(tool.tenant) if parts.sensitivity.of_output(*tool) else None

        settings = self._settings
        return SessionParts(
            engine=parts.engine,
            store=parts.store,
            payloads=parts.payloads,
            clock=self._clock,
            chance=self._randomness.chance,
            definition=parts.catalog.definition,
            spawn=self._tasks.spawn,
            journal=Journal(parts.store),
            limits=SessionLimits(
                inline_bytes=settings.limits.inline_bytes,
                chunk_bytes=settings.limits.chunk_bytes,
                json=self._bounds,
            ),
            rules=OutputRules(
                parts.catalog.definition, self._access.policy_of, self._bounds, redact=settings.secrets.redact_outputs
            ),
            sealer_of=sealer_of,
        )

    def _status(self, parts: ApiParts) -> Status:
        about = About(
            version("podium-server"),
            self._clock.now_us(),
            self._database_name,
            self._settings.access.operator_tenant,
            self._settings.timings.schedule_to_start_ms,
        )
        return status_of(
            about,
            parts,
            self._draining,
            self._runners,
            self._checkpoints,
            self._executors,
            failure=lambda: self.failure,
            process=self._serving,
        )

    async def _watch_log(self, store: EventStore) -> None:
        self._fail(await store.failed())

    async def drain(self, within_s: float, hurry: asyncio.Event) -> None:
        """End in order, see service.draining; at once when the log cannot be written any more."""
        if self.failure is not None:
            hurry.set()
        drain = Drain(
            self._health,
            self._draining,
            self._parts.engine,
            self._executors,
            self._access,
            self._resilience,
            self._runners,
            self._server,
            hurry,
        )
        await drain.run(within_s)
