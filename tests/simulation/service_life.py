"""One life of the service, from a start to a crash: the real composition over the model store, without a server."""

import asyncio
import contextvars

from podium.v1 import value_pb2
from service.admission.tokens import Caller
from service.api import authentication
from service.api.executor_servicer import ExecutorServicer
from service.api.replay_servicer import ReplayServicer
from service.api.tool_servicer import ToolServicer
from service.api.workflow_servicer import WorkflowServicer
from service.api_assembly import session_parts
from service.assembly import Service
from service.config import Settings, Timings
from service.domain.errors import LimitExceeded, Unavailable
from service.domain.retry import RetryDefaults
from service.engine.recovery import recover
from store.checkpoints import Signer
from store.contract import OwnershipLostError, StoreClosedError

TENANT = "acme"
SETTINGS = Settings(
    timings=Timings(
        reconnect_grace_ms=3_000,
        heartbeat_interval_ms=1_000,
        park_after_ms=4_000,
        reconcile_interval_ms=5_000,
        start_to_close_ms=8_000,
        cancel_grace_ms=3_000,
    ),
    retry=RetryDefaults(max_attempts=4, initial_backoff_ms=300, multiplier=6, max_backoff_ms=12_000),
).checked()


class ServiceGone(Exception):
    """The service crashed before it answered."""


def caller(subject):
    principal = value_pb2.Principal(subject=subject)
    return Caller(TENANT, value_pb2.Authority(principal=principal, roles=["admin"]), 2**62)


def as_caller(subject):
    """A context in which the real interceptor would have admitted this caller."""
    context = contextvars.copy_context()
    context.run(authentication._caller.set, caller(subject))  # noqa: SLF001 - stands in for the interceptor
    return context


class WatchedExecutors(ExecutorServicer):
    """The servicer, which tells whether a session is being opened and so on no list yet."""

    opening = 0

    async def _open(self, hello):
        self.opening += 1
        try:
            return await super()._open(hello)
        finally:
            self.opening -= 1


class ServiceLife(Service):
    """The service's own parts put together as it does, with servicers that are called directly."""

    def __init__(self, store, clock, chance, settings=SETTINGS):
        super().__init__(
            settings,
            clock=clock,
            randomness=chance,
            tokens=None,
            master_key=bytes(32),
            signer=Signer("simulation", bytes(32)),
            stop=self._stop_failed,
        )
        self.store = store
        self.engine = self.breakers = None
        self.gone = asyncio.Event()
        self._rpcs = {}

    async def begin(self, *, reconciling=True):
        await self.store.open()
        parts = await self.assemble(self.store)
        self.engine, self.breakers = parts.engine, parts.breakers
        interval_ms = self._settings.timings.heartbeat_interval_ms
        self.executors = WatchedExecutors(
            parts, session_parts(self._engine_parts, parts), heartbeat_interval_ms=interval_ms
        )
        self.workflows = WorkflowServicer(parts, None)
        self.tools = ToolServicer(parts)
        self.replays = ReplayServicer(self.engine, self.store)
        if reconciling:
            self.begin_work(parts)
        else:
            self._tasks.spawn(recover(self.engine, self.store))

    def _stop_failed(self):
        # What was deposed goes on to speak until it is gone, and nobody may be misled by it.
        assert isinstance(self.failure, OwnershipLostError), f"the model store never fails: {self.failure}"

    def spawn(self, work, subject):
        """Run the handler of an RPC, which ends with this life."""
        task = asyncio.get_running_loop().create_task(work, context=as_caller(subject))
        self._rpcs[task] = None
        task.add_done_callback(self._rpcs.pop)
        return task

    async def call(self, method, request, subject):
        """Call a method and wait for its answer. Raises ServiceGone, and DomainError for a refusal."""
        if self.gone.is_set():
            raise ServiceGone
        rpc = self.spawn(method(type(request).FromString(request.SerializeToString()), None), subject)
        try:
            return await asyncio.shield(rpc)
        except (Unavailable, LimitExceeded, OwnershipLostError, StoreClosedError):
            raise ServiceGone from None
        except (asyncio.CancelledError, Exception):
            if self.gone.is_set():
                raise ServiceGone from None
            raise

    async def crash(self, *, committing):
        """Be gone, as after a SIGKILL: nothing is told to anybody."""
        self.store.crash(committing=committing)
        self.gone.set()
        self.engine.close()
        for rpc in list(self._rpcs):
            rpc.cancel()
        if self._rpcs:
            await asyncio.wait(self._rpcs)
        await self._tasks.close()

    def places(self):
        """The places of every executor that is connected."""
        return [session.place for session in self.executors._sessions]  # noqa: SLF001 - the simulation looks into the service
