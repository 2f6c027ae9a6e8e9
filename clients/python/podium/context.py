"""What a tool can know about the attempt it runs for, and tell while it runs.

A tool gets it in the parameter that is annotated with `podium.Context`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from podium.durations import Duration, milliseconds
from podium.errors import Canceled
from podium.secret_values import NO_SECRETS, SecretValues


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asked for the call, and for whom."""

    subject: str = ""
    agent: str = ""
    on_behalf_of: str = ""
    session_id: str = ""
    token_id: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """What is known when an attempt begins. Crosses into worker processes."""

    tool: str
    workflow_id: str
    step_id: str
    attempt: int
    idempotency_key: str
    tenant: str = ""
    principal: Principal = Principal()
    trace_context: str = ""
    secrets: SecretValues = NO_SECRETS


class Signals(Protocol):
    """Where a running tool's signs of life go. Any thread may send them."""

    @property
    def cancelled(self) -> bool:
        """Whether the attempt is not wanted any more."""

    def progress(self, fraction: float, message: str) -> None:
        """Tells how far the attempt is."""

    def heartbeat(self) -> None:
        """Tells that the tool is alive."""

    def cache_for(self, ttl_ms: int) -> None:
        """Tells how long the attempt's result may be cached, in milliseconds; 0: not at all."""


class Context:
    """The attempt that a tool runs for."""

    def __init__(self, facts: AttemptFacts, signals: Signals) -> None:
        self._facts = facts
        self._signals = signals

    @property
    def tool(self) -> str:
        """The name the tool was called by."""
        return self._facts.tool

    @property
    def workflow_id(self) -> str:
        """The workflow the step belongs to."""
        return self._facts.workflow_id

    @property
    def step_id(self) -> str:
        """The step."""
        return self._facts.step_id

    @property
    def attempt(self) -> int:
        """Which attempt of the step this is, from 1."""
        return self._facts.attempt

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of the step and unique to it: hand it to whatever must not happen twice."""
        return self._facts.idempotency_key

    @property
    def tenant(self) -> str:
        """The tenant the tool runs for."""
        return self._facts.tenant

    @property
    def principal(self) -> Principal:
        """Who asked for the call."""
        return self._facts.principal

    @property
    def on_behalf_of(self) -> str:
        """For whom the caller acts; empty: for itself."""
        return self._facts.principal.on_behalf_of

    @property
    def trace_context(self) -> str:
        """The W3C traceparent of the call; empty: none."""
        return self._facts.trace_context

    def secret(self, name: str) -> str:
        """The value of a secret that the tool declares with `secrets=[...]`.

        It is taken out of what the tool returns, streams, raises and tells of its progress, where it is found as it
        is. What the tool makes of it, or logs, is the tool's own care.
        """
        return self._facts.secrets.get(name, self._facts.tool)

    @property
    def cancelled(self) -> bool:
        """Whether the attempt is not wanted any more. An async tool is cancelled; one in a thread looks here."""
        return self._signals.cancelled

    def raise_if_cancelled(self) -> None:
        """Raises Canceled when the attempt is not wanted any more."""
        if self.cancelled:
            raise Canceled("the attempt is not wanted any more")

    def progress(self, fraction: float | None = None, message: str = "") -> None:
        """Tells how far the attempt is, as a part from 0 to 1 or None when that is not known. Counts as a heartbeat."""
        self._signals.progress(-1.0 if fraction is None else float(fraction), message)

    def heartbeat(self) -> None:
        """Tells that the tool is alive, for a tool with a heartbeat timeout."""
        self._signals.heartbeat()

    def cache_for(self, ttl: Duration) -> None:
        """Lets this result be cached for so long, in place of what the tool's `caching` says; 0: not at all.

        The last word counts. Only results of tools that are read_only are cached.
        """
        self._signals.cache_for(milliseconds(ttl))
