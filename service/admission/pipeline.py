"""The pipeline: asks the guards in order whether a tool may be called now, and fails closed.

No guard runs after one that did not allow the call, and an error in a guard is a denial. Guards decide from memory:
the record of the decision and the start of the attempt are one append.
"""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import orjson
from google.protobuf.message import Message

from podium.v1 import definition_pb2, events_pb2, value_pb2

_log = logging.getLogger(__name__)

_UNSET: Any = object()


class ToolRequest:
    """One attempt to call a tool, as admission sees it. `arguments` and their digest are worked out when asked for."""

    __slots__ = (
        "_arguments",
        "_arguments_digest",
        "arguments_json",
        "attempt",
        "authority",
        "digest",
        "step_id",
        "tenant",
        "timeout_ms",
        "tool",
        "tool_version",
        "workflow_id",
    )

    def __init__(
        self,
        *,
        tenant: str,
        workflow_id: str,
        step_id: str,
        attempt: int,
        tool: definition_pb2.ToolDefinition,
        tool_version: int,
        authority: value_pb2.Authority,
        arguments_json: str,
    ) -> None:
        self.tenant = tenant
        self.workflow_id = workflow_id
        self.step_id = step_id
        self.attempt = attempt
        self.tool = tool
        self.tool_version = tool_version
        self.authority = authority
        self.arguments_json = arguments_json
        self._arguments = _UNSET
        self._arguments_digest: bytes | None = None
        self.digest: Callable[[bytes], bytes] | None = None
        """What takes the place of SHA-256, for arguments that hold something sealed."""
        self.timeout_ms = 0
        """How long a guard lets it take at most; 0: as long as it may without."""

    @property
    def holds_secrets(self) -> bool:
        """Whether something sealed was opened for the arguments."""
        return self.digest is not None

    @property
    def arguments(self) -> object:
        """The arguments as parsed JSON. Raises ValueError for text that is no JSON."""
        if self._arguments is _UNSET:
            self._arguments = orjson.loads(self.arguments_json)
        return self._arguments

    def replace_arguments(self, arguments_json: str) -> None:
        """Take these in the place of the arguments that were given: they were cleaned."""
        self.arguments_json = arguments_json
        self._arguments = _UNSET
        self._arguments_digest = None

    @property
    def arguments_digest(self) -> bytes:
        """The digest of the arguments' canonical JSON (keys sorted, no white space), or of a text that is no JSON."""
        if self._arguments_digest is None:
            try:
                canonical = orjson.dumps(self.arguments, option=orjson.OPT_SORT_KEYS)
            except (ValueError, TypeError):
                canonical = self.arguments_json.encode(errors="surrogatepass")
            self._arguments_digest = (
                hashlib.sha256(canonical).digest() if self.digest is None else self.digest(canonical)
            )
        return self._arguments_digest


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
    """Calls that wait in a guard's own order. Named by their steps: (tenant, workflow, step)."""

    def __contains__(self, step: tuple[str, str, str]) -> bool:
        """Whether a step waits in it."""

    def __hash__(self) -> int:
        """A line is itself and no other."""

    def let_through(self, now_us: int) -> tuple[list[tuple[str, str, str]], int | None]:
        """Take out those that may be asked for again now, and tell when the next may be; None: nobody is left."""

    def leave(self, step: tuple[str, str, str]) -> None:
        """A step that joined has started or ended."""

    def move_away(self, step: tuple[str, str, str]) -> None:
        """A step that joined waits in another line."""


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


class Guard(Protocol):
    """Decides one question about a call, from memory."""

    @property
    def name(self) -> str:
        """What the guard is called in the log, in lower case."""

    def check(self, request: ToolRequest, now_us: int) -> Verdict:
        """Decide. An exception is a denial."""


class AttemptEnd(NamedTuple):
    """An attempt does not run any more, as the guards see it. Named by its step: (tenant, workflow, step)."""

    step: tuple[str, str, str]
    now_us: int
    attempt: int = 0
    """0: whichever of the step was running."""
    tool: str = ""
    """Its tool, where it has an outcome."""
    outcome: events_pb2.StepSucceeded | events_pb2.AttemptFailed | None = None
    """None: it was canceled, was given up with its workflow, or never started."""


@runtime_checkable
class Counting(Protocol):
    """A guard that counts what starts. Asking it about a call counts nothing."""

    def started(self, request: ToolRequest, now_us: int) -> None:
        """Count an attempt that all guards allowed in this turn, and that starts now."""


@runtime_checkable
class Following(Protocol):
    """A guard that wants to know how attempts end."""

    def resumed(self, step: tuple[str, str, str], attempt: int, tool: str) -> None:
        """An attempt was found running, started before this process was."""

    def ended(self, end: AttemptEnd) -> None:
        """An attempt ended. Told once with its outcome, and then again without one; also of what it never counted."""


@runtime_checkable
class Recording(Protocol):
    """A guard that has something on record in streams of its own."""

    def unrecorded(self, tenant: str, stream_id: str, payload: Message) -> None:
        """What it wanted to record is not on record: the turn failed, or its append did."""


Beside = tuple[str, Message]
"""A stream of the tenant's, and an event for it that goes into the append of what caused it."""


class Ledger:
    """What guards have on record in streams of their own, collected until the turn that caused it takes it along."""

    def __init__(self) -> None:
        self._entries: list[Beside] = []

    def record(self, stream_id: str, payload: Message) -> None:
        """Record an event in the tenant's stream, in the append of the turn that is being taken."""
        self._entries.append((stream_id, payload))

    def take(self) -> Sequence[Beside]:
        """What was recorded since the last time."""
        if not self._entries:
            return ()
        entries, self._entries = self._entries, []
        return entries


class Admission(NamedTuple):
    """What the pipeline decided, and the events that say so."""

    verdict: Verdict
    permission_checked: events_pb2.PermissionChecked | None = None
    input_rejected: events_pb2.InputRejected | None = None


class Pipeline:
    """Guards in the order in which they are asked."""

    def __init__(self, guards: Sequence[Guard], ledger: Ledger | None = None) -> None:
        """`ledger` is where the guards record what they have to say in streams of their own."""
        self._guards = tuple(guards)
        self._counting = tuple(guard for guard in guards if isinstance(guard, Counting))
        self._following = tuple(guard for guard in guards if isinstance(guard, Following))
        self._recording = tuple(guard for guard in guards if isinstance(guard, Recording))
        self._ledger = ledger or Ledger()

    def admit(self, request: ToolRequest, now_us: int) -> Admission:
        """Ask the guards until one does not allow the call. Never raises for what a guard does."""
        checked: events_pb2.PermissionChecked | None = None
        for guard in self._guards:
            try:
                verdict = guard.check(request, now_us)
            except Exception as error:  # noqa: BLE001 - fail closed
                verdict = _broken(guard, error)
            if verdict is ALLOWED:
                continue
            if isinstance(verdict, Allowed):
                checked = verdict.check or checked
                if verdict.timeout_ms:
                    request.timeout_ms = min(verdict.timeout_ms, request.timeout_ms or verdict.timeout_ms)
                if verdict.arguments_json is not None:
                    request.replace_arguments(verdict.arguments_json)
            elif isinstance(verdict, Denied):
                return Admission(verdict, verdict.check or checked, _input_rejected(request, verdict))
            else:
                return Admission(verdict, checked)
        return Admission(ALLOWED, checked)

    def started(self, request: ToolRequest, now_us: int) -> None:
        """An attempt that was admitted in this turn starts: whoever counts counts it, once."""
        for guard in self._counting:
            guard.started(request, now_us)

    def resumed(self, step: tuple[str, str, str], attempt: int, tool: str) -> None:
        """An attempt was found running, started before this process was: whoever follows attempts is told."""
        for guard in self._following:
            guard.resumed(step, attempt, tool)

    def ended(self, end: AttemptEnd) -> None:
        """An attempt does not run any more: whoever follows attempts is told."""
        for guard in self._following:
            guard.ended(end)

    def take_beside(self) -> Sequence[Beside]:
        """What the guards have to record with the events of this turn."""
        return self._ledger.take()

    def unrecorded(self, tenant: str, beside: Iterable[Beside]) -> None:
        """What the guards wanted to record is not on record."""
        for stream_id, payload in beside:
            for guard in self._recording:
                guard.unrecorded(tenant, stream_id, payload)


def _broken(guard: Guard, error: Exception) -> Denied:
    """The denial for a guard that raised. The exception's text goes nowhere, nor to the log: it may hold a secret."""
    place = "".join(traceback.format_tb(error.__traceback__))
    _log.error("the guard %s raised %s:\n%s", guard.name, type(error).__name__, place)
    message = f"the guard {guard.name} could not decide, so the call is denied"
    return Denied(guard.name, value_pb2.Failure(reason="GUARD_ERROR", message=message))


def _input_rejected(request: ToolRequest, denied: Denied) -> events_pb2.InputRejected | None:
    if not denied.field:
        return None
    return events_pb2.InputRejected(
        step_id=request.step_id,
        field=denied.field,
        guard=denied.guard,
        message=denied.failure.message,
        reason=denied.reason,
    )
