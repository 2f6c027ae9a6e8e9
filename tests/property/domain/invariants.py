"""What must hold after every event of every workflow. Each check looks at a walk and raises Broken."""

from collections import Counter

from podium.v1 import definition_pb2 as pb
from podium.v1 import events_pb2 as e
from service.domain import state as s
from service.domain.canonical import state_digest
from service.domain.effects import changed_effects, effects
from service.domain.rebuild import rebuild
from store.records import decode_record


class Broken(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant, message):
        super().__init__(f"{invariant}: {message}")
        self.invariant = invariant


def require(invariant, holds, message):
    if not holds:
        raise Broken(invariant, message)


class EffectsAddUp:
    """The changes of the effects, added up, are the effects from scratch."""

    name = "effects"

    def __init__(self):
        self._known = {}

    def look(self, walk, _event):
        self._known.update(changed_effects(walk.state))
        found = {step_id: effect for step_id, effect in self._known.items() if effect is not None}
        scratch = effects(walk.state)
        require(self.name, found == scratch, f"added up {found}, from scratch {scratch}")


class RecordsRebuild:
    """The serialised events, folded again, make the same state."""

    name = "rebuild"

    def look(self, walk, event):
        again = state_digest(walk.rebuilt())
        require(self.name, again == walk.digest(), f"differs after {type(event).__name__}")

    def look_at_the_end(self, walk):
        """And so does rebuilding it in one go."""
        require(self.name, state_digest(rebuild(walk.records, decode_record)) == walk.digest(), "differs at the end")


def _places(steps):
    """How many of the steps take a place among those that run."""
    return sum(step.state in (s.READY, s.QUEUED, s.RUNNING, s.BACKING_OFF) for step in steps)


class PlacesAreCounted:
    """No limit of parallel steps is passed, and every count is what counting gives."""

    name = "places"

    def look(self, walk, _event):
        state = walk.state
        steps = list(state.steps.values())
        held = len(state.held) + sum(len(step.items_held or ()) for step in steps)
        running = _places(steps) - held
        self._equal("running slots", state.running_slots, running)
        self._equal("slots", sum(step.holds_slot for step in steps), running)
        if state.max_parallel:
            require(self.name, running <= state.max_parallel, f"{running} run of {state.max_parallel}")
            idle = state.held and running < state.max_parallel
            require(self.name, not idle, "a step is held though there is a place")
        self._equal("unfinished", state.unfinished, sum(not step.ended for step in steps))
        for step in steps:
            if step.items:
                self._look_at_items(step)

    def _look_at_items(self, parent):
        running = _places(parent.items) - len(parent.items_held or ())
        self._equal(f"items of {parent.id}", parent.items_running, running)
        limit = parent.plan.definition.for_each.max_parallel
        require(self.name, not limit or running <= limit, f"{running} items of {parent.id} run, of {limit}")
        require(self.name, not parent.items_held or running == limit, f"an item of {parent.id} is held for nothing")
        if parent.state == s.EXPANDED:
            self._equal(f"waits of {parent.id}", parent.waiting, sum(not item.ended for item in parent.items))

    def _equal(self, what, found, counted):
        require(self.name, found == counted, f"{what}: {found}, counted {counted}")


class JoinsAreKept:
    """No step runs, is skipped or is evaluated but where the reference says so."""

    name = "joins"

    def look(self, walk, event):
        # What is decided together is decided on the same state; but nothing ends twice even then.
        objection = walk.decided_on.objection(event) or walk.reference.objection_to_a_second_end(event)
        require(self.name, objection is None, f"{type(event).__name__} of {getattr(event, 'step_id', '')}: {objection}")


class AttemptsAreFenced:
    """Fences only grow, attempts follow each other, and each succeeds at most once, with its own fence."""

    name = "fences"

    def __init__(self):
        self._fence = 0
        self._attempts = Counter()
        self._succeeded = set()

    def look(self, _walk, event):
        if isinstance(event, e.AttemptStarted):
            require(self.name, event.fence > self._fence, f"fence {event.fence} after {self._fence}")
            self._fence = event.fence
            self._attempts[event.step_id] += 1
            require(self.name, event.attempt == self._attempts[event.step_id], f"attempt {event.attempt}")
        elif isinstance(event, e.StepSucceeded):
            require(self.name, event.step_id not in self._succeeded, f"{event.step_id} succeeded twice")
            self._succeeded.add(event.step_id)
            known = event.attempt in (0, self._attempts[event.step_id])
            require(self.name, known, f"attempt {event.attempt} of {event.step_id} is not the last")


CHECKS = (EffectsAddUp, RecordsRebuild, PlacesAreCounted, JoinsAreKept, AttemptsAreFenced)
PURITY = "purity"
ENDS = "ends"
PROGRESS = "progress"


def look_at_progress(walk):
    """Once nothing follows any more, every step that may run has come up, and every other one may yet."""
    require(PROGRESS, not walk.state.to_settle, f"{list(walk.state.to_settle)} are not settled")
    if not walk.state.running or walk.state.canceling:
        return
    for step_id, definition in walk.reference.definitions.items():
        pending = walk.state.steps[step_id].state == s.PENDING
        if pending:
            require(PROGRESS, not walk.reference.may_run(definition), f"{step_id} should have come up")
            require(PROGRESS, walk.reference.may_still_run(definition), f"{step_id} should have been skipped")


def ending_that_is_due(walk):
    """The kind of event that has to end the workflow when all its steps have ended by themselves."""
    failures = [
        step_id
        for step_id, ending in walk.reference.endings.items()
        if "[" not in step_id
        and ending in ("failed", "denied")
        and walk.reference.definitions[step_id].on_failure != pb.ON_FAILURE_CONTINUE
    ]
    return e.WorkflowFailed if failures else e.WorkflowSucceeded
