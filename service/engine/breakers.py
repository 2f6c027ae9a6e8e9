"""Breakers as an operator sees and sets them. What somebody sets is an event before it is answered or has an effect."""

from __future__ import annotations

from collections.abc import Iterator

from podium.v1 import events_pb2
from podium.v1 import resilience_service_pb2 as pb
from service.admission.breaker import BreakerGuard
from service.admission.breaker_book import BreakerBook, ToolBreaker, rule_of
from service.domain.breaker_settings import FORCED_OPEN
from service.domain.errors import IllegalState
from service.engine.breaker_tail import find_breakers
from service.engine.journal import Journal
from service.engine.resident import Cause
from service.engine.timers import Clock
from store.contract import EventStore, RecordedEvent
from store.records import decode_record, known_payload


class Breakers:
    """The breakers of all tenants."""

    def __init__(self, book: BreakerBook, guard: BreakerGuard, clock: Clock) -> None:
        self._book = book
        self._guard = guard
        self._clock = clock
        self._journal: Journal | None = None

    async def load(self, store: EventStore) -> None:
        """Find again what the log says. A tenant without a tool has none."""
        self._journal = Journal(store)
        tenants = {tenant for tenant, _ in await store.list_streams("tool:")}
        await find_breakers(store, store.head, self._book, tenants)
        for kept in self._book:
            self._guard.found(kept)

    def listed(self, tenant: str, after: str = "") -> list[pb.Breaker]:
        """The breakers of tools that were called or set, by tool, those after one by name."""
        return [self._view(kept) for kept in self._book.of_tenant(tenant) if kept.tool > after]

    def states(self) -> Iterator[tuple[str, str, int]]:
        """(tenant, tool, state) of all that `listed` has, of every tenant. May be called by any thread."""
        return self._book.states()

    def read(self, tenant: str, tool: str) -> pb.Breaker:
        """The breaker of a tool, also of one that was never called."""
        return self._view(self._book.known(tenant, tool))

    async def set(self, tenant: str, tool: str, action: int, reason: str, cause: Cause) -> pb.Breaker:
        """Open, close or reset a breaker. Raises IllegalState for closing one that the policy holds open."""
        assert self._journal is not None, "load comes first"
        kept = self._book.kept(tenant, tool)
        initial = kept.settings_in_force.initial
        if action == pb.BREAKER_ACTION_CLOSE and initial == FORCED_OPEN:
            rule = rule_of(self._book.policy_of(tenant), tool)
            held_by = f"the rule {rule.id}" if rule is not None else "a rule"
            raise IllegalState(
                "BREAKER_HELD_BY_POLICY", f"{held_by} of the policy holds the breaker of {tool} open: change its mode"
            )
        to_state = FORCED_OPEN if action == pb.BREAKER_ACTION_OPEN else initial
        name = "RESET_BY_OPERATOR" if action == pb.BREAKER_ACTION_RESET else "SET_BY_OPERATOR"
        transition = kept.breaker.operated(to_state, name, self._clock.now_us())
        message = kept.message(transition, events_pb2.BreakerTransitioned(note=reason))
        phase = kept.breaker.phase

        def fold(recorded: RecordedEvent) -> None:
            event = known_payload(decode_record(recorded.record))
            assert isinstance(event, events_pb2.BreakerTransitioned), "it is what was submitted"
            # A turn that was taken meanwhile has its transition behind this one in the log; this one is to stand.
            self._guard.set(kept, event, recorded.recorded_at_us, is_last=kept.breaker.phase == phase)

        await self._journal.record(tenant, kept.stream_id, message, cause, fold)
        return self._view(kept)

    def _view(self, kept: ToolBreaker) -> pb.Breaker:
        breaker, settings = kept.breaker, kept.settings_in_force
        rule = rule_of(self._book.policy_of(kept.tenant), kept.tool)
        view = pb.Breaker(
            tool=kept.tool,
            state=breaker.adopted_state(settings),  # type: ignore[arg-type]  # the stubs want their NewType
            figures=breaker.figures(self._clock.now_us()),
            changed_at_us=breaker.changed_at_us,
            open_until_us=breaker.open_until_us,
            permits_taken=breaker.permits_taken,
            permits=settings.permits if rule is not None else 0,
        )
        if rule is not None:
            view.rule.CopyFrom(rule)
        if kept.last is not None:
            view.last_transition.CopyFrom(kept.last)
        return view
