"""Places on executors: who has one free, and who waits for one.

Invariant: a place is taken before an attempt is recorded and given back exactly once, when its outcome has arrived,
when its append failed, or when its session ends. Those who wait are served by priority, and those of one priority in
the order in which they came, as the log has it, also after a restart; see service.domain.priorities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from podium.v1 import executor_service_pb2 as wire
from podium.v1 import value_pb2
from service.domain.priorities import Turns, rank_of
from service.engine.keys import StepKey, ToolVersion
from service.engine.place_queue import PlaceQueue


class Session(Protocol):
    """An executor's connection, as the dispatcher sees it."""

    @property
    def session_id(self) -> str:
        """The session."""

    @property
    def executor(self) -> str:
        """The executor's name."""

    @property
    def authority(self) -> value_pb2.Authority:
        """What the executor may do."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What it says about itself."""

    @property
    def heard_us(self) -> int:
        """When it was last heard of, microseconds since the Unix epoch."""

    def send(self, item: wire.ServiceItem) -> None:
        """Queue an item for the next frame."""


class Executor:
    """A connected session with its places and the tool versions it serves."""

    __slots__ = (
        "gone",
        "holding",
        "leaving",
        "max_attempts",
        "pools",
        "probed",
        "serves",
        "session",
        "taken",
        "tenant",
        "unfit",
    )

    def __init__(self, session: Session, tenant: str, serves: dict[str, int], max_attempts: int) -> None:
        self.session = session
        self.tenant = tenant
        self.serves = serves
        self.max_attempts = max_attempts
        self.taken = 0
        self.leaving = False
        """It takes no more work."""
        self.gone = False
        """Its connection has ended."""
        self.holding: set[tuple[str, str, int]] = set()
        """(workflow, step, attempt) of what was assigned and has not come back."""
        self.unfit: dict[str, str] = {}
        """Tools that it cannot run now, by its own word, and why."""
        self.probed: dict[str, tuple[int, str]] = {}
        """When it was last asked about a tool, microseconds since the Unix epoch, and what it said then."""
        self.pools: dict[str, dict[str, wire.PoolFigures]] = {}
        """By tool and name: the pools of connections that it told of when it was last asked and answered in time."""

    @property
    def free(self) -> int:
        """How many places are free."""
        return 0 if self.leaving else self.max_attempts - self.taken


Bounds = Callable[[str], Callable[[str], int | None] | None]
"""Of a tenant: how many attempts its executors of a name may have at once (None: as many as they take); None: any."""


class Dispatcher:
    """Hands out places, and offers a place that becomes free to whoever's turn it is."""

    def __init__(
        self,
        offer: Callable[[StepKey, Executor], None],
        compatible: Callable[[ToolVersion, int], bool],
        bounds: Bounds = lambda _tenant: None,
    ) -> None:
        self._offer = offer
        self._compatible = compatible
        """Whether an executor that serves this version may run a step that is pinned to that one."""
        self._bounds = bounds
        self._by_tool: dict[tuple[str, str], list[Executor]] = {}
        self._by_name: dict[tuple[str, str], list[Executor]] = {}
        """All whose connection stands, also those that take no more work."""
        self._queues: dict[tuple[str, str], dict[ToolVersion, PlaceQueue]] = {}
        """By tenant and tool: those who wait for each version. None is empty."""
        self._waiting: dict[StepKey, PlaceQueue] = {}
        self._turns: dict[str, Turns] = {}
        self._arrivals = 0
        self._latest_position = 0
        self.stopped = False
        """Nobody is given a place any more."""
        self.gathering = False
        """Nobody is given a place: those who have waited longest may not be found yet."""

    def stop(self) -> None:
        """Hand out no more places. Whoever waits waits on."""
        self.stopped = True

    def connect(self, executor: Executor) -> None:
        """An executor is ready for work."""
        for tool in executor.serves:
            self._by_tool.setdefault((executor.tenant, tool), []).append(executor)
        self._by_name.setdefault((executor.tenant, executor.session.executor), []).append(executor)
        self._serve(executor)

    def disconnect(self, executor: Executor) -> None:
        """An executor takes no more work."""
        executor.leaving = True
        for tool in executor.serves:
            _remove(self._by_tool, (executor.tenant, tool), executor)
        if executor.gone:
            _remove(self._by_name, (executor.tenant, executor.session.executor), executor)

    def sessions(self, tenant: str, tool: str) -> list[Executor]:
        """The connected executors that serve any version of a tool."""
        return self._by_tool.get((tenant, tool), [])

    def pools(self) -> Iterator[tuple[tuple[str, str, str], wire.PoolFigures]]:
        """The pools of all executors whose connection stands, by tenant, executor and name; one for each session.

        May be called by any thread.
        """
        for (tenant, name), executors in list(self._by_name.items()):
            for executor in list(executors):
                # Tools of one session that tell of a pool of the same name share it.
                pools = {pool: figures for told in list(executor.pools.values()) for pool, figures in told.items()}
                for pool, figures in pools.items():
                    yield (tenant, name, pool), figures

    def lacks(self, tool: ToolVersion) -> str:
        """What a step waits for that finds no place."""
        executors = self.sessions(tool.tenant, tool.tool)
        if not executors:
            return f"an executor that serves {tool.tool}"
        if all(tool.tool in executor.unfit for executor in executors):
            return f"a healthy executor that serves {tool.tool}"
        return "a free place"

    def executors(self, tenant: str) -> Iterator[Executor]:
        """All executors of a tenant whose connection stands, also those that take no more work."""
        for (owner, _), executors in self._by_name.items():
            if owner == tenant:
                yield from executors

    def take(self, tool: ToolVersion) -> Executor | None:
        """Take a place for a step that is not waiting yet; None: it must queue."""
        queues = self._queues.get((tool.tenant, tool.tool))
        if self.stopped or self.gathering or (queues and tool in queues):
            return None
        bound_of = self._bounds(tool.tenant)
        best: Executor | None = None
        for executor in self._by_tool.get((tool.tenant, tool.tool), ()):
            free = executor.free
            if free <= 0 or (best is not None and free <= best.free) or not self._is_able(executor, tool):
                continue
            if bound_of is None or self._has_room(executor, bound_of):
                best = executor
        if best is not None:
            best.taken += 1
        return best

    def give_back(self, executor: Executor) -> None:
        """A place is free again."""
        executor.taken -= 1
        if not self._waiting:
            return
        self._serve(executor)
        bound_of = self._bounds(executor.tenant)
        if bound_of is not None and bound_of(executor.session.executor) is not None:
            # It may have been the bound on all of one name that kept another of them from taking more.
            for other in list(self._by_name.get((executor.tenant, executor.session.executor), ())):
                self._serve(other)

    def enqueue(self, key: StepKey, tool: ToolVersion, priority: int = 0, position: int = 0) -> None:
        """A step waits for a place. It is offered one right away when one is free.

        It waits since this position of the log; with none, it comes after all who wait.
        """
        if key in self._waiting:
            return
        queues = self._queues.setdefault((tool.tenant, tool.tool), {})
        queue = queues.get(tool)
        if queue is None:
            queue = queues[tool] = PlaceQueue(tool)
        self._arrivals += 1
        self._latest_position = max(self._latest_position, position)
        queue.join(key, rank_of(priority), (position or self._latest_position, self._arrivals))
        self._waiting[key] = queue
        self.serve_tool(tool.tenant, tool.tool)

    def is_waiting(self, key: StepKey) -> bool:
        """Whether the step waits in a queue."""
        return key in self._waiting

    def forget(self, key: StepKey) -> None:
        """A step does not wait any more."""
        queue = self._waiting.pop(key, None)
        if queue is not None:
            queue.leave(key)
            self._forget_if_empty(queue)

    def serve_tool(self, tenant: str, tool: str) -> None:
        """Offer what is free to those who wait for a tool: somebody came, or an executor can run it again."""
        for executor in list(self._by_tool.get((tenant, tool), ())):
            self._serve(executor)

    def serve_all(self) -> None:
        """Offer what is free to all who wait: they are found."""
        self.gathering = False
        for executors in list(self._by_name.values()):
            for executor in list(executors):
                self._serve(executor)

    def serve_tenant(self, tenant: str) -> None:
        """Offer what is free to all of a tenant who wait: its policy has changed."""
        for executor in list(self.executors(tenant)):
            self._serve(executor)

    def fits(self, executor: Executor, tool: ToolVersion) -> bool:
        """Whether an executor may run a step that is pinned to this version of a tool."""
        served = executor.serves.get(tool.tool)
        return served is not None and (served == tool.version or self._compatible(tool, served))

    def _is_able(self, executor: Executor, tool: ToolVersion) -> bool:
        """Whether it may, and can by its own word."""
        return not (executor.unfit and tool.tool in executor.unfit) and self.fits(executor, tool)

    def _has_room(self, executor: Executor, bound_of: Callable[[str], int | None]) -> bool:
        """Whether the bound on attempts of all executors of this one's name lets it take one more."""
        name = executor.session.executor
        bound = bound_of(name)
        return bound is None or sum(other.taken for other in self._by_name.get((executor.tenant, name), ())) < bound

    def _serve(self, executor: Executor) -> None:
        """Offer the places of an executor, one by one, for as long as anybody waits for one of its tools."""
        while self._waiting and executor.free > 0 and not (self.stopped or self.gathering):
            bound_of = self._bounds(executor.tenant)
            if bound_of is not None and not self._has_room(executor, bound_of):
                return
            queue_and_rank = self._next(executor)
            if queue_and_rank is None:
                return
            queue, rank = queue_and_rank
            key = queue.take(rank)
            del self._waiting[key]
            self._forget_if_empty(queue)
            executor.taken += 1
            self._offer(key, executor)

    def _next(self, executor: Executor) -> tuple[PlaceQueue, int] | None:
        """Of the queues for which an executor has a place: whose turn it is, and of which rank."""
        tenant = executor.tenant
        fitting: list[PlaceQueue] = []
        for name in executor.serves:
            queues = self._queues.get((tenant, name))
            if queues is not None:
                fitting += [queue for tool, queue in queues.items() if self._is_able(executor, tool)]
        if not fitting:
            return None
        turns = self._turns.get(tenant)
        if turns is None:
            turns = self._turns[tenant] = Turns()
        if len(fitting) == 1:
            # As a rule, and for every place that becomes free in a service with more work than places.
            return fitting[0], turns.next(fitting[0].waiting())
        rank = turns.next([any(waiting) for waiting in zip(*(queue.waiting() for queue in fitting), strict=True)])
        return min((queue for queue in fitting if queue.waits(rank)), key=lambda queue: queue.first_arrival(rank)), rank

    def _forget_if_empty(self, queue: PlaceQueue) -> None:
        if queue:
            return
        tool = queue.tool
        queues = self._queues.get((tool.tenant, tool.tool), {})
        if queues.get(tool) is queue:
            del queues[tool]
            if not queues:
                del self._queues[tool.tenant, tool.tool]


def _remove(table: dict[tuple[str, str], list[Executor]], key: tuple[str, str], executor: Executor) -> None:
    executors = table.get(key, [])
    if executor in executors:
        executors.remove(executor)
        if not executors:
            del table[key]
