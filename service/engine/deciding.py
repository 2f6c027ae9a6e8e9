"""Decides commands and folds what they cause, ahead of durability, and tells the guards which attempts ended.

Invariant: every attempt that a guard was told of as started is told of as ended, once, however it ended: by its own
outcome where it has one, and otherwise when the step asks for something else.
"""

from __future__ import annotations

from google.protobuf.message import Message

from podium.v1 import events_pb2
from service.admission.guards import AttemptEnd
from service.admission.pipeline import Pipeline
from service.domain import commands as c
from service.domain.conditions import Expressions
from service.domain.decide import Rules, decide
from service.domain.evolve import evolve
from service.domain.state import TimerKind
from service.domain.values import Allowance, Ports
from service.engine.payloads import PayloadCache
from service.engine.sealing import Sealing
from service.engine.turn import Turn
from store.contract import NewEvent


class Deciding:
    """Runs the domain. Holds its rules and its ports."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        expressions: Expressions,
        payloads: PayloadCache,
        rules: Rules,
        sealing: Sealing | None,
    ) -> None:
        self._pipeline = pipeline
        self._expressions = expressions
        self._payloads = payloads
        self._rules = rules
        self._sealing = sealing
        self._ports: dict[str, Ports] = {}
        self.allowance = Allowance()
        """What the turn that is taken may still read."""

    def ports(self, tenant: str) -> Ports:
        """The domain's ports for a tenant."""
        ports = self._ports.get(tenant)
        if ports is None:
            seals = self._sealing.of(tenant) if self._sealing is not None else None
            ports = self._ports[tenant] = Ports(self._expressions, self._payloads.of(tenant), seals, self.allowance)
        return ports

    def apply(self, turn: Turn, command: c.Command, envelope: bytes) -> list[Message]:
        """Decide a command and fold its events into the turn."""
        resident = turn.resident
        if type(command) is c.TimePassed:
            for _, _, kind, step_id, _ in resident.state.due(command.now_us):
                if kind is TimerKind.RETRY:
                    resident.unadmitted[step_id] = None
        events = decide(resident.state, command, self.ports(resident.key.tenant), self._rules)
        for event in events:
            evolve(resident.state, event)
            turn.events.append(NewEvent(event, envelope))
            if isinstance(event, (events_pb2.StepSucceeded, events_pb2.AttemptFailed)) and event.attempt:
                tool = resident.state.steps[event.step_id].call.tool
                step = (*resident.key, event.step_id)
                end = AttemptEnd(step, turn.now_us, event.attempt, tool, event)
                turn.ended.append(end)
                self._pipeline.ended(end)
                if isinstance(event, events_pb2.StepSucceeded):
                    turn.successes.append(len(turn.events) - 1)
        return events
