"""A walk through a workflow: commands in a random order, as engine, executors and callers would give them.

Every event is checked as it is folded. The decider and the fold are handed in, so that broken ones can be shown to
be found out.
"""

from podium.v1 import events_pb2 as e
from podium.v1 import value_pb2
from service.domain import commands as c
from service.domain.canonical import state_digest
from service.domain.decide import Rules, StaleFenceError, decide
from service.domain.effects import Admit, Queue, effects
from service.domain.errors import DomainError, InvalidInput
from service.domain.evolve import evolve
from service.domain.fallback import STALE_MISS, stale_link
from service.domain.state import US_PER_MS, Workflow
from service.domain.values import ALLOWANCE, Ports, arguments_text
from tests.property.domain import invariants as i
from tests.property.domain.plans import OUTPUTS
from tests.property.domain.reference import Reference
from tests.unit.domain.workflow_run import (
    EXPRESSIONS,
    START_US,
    LoadedPayloads,
    adds,
    allowed,
    completes,
    denies,
    fails,
    misses,
    rejects,
    starts,
    value_of,
)

MOVES_MAX = 500
RULES = Rules(steps_limit=10)


class Walk:
    def __init__(self, plan, *, fold=evolve, decider=decide, only=None):
        self.plan = plan
        self.now_us = START_US
        self.state = Workflow()
        self.reference = Reference(plan.go)
        self.decided_on = self.reference
        self.events = []
        self.records = []
        self._fold = fold
        self._decide = decider
        self._only = only
        self._ports = Ports(EXPRESSIONS, LoadedPayloads())
        self._digest = state_digest(self.state)
        self._again = Workflow()
        self._checks = [check() for check in i.CHECKS if only in (None, check.name)]
        self._additions = list(plan.additions)

    def step(self, step_id):
        return self.state.steps[step_id]

    def digest(self):
        """The digest of the state as the last event left it."""
        return self._digest

    def rebuilt(self):
        """The state that the records make, with the real fold."""
        event = e.Event.FromString(self.records[-1])
        evolve(self._again, getattr(event, event.WhichOneof("payload")))
        return self._again

    def _checking(self, name):
        return self._only in (None, name)

    def take(self):
        """Walk to the end. Raises Broken."""
        self._do(starts(*self.plan.steps, **self._start()))
        for number, choice in enumerate(self.plan.choices):
            if not self.state.running:
                break
            if number == self.plan.cancel_at:
                self._do(lambda walk: iter([c.CancelWorkflow(walk.now_us)]))
                continue
            moves = self._moves()
            # Now and then the next mail is read before anything is settled, as one turn of the engine does.
            self._do(moves[choice % len(moves)](choice // len(moves)), settled=choice % 3 > 0)
        self._drain()
        for check in self._checks:
            if isinstance(check, i.RecordsRebuild):
                check.look_at_the_end(self)

    def _start(self):
        names = ("open", "max_parallel", "timeout_ms")
        return {"value": {"go": self.plan.go}, **{name: getattr(self.plan, name) for name in names}}

    # Deciding and folding

    def _do(self, move, *, settled=True):
        try:
            for command in move(self):
                self._apply(command)
        except InvalidInput:
            # Steps that need steps which were refused before them.
            assert self._additions != list(self.plan.additions)
        if settled:
            self._settle()

    def _settle(self):
        for _ in range(MOVES_MAX):
            if not self._apply(c.Advance(self.now_us)):
                break
        else:
            raise i.Broken(i.ENDS, "settling never ends")
        if self._checking(i.PROGRESS):
            i.look_at_progress(self)

    def _apply(self, command):
        try:
            self._ports.allowance.left = ALLOWANCE
            events = self._decide(self.state, command, self._ports, RULES)
        except (DomainError, StaleFenceError):
            events = []
        if self._checking(i.PURITY):
            changed = state_digest(self.state) != self._digest
            i.require(i.PURITY, not changed, f"{type(command).__name__} changed the state")
        self.decided_on = self.reference.frozen()
        for event in events:
            self._take_in(event)
        return events

    def _take_in(self, event):
        self._fold(self.state, event)
        self._digest = state_digest(self.state)
        self.events.append(event)
        record = e.Event(stream_version=len(self.events))
        getattr(record, FIELDS[type(event).__name__]).CopyFrom(event)
        self.records.append(record.SerializeToString())
        for check in self._checks:
            check.look(self, event)
        self.reference.note(event)

    # What may happen next

    def _moves(self):
        """What may happen now: functions from a number to a move."""
        found = [self._time_passes, self._stale_report]
        for step_id, effect in effects(self.state).items():
            if isinstance(effect, Admit | Queue):
                if isinstance(effect, Admit) and effect.not_before_us > self.now_us:
                    continue
                found += [self._begin(step_id)] * 2 + [self._refuse(step_id), self._queue(step_id)]
            else:
                found += [self._complete(step_id)] * 2 + [self._fail(step_id)]
        if self._additions and self.state.open:
            found.append(self._add)
        if self.state.open and not self._additions:
            found.append(lambda _: lambda walk: iter([c.FinishWorkflow(walk.now_us)]))
        return found

    def _time_passes(self, number):
        def move(walk):
            wake_us = walk.state.wake_at_us()
            soon_us = walk.now_us + number % 100 * US_PER_MS
            walk.now_us = max(walk.now_us, wake_us) if wake_us is not None and number % 2 else soon_us
            yield c.TimePassed(walk.now_us, number % 10 / 10)

        return move

    def _stale_report(self, number):
        """Somebody reports about an attempt that is not the one that runs, or about nothing."""
        step_id = list(self.state.steps)[number % len(self.state.steps)]
        wrong = {"fence": self.step(step_id).fence + 1 - number % 3 * 2} if number % 2 else {"attempt": 7}
        return completes(step_id, **wrong) if number % 5 else fails(step_id, **wrong)

    def _begin(self, step_id):
        def begin(number):
            if stale_link(self.step(step_id)) is not None:
                return self._look_for_an_old_result(step_id, number)

            def move(walk):
                try:
                    arguments_text(walk.state, walk.step(step_id), LoadedPayloads())
                except ValueError as error:
                    failure = value_pb2.Failure(reason="REFERENCE_ERROR", message=str(error))
                    yield c.FailStep(walk.now_us, step_id, failure)
                    return
                timeout_ms = [40, 1000, 100_000][number % 3]
                yield c.StartAttempt(walk.now_us, step_id, allowed(walk, step_id), "worker", "session", timeout_ms)

            return move

        return begin

    def _look_for_an_old_result(self, step_id, number):
        if number % 2:
            return misses(step_id, STALE_MISS)
        hit, output = e.CacheHit(step_id=step_id, stale=True), value_of(OUTPUTS[number % len(OUTPUTS)])
        return lambda walk: iter([c.AnswerStep(walk.now_us, step_id, allowed(walk, step_id), output, hit)])

    def _refuse(self, step_id):
        def refuse(number):
            if number % 2:
                return denies(step_id)
            # Nothing is called at a link for an old result, so there is no attempt to reject.
            if number % 3 and stale_link(self.step(step_id)) is None:
                return rejects(step_id, retryable=bool(number % 5), chance=number % 10 / 10)
            return lambda walk: iter(
                [c.AnswerStep(walk.now_us, step_id, None, value_of(OUTPUTS[number % len(OUTPUTS)]))]
            )

        return refuse

    def _queue(self, step_id):
        def queue(number):
            limited = e.RateLimited(step_id=step_id, limit=f"limit-{number % 2}") if number % 3 else None
            return lambda walk: iter([c.QueueStep(walk.now_us, step_id, "a place", 30 + number % 100, limited)])

        return queue

    def _complete(self, step_id):
        return lambda number: completes(step_id, OUTPUTS[number % len(OUTPUTS)])

    def _fail(self, step_id):
        return lambda number: fails(step_id, retryable=bool(number % 3), chance=number % 10 / 10)

    def _add(self, _number):
        return adds(*self._additions.pop(0), request_id=f"r{len(self._additions)}", digest=b"digest")

    # To the end

    def _drain(self):
        """Let everything end as it can, and see that it does."""
        self._settle()
        for _ in range(MOVES_MAX):
            if not self.state.running:
                break
            self._do(self._next_to_the_end())
        left = {step.id: step.state for step in self.state.steps.values() if not step.ended}
        if self._checking(i.ENDS):
            i.require(i.ENDS, not self.state.running, f"it never ends: {left}")
            i.require(i.ENDS, not left and self.state.unfinished == 0, f"it ended and left {left}")
            i.require(i.ENDS, self.state.running_slots == 0, f"{self.state.running_slots} places are taken for ever")
            i.require(i.ENDS, not effects(self.state), "it ended and still asks for something")
            if not self.reference.canceling and not self.plan.timeout_ms:
                due = i.ending_that_is_due(self)
                i.require(i.ENDS, isinstance(self.events[-1], due), f"{self.events[-1]} ends it and not {due}")

    def _next_to_the_end(self):
        for step_id, effect in effects(self.state).items():
            if not isinstance(effect, Admit | Queue):
                return self._complete(step_id)(1)
            if isinstance(effect, Queue) or effect.not_before_us <= self.now_us:
                return self._begin(step_id)(2)
        if self.state.open:
            return lambda walk: iter([c.FinishWorkflow(walk.now_us)])
        if self._checking(i.ENDS):
            i.require(i.ENDS, bool(effects(self.state)), "nobody is asked for anything and it has not ended")
        return self._time_passes(1)


FIELDS = {field.message_type.name: field.name for field in e.Event.DESCRIPTOR.oneofs_by_name["payload"].fields}
