"""What the engine is given: its collaborators, and bounds on what may wait."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from service.engine.dispatch import Dispatcher
from service.engine.payloads import PayloadCache
from service.engine.snapshots import Snapshots
from service.engine.timers import Clock
from service.engine.turn_taker import TurnTaker
from service.engine.watchers import Watchers
from store.contract import EventStore


class Randomness(Protocol):
    """The engine's chance."""

    def chance(self) -> float:
        """A random number in [0, 1)."""


@dataclass(slots=True)
class Collaborators:
    """What the engine works with; built by the composition root."""

    store: EventStore
    clock: Clock
    randomness: Randomness
    turns: TurnTaker
    dispatcher: Dispatcher
    payloads: PayloadCache
    watchers: Watchers
    snapshots: Snapshots
    spawn: Callable[[Coroutine[Any, Any, object]], None]
    fatal: Callable[[Exception], None]
    """The log cannot be written any more: the process must stop."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait. What is over a bound is refused to callers, and left with executors."""

    mailbox: int = 1_000
    """Commands of callers that wait for one workflow."""
    resident_workflows: int = 50_000
    """Open workflows in memory, about 13 KB each; of more, those without work are parked at once."""
    workflows: int = 10_000
    """Workflows that wait for their turn before callers are refused."""
    appends: int = 5_000
    """Appends on their way to the log; no more turns are taken until some are durable."""
