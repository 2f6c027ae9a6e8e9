"""Which workflows are in memory: loaded on demand, parked when idle, forgotten when ended.

A parked workflow is in the table of open workflows with the time at which it wakes; recovery does not fold it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice

from service.domain.errors import Unavailable
from service.domain.evolve import evolve
from service.domain.state import BACKING_OFF, Workflow
from service.engine.keys import WorkflowKey
from service.engine.resident import Resident
from service.engine.snapshots import AT_REST_EVENTS, Snapshots, is_due
from service.engine.timers import Clock
from store.contract import CorruptLogError, EventReader, RecordedEvent, StoreError
from store.records import decode_record, known_payload

logger = logging.getLogger(__name__)

ENDED_KEPT = 256
"""Ended workflows that stay in memory, because their results are read right after they end."""


PAGE_EVENTS = AT_REST_EVENTS
"""Events that are read and folded before other work has its turn. Only a longer stream has a snapshot."""


class Residency:
    """The workflows in memory, the least recently active first."""

    def __init__(
        self, reader: EventReader, snapshots: Snapshots, clock: Clock, park_after_us: int, resident_max: int = 50_000
    ) -> None:
        self._resident_max = resident_max
        self._reader = reader
        self._snapshots = snapshots
        self._clock = clock
        self._park_after_us = park_after_us
        self._residents: OrderedDict[WorkflowKey, Resident] = OrderedDict()
        self._ended: OrderedDict[WorkflowKey, Resident] = OrderedDict()
        self.quarantined: dict[WorkflowKey, str] = {}
        """Streams that could not be folded, and why."""

    def __len__(self) -> int:
        return len(self._residents)

    def get(self, key: WorkflowKey) -> Resident | None:
        """The workflow when it is in memory."""
        return self._residents.get(key) or self._ended.get(key)

    def add(self, key: WorkflowKey) -> Resident:
        """Make room for a workflow; it is not loaded yet."""
        resident = self._residents[key] = Resident(key)
        resident.active_us = self._clock.now_us()
        return resident

    def remove(self, resident: Resident) -> None:
        """Forget a workflow's state."""
        resident.dropped = True
        for table in (self._residents, self._ended):
            if table.get(resident.key) is resident:
                del table[resident.key]

    def touch(self, resident: Resident) -> None:
        """Something happened to a workflow: it is the most recently active, or among the ended."""
        key = resident.key
        if resident.dropped:
            return
        if resident.loaded and not resident.state.running:
            self._residents.pop(key, None)
            self._ended[key] = resident
            self._ended.move_to_end(key)
            self._forget_ended()
        elif key in self._residents:
            self._residents.move_to_end(key)

    def _forget_ended(self) -> None:
        """Forget the ended workflows that were asked for least recently, but none that owes somebody an answer."""
        surplus = len(self._ended) - ENDED_KEPT
        for resident in list(islice(self._ended.values(), max(0, surplus))):
            if not (resident.mailbox or resident.readers or resident.scheduled or resident.in_flight):
                self.remove(resident)

    def running(self) -> Iterator[Resident]:
        """The workflows in memory that have not ended."""
        return iter(list(self._residents.values()))

    @property
    def surplus(self) -> int:
        """How many more workflows are in memory than may be, when they are without work."""
        return max(0, len(self._residents) - self._resident_max)

    def idle(self) -> Iterator[Resident]:
        """Workflows to park: those that have been idle for long, and as many more as are too many in memory."""
        before = self._clock.now_us() - self._park_after_us
        surplus = self.surplus
        for resident in list(self._residents.values()):
            if resident.active_us > before and surplus <= 0:
                return
            if _parkable(resident):
                surplus -= 1
                yield resident

    def due_for_a_snapshot(self) -> list[WorkflowKey]:
        """Workflows in memory to which much happened since their last snapshot."""
        return [each.key for each in (*self._residents.values(), *self._ended.values()) if each.loaded and is_due(each)]

    async def snapshot(self, resident: Resident) -> None:
        """Make a snapshot of a workflow that nobody changes meanwhile; see Snapshots.write."""
        await self._snapshots.write(resident)

    async def load(self, resident: Resident) -> None:
        """Rebuild a workflow from the log. Raises Unavailable for a stream that cannot be folded: it is quarantined.

        Raises StoreError when the log cannot be read now.
        """
        key = resident.key
        if key in self.quarantined:
            raise _quarantined(key, self.quarantined[key])
        try:
            await self._rebuild(resident)
        except Exception as error:
            if isinstance(error, StoreError) and not isinstance(error, CorruptLogError):
                raise
            # Whatever a fold stumbles over costs this stream and no other.
            logger.exception(
                "stream %s cannot be folded and is quarantined", key.workflow_id, extra=resident.log_fields
            )
            self.quarantined[key] = f"{type(error).__name__}: {error}"
            raise _quarantined(key, self.quarantined[key]) from error
        resident.loaded = True
        resident.loading = False
        resident.active_us = self._clock.now_us()

    async def _rebuild(self, resident: Resident) -> None:
        events = await self._reader.read_stream(*resident.key, limit=PAGE_EVENTS)
        # A shorter stream has no snapshot, and is not worth the look.
        if len(events) == PAGE_EVENTS and await self._snapshots.restore(resident):
            try:
                return await self._fold(resident, await self._following(resident))
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - a fault of the snapshot or of the stream, which the events tell
                logger.info("the snapshot of %s is dropped: what follows does not fit it", resident.key.workflow_id)
                resident.clear()
        return await self._fold(resident, events)

    async def _fold(self, resident: Resident, events: Sequence[RecordedEvent]) -> None:
        """Fold a page of events and all that follow, other work in between."""
        while events:
            for recorded in events:
                _fold_event(resident, recorded)
            if len(events) < PAGE_EVENTS:
                return
            events = await self._following(resident)

    async def _following(self, resident: Resident) -> Sequence[RecordedEvent]:
        return await self._reader.read_stream(*resident.key, after_version=resident.version, limit=PAGE_EVENTS)


def _fold_event(resident: Resident, recorded: RecordedEvent) -> None:
    event = decode_record(recorded.record)
    payload = known_payload(event)
    resident.version = recorded.stream_version
    if payload is None:
        return
    if not resident.state.started:
        resident.trace_context = event.trace_context
    evolve(resident.state, payload)
    resident.note(payload, recorded.recorded_at_us, recorded.position)
    if resident.principal is None and event.HasField("principal"):
        resident.principal = event.principal


def _quarantined(key: WorkflowKey, problem: str) -> Unavailable:
    return Unavailable("STREAM_QUARANTINED", f"workflow {key.workflow_id} cannot be rebuilt: {problem}")


def _parkable(resident: Resident) -> bool:
    """Whether nothing but time or a message can move the workflow: what holds a slot backs off."""
    if not resident.durable or resident.mailbox or resident.scheduled or resident.unadmitted or resident.waiters:
        return False
    return is_at_rest(resident.state)


def is_at_rest(state: Workflow) -> bool:
    """Whether a workflow is open and has no work but what waits for a time."""
    if not state.running or state.to_settle or state.changed:
        return False
    if state.running_slots == 0:
        return True
    return all(step.state == BACKING_OFF for step in state.steps.values() if step.holds_slot)
