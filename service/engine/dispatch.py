"""Places on executors: who has one free, and who waits for one.

Invariant: a place is taken before an attempt is recorded and given back exactly once, when its outcome has arrived,
when its append failed, or when its session ends. Waiting steps are served first come, first served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from podium.v1 import executor_service_pb2 as wire
from podium.v1 import value_pb2
from service.engine.keys import StepKey, ToolVersion


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

    def send(self, item: wire.ServiceItem) -> None:
        """Queue an item for the next frame."""


class Executor:
    """A connected session with its places and the tool versions it serves."""

    __slots__ = ("gone", "holding", "leaving", "max_attempts", "serves", "session", "taken", "tenant")

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

    @property
    def free(self) -> int:
        """How many places are free."""
        return 0 if self.leaving else self.max_attempts - self.taken


class Dispatcher:
    """Hands out places, and offers a place that becomes free to the step that waits longest."""

    def __init__(
        self,
        offer: Callable[[StepKey, Executor], None],
        compatible: Callable[[ToolVersion, int], bool],
    ) -> None:
        self._offer = offer
        self._compatible = compatible
        """Whether an executor that serves this version may run a step that is pinned to that one."""
        self._by_tool: dict[tuple[str, str], list[Executor]] = {}
        self._queues: dict[ToolVersion, deque[StepKey]] = {}
        self._waiting: dict[StepKey, ToolVersion] = {}
        """The steps that wait, and for what: a step that falls back on another tool leaves its place in a queue."""
        self.stopped = False
        """Nobody is given a place any more."""

    def stop(self) -> None:
        """Hand out no more places. Whoever waits waits on."""
        self.stopped = True

    def connect(self, executor: Executor) -> None:
        """An executor is ready for work."""
        for tool in executor.serves:
            self._by_tool.setdefault((executor.tenant, tool), []).append(executor)
        self._serve(executor)

    def disconnect(self, executor: Executor) -> None:
        """An executor takes no more work."""
        executor.leaving = True
        for tool in executor.serves:
            executors = self._by_tool.get((executor.tenant, tool), [])
            if executor in executors:
                executors.remove(executor)

    def sessions(self, tenant: str, tool: str) -> list[Executor]:
        """The connected executors that serve any version of a tool."""
        return self._by_tool.get((tenant, tool), [])

    def take(self, tool: ToolVersion) -> Executor | None:
        """Take a place for a step that is not waiting yet; None: it must queue."""
        queue = self._queues.get(tool)
        if queue or self.stopped:
            return None
        best: Executor | None = None
        for executor in self._by_tool.get((tool.tenant, tool.tool), ()):
            free = executor.free
            if free > 0 and (best is None or free > best.free) and self.fits(executor, tool):
                best = executor
        if best is not None:
            best.taken += 1
        return best

    def give_back(self, executor: Executor) -> None:
        """A place is free again."""
        executor.taken -= 1
        if self._waiting:
            self._serve(executor)

    def enqueue(self, key: StepKey, tool: ToolVersion) -> None:
        """A step waits for a place. It is offered one right away when one is free."""
        if key in self._waiting:
            return
        self._waiting[key] = tool
        self._queues.setdefault(tool, deque()).append(key)
        for executor in list(self._by_tool.get((tool.tenant, tool.tool), ())):
            self._serve(executor)

    def is_waiting(self, key: StepKey) -> bool:
        """Whether the step waits in a queue."""
        return key in self._waiting

    def forget(self, key: StepKey) -> None:
        """A step does not wait any more; its place in the queue is passed over when its turn comes."""
        self._waiting.pop(key, None)

    def fits(self, executor: Executor, tool: ToolVersion) -> bool:
        """Whether an executor may run a step that is pinned to this version of a tool."""
        served = executor.serves.get(tool.tool)
        return served is not None and (served == tool.version or self._compatible(tool, served))

    def _serve(self, executor: Executor) -> None:
        if self.stopped:
            return
        for tool_name in executor.serves:
            for tool in [t for t in self._queues if t.tool == tool_name and t.tenant == executor.tenant]:
                if self.fits(executor, tool):
                    self._serve_queue(executor, tool)

    def _serve_queue(self, executor: Executor, tool: ToolVersion) -> None:
        queue = self._queues[tool]
        while queue and executor.free > 0:
            key = queue.popleft()
            if self._waiting.get(key) == tool:
                del self._waiting[key]
                executor.taken += 1
                self._offer(key, executor)
        if not queue:
            self._queues.pop(tool, None)
