"""Effects in the world: assignments leave, queues fill, executors are told to stop. Only after the commit."""

from __future__ import annotations

from podium.v1 import executor_service_pb2 as wire
from service.domain.effects import Run
from service.domain.state import QUEUED, RUNNING
from service.engine.attempts import Attempts, LiveAttempt
from service.engine.dispatch import Dispatcher
from service.engine.keys import StepKey
from service.engine.lines import WaitingSteps
from service.engine.resident import Resident
from service.engine.timers import Clock
from service.engine.turn import Assigned, Turn
from service.engine.turn_taker import TurnTaker


class Effects:
    """Releases what turns found."""

    def __init__(self, clock: Clock, turns: TurnTaker, dispatcher: Dispatcher, attempts: Attempts) -> None:
        self._turns = turns
        self._dispatcher = dispatcher
        self._attempts = attempts
        self.waiting = WaitingSteps(clock, dispatcher.enqueue)

    def close(self) -> None:
        """Release nothing more by itself."""
        self.waiting.close()

    def release(self, turn: Turn, first_position: int) -> None:
        """Do in the world what a turn found. Called only when its events are durable, from that position on."""
        # What ended goes first: a step may have been started again in the same turn.
        for key in turn.settled:
            self._dispatcher.forget(key)
            self.waiting.leave(key)
            live = self._attempts.drop(key)
            if live is not None:
                self._tell_to_stop(live, "the attempt has ended")
        for assigned in turn.assigned:
            self._assign(turn, assigned)
        for run in turn.running:
            self._follow_run(turn.resident, run)
        for key, tool in turn.queued:
            if key not in turn.delayed:
                resident = turn.resident
                position = resident.marks[key.step_id].queued_position
                self._dispatcher.enqueue(key, tool, resident.state.priority, position)
        for key, (tool, wait) in turn.delayed.items():
            if turn.resident.state.steps[key.step_id].state != QUEUED:
                # Something later in the same turn started or ended it, and nobody would take it out of the line.
                continue
            self.waiting.join(key, tool, wait, turn.resident.state.priority)
        if turn.successes:
            self._turns.made_durable(turn, first_position)

    def _assign(self, turn: Turn, assigned: Assigned) -> None:
        reference = assigned.item.assign.attempt
        executor = assigned.executor
        step = turn.resident.state.steps[reference.step_id]
        if step.state != RUNNING or step.fence != reference.fence:
            # Something later in the same turn ended it: nobody has seen it, so nothing needs to be stopped.
            self._dispatcher.give_back(executor)
            return
        tenant, workflow_id = turn.resident.key
        key = StepKey(tenant, workflow_id, step.id)
        self.waiting.leave(key)
        live = self._attempts.track(key, assigned.tool, step.attempts, step.fence, assigned.heartbeat_ms)
        executor.holding.add((workflow_id, step.id, step.attempts))
        if executor.gone:
            self._attempts.lose(live)
            return
        self._attempts.hold(live, executor)
        if assigned.item.assign.secrets:
            live.secrets = {secret.name: secret.value for secret in assigned.item.assign.secrets}
        executor.session.send(assigned.item)

    def _follow_run(self, resident: Resident, run: Run) -> None:
        tenant, workflow_id = resident.key
        key = StepKey(tenant, workflow_id, run.step_id)
        live = self._attempts.of_step(key)
        if live is None or live.fence != run.fence:
            tool, heartbeat_ms = self._turns.tool_of(resident, resident.state.steps[run.step_id])
            live = self._attempts.track(key, tool, run.attempt, run.fence, heartbeat_ms)
            self._turns.resumed(key, run.attempt, tool)
        if live.executor is None:
            # After a restart nobody holds it yet; an executor that does says so when it reconnects.
            if not live.lost_us:
                self._attempts.lose(live)
        elif run.canceled:
            self._tell_to_stop(live, "the workflow was canceled")

    def _tell_to_stop(self, live: LiveAttempt, reason: str) -> None:
        executor = live.executor
        held = (live.key.workflow_id, live.key.step_id, live.attempt)
        if executor is not None and held in executor.holding:
            cancel = wire.CancelAttempt(attempt=live.reference, reason=reason)
            executor.session.send(wire.ServiceItem(cancel=cancel))
