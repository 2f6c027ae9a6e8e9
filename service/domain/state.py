"""The state of a workflow: what its events add up to. Changed by `evolve` alone.

Invariant: everything here follows from the events and from nothing else, so that a rebuilt state equals the live one.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from podium.v1 import definition_pb2, events_pb2, value_pb2
from service.domain.calls import Call, calls_of

US_PER_MS = 1000
LATEST_US = 2**62
"""No time is later: a longer wait than this means for ever, and no event could hold it."""
REQUESTS_REMEMBERED = 1000

PENDING = value_pb2.STEP_STATE_PENDING
READY = value_pb2.STEP_STATE_READY
QUEUED = value_pb2.STEP_STATE_QUEUED
RUNNING = value_pb2.STEP_STATE_RUNNING
BACKING_OFF = value_pb2.STEP_STATE_BACKING_OFF
EXPANDED = value_pb2.STEP_STATE_EXPANDED
SUCCEEDED = value_pb2.STEP_STATE_SUCCEEDED
FAILED = value_pb2.STEP_STATE_FAILED
DENIED = value_pb2.STEP_STATE_DENIED
SKIPPED = value_pb2.STEP_STATE_SKIPPED
CANCELED = value_pb2.STEP_STATE_CANCELED
DIRECT = frozenset({events_pb2.WORKFLOW_KIND_CALL, events_pb2.WORKFLOW_KIND_BATCH})
"""Kinds of workflows for whose outcome a caller waits."""
ENDED = frozenset({SUCCEEDED, FAILED, DENIED, SKIPPED, CANCELED})

STEP_STATE_NAMES: dict[int, str] = {
    number: name.removeprefix("STEP_STATE_").lower() for name, number in value_pb2.StepState.items()
}
"""The name of each step state, in lower case."""


def later_us(now_us: int, delay_ms: float) -> int:
    """The time `delay_ms` milliseconds from now, at most LATEST_US. Microseconds since the Unix epoch."""
    return min(now_us + round(delay_ms * US_PER_MS), LATEST_US)


class TimerKind(IntEnum):
    """What a timer is for."""

    ATTEMPT = 1
    RETRY = 2
    QUEUE = 3
    WORKFLOW = 4
    GRACE = 5


Timer = tuple[int, int, TimerKind, str, int]
"""(due, order of arming, kind, step id, attempt). Times are microseconds since the Unix epoch."""


class StepPlan:
    """What a step's definition says, in the form the fold needs; shared by the items of a for_each."""

    __slots__ = (
        "authority",
        "calls",
        "continues",
        "definition",
        "depends_on",
        "join",
        "join_count",
        "needs_evaluation",
    )

    def __init__(self, definition: definition_pb2.StepDefinition, authority: int) -> None:
        self.definition = definition
        self.authority = authority
        self.calls = calls_of(definition)
        self.depends_on = tuple(definition.depends_on)
        self.join = definition.join or definition_pb2.JOIN_ALL
        self.join_count = definition.join_count
        self.continues = definition.on_failure == definition_pb2.ON_FAILURE_CONTINUE
        self.needs_evaluation = bool(definition.condition) or definition.HasField("for_each")


@dataclass(slots=True, eq=False)
class Step:
    """One step, or one item of a for_each step."""

    id: str
    order: int
    plan: StepPlan
    state: int = PENDING
    waiting: int = 0
    """Dependencies (or, once expanded, items) that have not ended."""
    succeeded: int = 0
    """Dependencies that succeeded."""
    condition_met: bool = False
    holds_slot: bool = False
    """Counts against the limits of parallel steps."""
    attempts: int = 0
    fence: int = 0
    link: int = 0
    """The link of its fallback chain that it is at, from 1; 0: its own tool."""
    attempts_before: int = 0
    """Attempts that were made before it came to that link."""
    executor: str = ""
    session_id: str = ""
    budget_ends_at_us: int = 0
    """When the retry budget ends; 0: there is none."""
    not_before_us: int = 0
    deadline_at_us: int = 0
    output: value_pb2.Value | None = None
    cached: bool = False
    """The output came from the cache."""
    failure: value_pb2.Failure | None = None
    skip_reason: int = 0
    chunk_count: int = 0
    limited_by: str = ""
    """The rate limit for which it waits, or waited before it waits for a place."""
    waits_for: str = ""
    """What it was last queued for, in words."""
    parent: Step | None = None
    item: int = -1
    items: Sequence[Step] = ()
    items_running: int = 0
    items_held: deque[Step] | None = None
    """Items that wait for the for_each step's limit; made when one has to."""
    item_texts: list[str] | None = None
    """The items' values, kept while they run; follows from the state and is not part of it."""

    @property
    def call(self) -> Call:
        """What it calls now."""
        return self.plan.calls[self.link]

    @property
    def attempts_of_call(self) -> int:
        """Attempts that were made of what it calls now."""
        return self.attempts - self.attempts_before

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to the step any more."""
        return self.state in ENDED


@dataclass(slots=True, eq=False)
class Workflow:
    """One workflow."""

    started: bool = False
    name: str = ""
    kind: int = 0
    state: int = value_pb2.WORKFLOW_STATE_UNSPECIFIED
    open: bool = False
    input: value_pb2.Value | None = None
    max_parallel: int = 0
    priority: int = 0
    deadline_at_us: int = 0
    grace_ends_at_us: int = 0
    cancel_grace_ms: int = 0
    cut_short: bool = False
    """A cancel found it open: it cannot have succeeded, because more might have been added."""
    request_digest: bytes = b""
    steps: dict[str, Step] = field(default_factory=dict)
    submitted: int = 0
    """Steps that were submitted; items of for_each steps do not count."""
    dependents: dict[str, list[Step]] = field(default_factory=dict)
    authorities: list[value_pb2.Authority] = field(default_factory=list)
    unfinished: int = 0
    running_slots: int = 0
    held: deque[Step] = field(default_factory=deque)
    """Ready steps that wait for the limit of parallel steps."""
    last_fence: int = 0
    first_failed: str = ""
    failure: value_pb2.Failure | None = None
    requests: OrderedDict[str, tuple[bytes, tuple[str, ...]]] = field(default_factory=OrderedDict)
    """The last requests that added steps: id → (digest, step ids)."""
    to_settle: dict[str, None] = field(default_factory=dict)
    """Steps about which `decide` has something to say; empty between appends, unless that takes several turns."""
    changed: dict[str, None] = field(default_factory=dict)
    """Steps whose effect may have changed since the engine last looked."""
    timers: list[Timer] = field(default_factory=list)
    timers_armed: int = 0

    @property
    def running(self) -> bool:
        """Whether the workflow has started and not ended."""
        return self.state in (value_pb2.WORKFLOW_STATE_RUNNING, value_pb2.WORKFLOW_STATE_CANCELING)

    @property
    def canceling(self) -> bool:
        """Whether a cancel was requested and is not complete."""
        return self.state == value_pb2.WORKFLOW_STATE_CANCELING

    def arm(self, at_us: int, kind: TimerKind, step_id: str = "", attempt: int = 0) -> None:
        """Add a timer. Timers are never removed; they stop being valid when what they are for has changed."""
        self.timers_armed += 1
        heapq.heappush(self.timers, (at_us, self.timers_armed, kind, step_id, attempt))

    def valid(self, timer: Timer) -> bool:
        """Whether what a timer is for still waits for it."""
        _, _, kind, step_id, attempt = timer
        if kind is TimerKind.WORKFLOW:
            return self.running
        if kind is TimerKind.GRACE:
            return self.canceling
        step = self.steps[step_id]
        expected = {TimerKind.ATTEMPT: RUNNING, TimerKind.RETRY: BACKING_OFF, TimerKind.QUEUE: QUEUED}[kind]
        if kind is TimerKind.QUEUE and timer[0] != step.deadline_at_us:
            # It waited for the tool of a link before this one.
            return False
        return step.state == expected and step.attempts == attempt

    def wake_at_us(self) -> int | None:
        """When the next valid timer is due; None: there is none."""
        while self.timers and not self.valid(self.timers[0]):
            heapq.heappop(self.timers)
        return self.timers[0][0] if self.timers else None

    def due(self, now_us: int) -> list[Timer]:
        """The valid timers that are due, the earliest first. Costs what is due, not what is armed."""
        found: list[Timer] = []
        pending = [0] if self.timers else []
        while pending:
            index = pending.pop()
            if index >= len(self.timers) or self.timers[index][0] > now_us:
                continue
            if self.valid(self.timers[index]):
                found.append(self.timers[index])
            pending += (2 * index + 1, 2 * index + 2)
        return sorted(found)
