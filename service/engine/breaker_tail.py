"""What breakers know, found again after a restart: their state in their streams, what they counted in the log's tail.

Of each stream only its end is read, and of the log at most a number of events. An attempt whose start the tail does not
hold is told of when its workflow is folded. Where the tail holds everything since a breaker's last transition, or since
the rule for its tool came, what is found is what was counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from google.protobuf.message import Message

from podium.v1 import events_pb2, policy_pb2
from service.admission.breaker_book import STREAM_PREFIX, BreakerBook, ToolBreaker, rule_of
from service.domain.breaker_settings import HALF_OPEN
from store.contract import EventReader, RecordedEvent
from store.records import TYPE_NUMBERS, decode_record, known_payload

EVENTS_MAX = 100_000
"""How much of the log is read at most: about a second."""
_PAGE_EVENTS = 1000
_STREAM_PAGE = 32

_READ = frozenset(
    TYPE_NUMBERS[name]
    for name in (
        "permission_checked",
        "attempt_started",
        "attempt_rejected",
        "attempt_failed",
        "step_succeeded",
        "step_canceled",
        "workflow_succeeded",
        "workflow_failed",
        "workflow_canceled",
        "policy_applied",
    )
)
_ENDED = (events_pb2.WorkflowSucceeded, events_pb2.WorkflowFailed, events_pb2.WorkflowCanceled)


async def find_breakers(
    reader: EventReader, head: int, book: BreakerBook, tenants: Iterable[str], *, events_max: int = EVENTS_MAX
) -> None:
    """Put into an empty book what the log says. Reads no tail when no tenant has a rule, and no breaker a state."""
    since: dict[ToolBreaker, _Since] = {}
    for tenant, stream_id in await reader.list_streams(STREAM_PREFIX):
        recorded = await _last_of(reader, tenant, stream_id)
        transition = known_payload(decode_record(recorded.record)) if recorded is not None else None
        if recorded is not None and isinstance(transition, events_pb2.BreakerTransitioned):
            kept = book.kept(tenant, transition.tool)
            kept.last = transition
            kept.breaker.restore(transition, recorded.recorded_at_us)
            since[kept] = _Since(recorded.position, _cause(transition))
    if not since and not any(book.has_any(tenant) for tenant in set(tenants)):
        return
    tail, position = _Tail(book, since), max(0, head - events_max)
    while page := await reader.read_all(position, limit=_PAGE_EVENTS):
        for recorded in page:
            tail.read(recorded)
        position = page[-1].position


async def _last_of(reader: EventReader, tenant: str, stream_id: str) -> RecordedEvent | None:
    """The last event of a stream. Versions have no gaps, so that its end is found by halving."""
    low = 0
    page = await reader.read_stream(tenant, stream_id, 0, limit=_STREAM_PAGE)
    step = _STREAM_PAGE
    last: RecordedEvent | None = None
    while page:
        last, low = page[-1], page[-1].stream_version
        if len(page) < _STREAM_PAGE:
            return last
        step *= 2
        page = await reader.read_stream(tenant, stream_id, low + step, limit=_STREAM_PAGE)
    high = low + step
    while low < high:
        middle = (low + high + 1) // 2
        page = await reader.read_stream(tenant, stream_id, middle - 1, limit=1)
        if page:
            last, low = page[0], middle
        else:
            high = middle - 1
    return last


class _Act(NamedTuple):
    """A start, or an outcome, of an attempt."""

    is_start: bool
    workflow_id: str
    step_id: str
    attempt: int


class _Since(NamedTuple):
    """A transition: its position, and what caused it, which is before it in the same append."""

    position: int
    cause: _Act


def _cause(transition: events_pb2.BreakerTransitioned) -> _Act:
    is_start = transition.to_state == HALF_OPEN
    return _Act(is_start, transition.workflow_id, transition.step_id, transition.attempt)


class _Tail:
    """Reads the events that tell what was started, and how it ended."""

    def __init__(self, book: BreakerBook, since: dict[ToolBreaker, _Since]) -> None:
        self._book = book
        self._since = since
        """Those whose last transition has not been reached."""
        self._checked: dict[tuple[str, str], str] = {}
        """The tool that a workflow was allowed to call last."""
        self._started: dict[tuple[str, str], dict[str, ToolBreaker]] = {}
        self._policies: dict[str, policy_pb2.Policy] = {}

    def read(self, recorded: RecordedEvent) -> None:
        """Take in the next event of the log."""
        if recorded.type not in _READ:
            return
        is_policy = recorded.type == TYPE_NUMBERS["policy_applied"]
        if not is_policy and not self._book.has_any(recorded.tenant):
            return
        event = known_payload(decode_record(recorded.record))
        workflow = (recorded.tenant, recorded.stream_id)
        if isinstance(event, events_pb2.PermissionChecked):
            self._checked[workflow] = event.tool
        elif isinstance(event, events_pb2.AttemptStarted):
            self._start(recorded, event)
        elif isinstance(event, events_pb2.AttemptRejected):
            kept = self._book.of(recorded.tenant, self._checked.get(workflow, ""))
            if kept is not None and event.guard == "breaker" and kept not in self._since:
                kept.breaker.refuse()
        elif isinstance(event, events_pb2.PolicyApplied):
            self._apply(recorded.tenant, event)
        elif isinstance(event, _ENDED):
            for step_id in tuple(self._started.get(workflow, ())):
                self._end(recorded, step_id, 0, None)
            self._started.pop(workflow, None)
            self._checked.pop(workflow, None)
        else:
            self._outcome(recorded, event)

    def _start(self, recorded: RecordedEvent, event: events_pb2.AttemptStarted) -> None:
        workflow = (recorded.tenant, recorded.stream_id)
        kept = self._book.of(recorded.tenant, self._checked.get(workflow, ""))
        if kept is None:
            return
        in_this_phase = self._reached(kept, recorded, _Act(True, recorded.stream_id, event.step_id, event.attempt))  # noqa: FBT003 - a start
        self._started.setdefault(workflow, {})[event.step_id] = kept
        key = (*workflow, event.step_id)
        kept.breaker.resume(key, event.attempt, recorded.recorded_at_us, in_this_phase=in_this_phase)

    def _outcome(self, recorded: RecordedEvent, event: Message | None) -> None:
        if isinstance(event, events_pb2.StepSucceeded) and event.attempt:
            self._end(recorded, event.step_id, event.attempt, "")
        elif isinstance(event, events_pb2.AttemptFailed):
            self._end(recorded, event.step_id, event.attempt, event.failure.reason or "UNKNOWN")
        elif isinstance(event, events_pb2.StepCanceled):
            self._end(recorded, event.step_id, 0, None)

    def _end(self, recorded: RecordedEvent, step_id: str, attempt: int, reason: str | None) -> None:
        kept = self._started.get((recorded.tenant, recorded.stream_id), {}).pop(step_id, None)
        if kept is not None:
            act = _Act(False, recorded.stream_id, step_id, attempt)  # noqa: FBT003 - an end
            counts = self._reached(kept, recorded, act)
            key = (recorded.tenant, recorded.stream_id, step_id)
            kept.breaker.recount(key, attempt, reason if counts else None, recorded.recorded_at_us)

    def _reached(self, kept: ToolBreaker, recorded: RecordedEvent, act: _Act) -> bool:
        """Whether what happened belongs to the phase that the breaker's last transition began."""
        since = self._since.get(kept)
        if since is None:
            return True
        if recorded.position > since.position:
            del self._since[kept]
            return True
        if since.cause == act:
            del self._since[kept]
            return act.is_start
        return False

    def _apply(self, tenant: str, event: events_pb2.PolicyApplied) -> None:
        """A tool that gets its first rule has counted nothing before."""
        before = self._policies.get(tenant, None if event.revision > 1 else policy_pb2.Policy())
        self._policies[tenant] = event.policy
        if before is not None:
            for kept in self._book.of_tenant(tenant):
                if rule_of(before, kept.tool) is None and rule_of(event.policy, kept.tool) is not None:
                    kept.breaker.forget()
