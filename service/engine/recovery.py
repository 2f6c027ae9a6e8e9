"""Recovery and the regular rounds: what makes a missed wake-up or a crash cost seconds and nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice

from service.domain.effects import Queue, Run, effects
from service.domain.errors import DomainError, NotFound, Unavailable
from service.engine.engine import Engine
from service.engine.keys import StepKey, WorkflowKey
from service.engine.residency import is_at_rest
from service.engine.resident import Mail, Resident, answering
from service.engine.snapshots import SnapshotTooLargeError, is_due_at_rest
from service.engine.timers import Clock
from store.contract import Append, EventStore, OpenWorkflow, StoreError

logger = logging.getLogger(__name__)

FAR_FUTURE_US = 2**62
"""The wake-up time of a parked workflow that only a message can move."""
LOADS_AT_ONCE = 64
PLACES_HELD_S = 1.0
"""So long at most nobody who waited before a restart is given a place, until all who did are found."""
PARKS_AT_ONCE = 64


async def recover(engine: Engine, store: EventStore) -> int:
    """Fold every open workflow that is not parked and set the timers of the parked ones. Returns how many are open.

    When more are open than may be in memory, those without work are parked as it goes on. Those who waited for a place
    are given one in the order in which they came: once all are found, or, when that takes long, of those found by then.
    """
    engine.dispatcher.gathering = True
    held = asyncio.get_running_loop().call_later(PLACES_HELD_S, engine.dispatcher.serve_all)
    try:
        opened = await _recover(engine, store)
    finally:
        held.cancel()
        engine.dispatcher.serve_all()
    if engine.residency.quarantined:
        logger.error(
            "%d open workflows cannot be folded and are quarantined; `podium quarantine` lists and releases them",
            len(engine.residency.quarantined),
        )
    return opened


async def _recover(engine: Engine, store: EventStore) -> int:
    opened = await store.open_workflows()
    unparked = []
    for entry in opened:
        key = WorkflowKey(entry.tenant, entry.stream_id)
        if entry.wake_at_us is None:
            unparked.append(key)
        elif entry.wake_at_us < FAR_FUTURE_US:
            engine.timers.set(key, entry.wake_at_us)
    for first in range(0, len(unparked), LOADS_AT_ONCE):
        await _fold(engine, unparked[first : first + LOADS_AT_ONCE])
        if engine.residency.surplus >= PARKS_AT_ONCE:
            await park_idle(engine, store)
    return len(opened)


async def _fold(engine: Engine, keys: Sequence[WorkflowKey]) -> None:
    """Load workflows and wait until each has had its turn."""
    left = len(keys)
    folded = asyncio.Event()

    def count(_error: Exception | None, _position: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            folded.set()

    for key in keys:
        engine.post(key, Mail(None, reply=count))
    await folded.wait()


async def release(engine: Engine, key: WorkflowKey) -> str:
    """Fold a quarantined workflow again, and go on with it as after a start. Returns what is wrong with it still.

    Raises NotFound when it is not quarantined, and Unavailable when the log cannot be read.
    """
    quarantined = engine.residency.quarantined
    if quarantined.pop(key, None) is None:
        raise NotFound("NOT_QUARANTINED", f"workflow {key.workflow_id} is not quarantined")
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    engine.post(key, Mail(None, reply=answering(future)))
    try:
        await future
    except Unavailable:
        if key in quarantined:
            return quarantined[key]
        raise
    logger.info("workflow %s was released from the quarantine", key.workflow_id)
    return ""


async def park_idle(engine: Engine, store: EventStore) -> int:
    """Park the workflows that have been idle for long. Returns how many."""
    idle = engine.residency.idle()
    parked = 0
    while residents := list(islice(idle, PARKS_AT_ONCE)):
        for resident in residents:
            if is_due_at_rest(resident):
                async with _held(engine, resident.key) as held:
                    await _write_snapshot(engine, held)
        parked += await _park(engine, store, [resident.key for resident in residents])
    return parked


async def _park(engine: Engine, store: EventStore, keys: Sequence[WorkflowKey]) -> int:
    """Park those of the workflows that still have no work, in one append. Returns how many."""
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(_held(engine, key)) for key in keys]
        resting = [resident for resident in held if is_at_rest(resident.state)]
        if not resting:
            return 0
        for resident in resting:
            # The next append of a workflow that stays after all says that it is not parked.
            resident.opened = False
        await store.append(Append((), opened=[_parked(resident) for resident in resting]))
    return sum(_forget_if_idle(engine, resident) for resident in resting)


def _parked(resident: Resident) -> OpenWorkflow:
    wake_us = resident.state.wake_at_us()
    return OpenWorkflow(*resident.key, wake_at_us=FAR_FUTURE_US if wake_us is None else wake_us)


async def write_snapshots(engine: Engine) -> int:
    """Make snapshots of the long workflows in memory. Returns how many."""
    written = 0
    for key in engine.residency.due_for_a_snapshot():
        try:
            async with _held(engine, key) as resident:
                written += await _write_snapshot(engine, resident)
        except DomainError as error:
            logger.info("there is no snapshot of %s: %s", key.workflow_id, error)
    return written


@asynccontextmanager
async def _held(engine: Engine, key: WorkflowKey) -> AsyncGenerator[Resident, None]:
    """Wait until a workflow is what the log says, and take no turn of it before the block ends."""

    def hold(resident: Resident) -> Resident:
        resident.in_flight = True
        return resident

    resident = await engine.read(key, hold)
    try:
        yield resident
    finally:
        resident.in_flight = False
        engine.poke(resident)


async def _write_snapshot(engine: Engine, resident: Resident) -> bool:
    try:
        await engine.residency.snapshot(resident)
    except (SnapshotTooLargeError, StoreError) as error:
        logger.info("there is no snapshot of %s: %s", resident.key.workflow_id, error)
    except Exception:
        # It is a cache: with a fault in it a workflow goes on, and is parked, and so are all others.
        logger.exception("the snapshot of %s failed", resident.key.workflow_id)
    else:
        return True
    return False


def _forget_if_idle(engine: Engine, resident: Resident) -> bool:
    # Mail may have come while the entry was written, or someone who waits for the end.
    if resident.mailbox or resident.scheduled or resident.waiters:
        return False
    engine.residency.remove(resident)
    wake_us = resident.state.wake_at_us()
    if wake_us is not None:
        engine.timers.set(resident.key, wake_us)
    return True


def reconcile(engine: Engine, now_us: int) -> int:
    """Look again at all work in memory, so that a missed wake-up costs seconds. Returns how many were woken."""
    woken = 0
    for resident in engine.residency.running():
        if not resident.durable or resident.scheduled:
            continue
        wake_us = resident.state.wake_at_us()
        if wake_us is not None and wake_us <= now_us:
            engine.wake(resident.key)
        for step_id in _unattended(engine, resident):
            resident.state.changed[step_id] = None
        if resident.state.changed or resident.mailbox or resident.unadmitted:
            woken += 1
            engine.schedule(resident)
    return woken


def _unattended(engine: Engine, resident: Resident) -> list[str]:
    """Steps that ask for something on which nobody works."""
    found = []
    for step_id, effect in effects(resident.state).items():
        key = StepKey(*resident.key, step_id)
        if isinstance(effect, Queue):
            attended = engine.dispatcher.is_waiting(key) or engine.effects.waiting.holds(key)
        elif isinstance(effect, Run):
            attended = engine.attempts.of_step(key) is not None
        else:
            # A step that backs off waits for its timer, which was looked at above.
            attended = effect.not_before_us > 0
        if not attended:
            found.append(step_id)
    return found


async def reload_forgotten(engine: Engine, store: EventStore, now_us: int) -> int:
    """Load what is open or due and not in memory: a turn that failed left it behind. Returns how many."""
    reloaded = 0
    for entry in await store.open_workflows(now_us):
        key = WorkflowKey(entry.tenant, entry.stream_id)
        if engine.residency.get(key) is None and key not in engine.residency.quarantined:
            reloaded += 1
            engine.wake(key)
    return reloaded


async def make_rounds(engine: Engine, store: EventStore, clock: Clock, interval_s: float) -> None:
    """Reconcile and park, again and again, until cancelled."""
    while True:
        await asyncio.sleep(interval_s)
        started_us = clock.now_us()
        try:
            woken = reconcile(engine, started_us) + await reload_forgotten(engine, store, started_us)
            parked = await park_idle(engine, store)
            snapshots = await write_snapshots(engine)
        except StoreError:
            logger.exception("a round could not be finished; the next one tries again")
            continue
        if woken or parked or snapshots:
            took_us = clock.now_us() - started_us
            logger.info("round: woken=%d parked=%d snapshots=%d took_us=%d", woken, parked, snapshots, took_us)
