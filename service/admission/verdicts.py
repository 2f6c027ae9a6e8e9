"""What a guard may say of a call, and the lines in which calls wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from podium.v1 import events_pb2, value_pb2

LOOK_AGAIN_US = 5_000_000
"""How long those who wait are left alone at most when nothing happens: the policy may have changed since."""

Step = tuple[str, str, str]
"""(tenant, workflow, step)."""


class Allowed(NamedTuple):
    """The guard has nothing against the call. `check` is what a guard of permissions puts on record.

    `arguments_json`, where a guard cleaned them, are the arguments from here on. With a `timeout_ms` the attempt may
    take no longer.
    """

    check: events_pb2.PermissionChecked | None = None
    arguments_json: str | None = None
    timeout_ms: int = 0


class Denied(NamedTuple):
    """The call is refused. With a `field` it is the input that is at fault."""

    guard: str
    failure: value_pb2.Failure
    field: str = ""
    check: events_pb2.PermissionChecked | None = None
    reason: str = ""
    """Of a sanitizer: why, in upper snake case."""


class Answered(NamedTuple):
    """The result is known without calling the tool, and `hit` is what says from where."""

    value: value_pb2.Value
    hit: events_pb2.CacheHit | None = None


class Rejected(NamedTuple):
    """The attempt is not made, which is no denial: it counts as one that failed, and a fallback may act.

    `chance` is a random number in [0, 1) for the jitter of the next backoff.
    """

    guard: str
    failure: value_pb2.Failure
    chance: float = 0.5


class WaitingLine(Protocol):
    """Calls that wait in a guard's own order, named by their steps."""

    def __contains__(self, step: Step) -> bool:
        """Whether a step waits in it."""

    def __hash__(self) -> int:
        """A line is itself and no other."""

    def let_through(self, now_us: int) -> tuple[list[Step], int | None]:
        """Take out those that may be asked for again now, and tell when the next may be; None: nobody is left."""

    def leave(self, step: Step) -> None:
        """A step that joined has started or ended."""

    def move_away(self, step: Step) -> None:
        """A step that joined waits in another line."""


@runtime_checkable
class Stirring(Protocol):
    """A waiting line that moves when something happens, and not only with time."""

    def on_stir(self, look: Callable[[], None]) -> None:
        """Take what has the line looked at soon. It may be called at any time, and only asks for `let_through`."""

    def stir(self) -> None:
        """Call it if somebody may be let through."""


class Wait(NamedTuple):
    """The call may be asked for again at `until_us`, microseconds since the Unix epoch.

    With a `limited` it is a rate limit that it waits for, and a caller that would wait itself is refused. With a `join`
    it waits in a line, and the line says when it may be asked for again.
    """

    until_us: int
    reason: str
    limited: events_pb2.RateLimited | None = None
    join: Callable[[], WaitingLine] | None = None


Verdict = Allowed | Denied | Answered | Rejected | Wait

ALLOWED = Allowed()
"""The verdict of a guard that puts nothing on record."""
