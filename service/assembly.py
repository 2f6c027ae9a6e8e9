"""The parts of the service put together over an opened store: engine, admission, projections, servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2

from service.access import Access
from service.admission.json_bounds import JsonBounds
from service.admission.published_keys import PublishedKeys
from service.admission.schema import check_definition
from service.admission.sensitivity import Sensitivity
from service.admission.tokens import Tokens
from service.api.draining import Draining
from service.api.executor_servicer import ExecutorServicer
from service.api.handlers import EdgeInterceptor
from service.api.ownership import Ownership
from service.api.parts import ApiParts
from service.api.service_names import SERVICE_NAMES
from service.api.status import About, Status, status_of
from service.api.trace_contexts import take_trace_context
from service.api_assembly import assemble_api, session_parts
from service.checkpointing import checkpointer_of
from service.clock import SystemClock, SystemRandomness
from service.collector import settle_collector
from service.config import Settings
from service.draining import Drain
from service.engine.catalog import Catalog
from service.engine.data_keys import Keyring
from service.engine.engine import Engine
from service.engine.expressions import CelExpressions
from service.engine.limit_tail import counted_guard
from service.engine.payloads import PayloadCache
from service.engine.recovery import make_rounds, recover
from service.engine.sealing import Sealing
from service.engine_assembly import EngineParts, assemble_engine
from service.executors.secret_files import SecretFiles
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
        self._telemetry = telemetry_of(settings.telemetry, settings.listening, clock, self._tasks.spawn)
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
        self._checkpoints = checkpointer = checkpointer_of(self._settings.checkpoints, store, self._signer)
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
        policies = self._access.policies
        self._rate_limits = await counted_guard(
            store, store.head, self._clock.now_us(), self._access.policy_of, tenants, since=policies.limits_of
        )
        await self._resilience.load(store)
        self._engine_parts = self._parts_of_engine(store, catalog, payloads)
        engine = assemble_engine(self._engine_parts)
        engine.open_counts.load(await store.open_workflows())
        policies.on_change(self._rate_limits.policy_changed)
        policies.on_change(self._resilience.policy_changed)
        policies.on_change(engine.dispatcher.serve_tenant)
        self._serving = Serving(engine, store, self._settings.limits.memory_bytes, self._randomness.chance)
        return assemble_api(self._engine_parts, engine, self._sensitivity, self._serving.load)

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
            breakers=self._resilience.breakers,
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

    def _parts_of_engine(self, store: EventStore, catalog: Catalog, payloads: PayloadCache) -> EngineParts:
        return EngineParts(
            settings=self._settings,
            store=store,
            clock=self._clock,
            randomness=self._randomness,
            catalog=catalog,
            payloads=payloads,
            expressions=CelExpressions(text_limit_bytes=self._settings.limits.condition_bytes),
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

    def _fail(self, error: Exception) -> None:
        """The log cannot be written: stop, so that a supervisor starts a process that opens it anew."""
        if self.failure is None:
            logger.critical("the log cannot be written any more, the service stops: %s", error)
            self.failure = error
            self._stop()

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
            parts,
            session_parts(self._engine_parts, parts),
            heartbeat_interval_ms=settings.timings.heartbeat_interval_ms,
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
