"""What must hold after every event of every workflow. Each check looks at a walk and raises Broken."""

from collections import Counter

from podium.v1 import definition_pb2 as pb
from podium.v1 import events_pb2 as e
from service.domain import state as s
from service.domain.canonical import state_digest
from service.domain.effects import changed_effects, effects
from service.domain.rebuild import rebuild
from store.records import decode_record
from tests.property.domain.reference import whole


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
        elif isinstance(event, e.AttemptRejected):
            self._attempts[event.step_id] += 1
            require(self.name, event.attempt == self._attempts[event.step_id], f"rejected attempt {event.attempt}")
        elif isinstance(event, e.StepSucceeded):
            require(self.name, event.step_id not in self._succeeded, f"{event.step_id} succeeded twice")
            self._succeeded.add(event.step_id)
            known = event.attempt in (0, self._attempts[event.step_id])
            require(self.name, known, f"attempt {event.attempt} of {event.step_id} is not the last")


class LinksAreInOrder:
    """The links of a chain are tried in their order, none twice, each on a failure that it names and that ends the step
    otherwise or is that of a rejected attempt, which is repeated only where no link names it; and an output says from
    which of them it is."""

    name = "links"

    def __init__(self):
        self._link = Counter()
        self._tries = Counter()
        self._declared = None

    def look(self, walk, event):
        if self._declared is not None:
            expected, self._declared = self._declared, None
            require(self.name, event == expected, f"{event} follows in the place of {expected}")
        if isinstance(event, e.AttemptStarted | e.AttemptRejected):
            self._look_at_an_attempt(walk, event)
            self._look_at_a_repetition(walk, event)
        elif isinstance(event, e.FallbackTried):
            self._look_at_a_try(walk, event)
        elif isinstance(event, e.StepFailed | e.StepDenied):
            self._look_at_an_end(walk, event)
        elif isinstance(event, e.StepSucceeded):
            link = self._link[event.step_id]
            require(self.name, event.degraded_by == link, f"{event.step_id} names {event.degraded_by} and not {link}")

    def _chain(self, walk, step_id):
        return walk.reference.definitions[whole(step_id)].fallback

    def _look_at_an_attempt(self, walk, event):
        definition = walk.reference.definitions[whole(event.step_id)]
        link = self._link[event.step_id]
        policy = definition.retry
        if link:
            other = definition.fallback[link - 1]
            require(self.name, other.HasField("tool"), f"{event.step_id} runs at link {link}, which has no tool")
            policy = other.tool.retry if other.tool.HasField("retry") else policy
        self._tries[event.step_id] += 1
        allowed = policy.max_attempts or 3
        require(self.name, self._tries[event.step_id] <= allowed, f"{event.step_id} has more attempts than {allowed}")

    def _look_at_a_repetition(self, walk, event):
        if isinstance(event, e.AttemptRejected) and event.retry_at_us and not walk.state.canceling:
            left = self._chain(walk, event.step_id)[self._link[event.step_id] :]
            named = [link for link in left if is_named(link, event)]
            require(self.name, not named, f"{event.step_id} waits for its tool, and {named} are for {event.failure}")

    def _look_at_a_try(self, walk, event):
        chain, before = self._chain(walk, event.step_id), self._link[event.step_id]
        require(self.name, before < event.link <= len(chain), f"link {event.link} of {event.step_id} after {before}")
        link = chain[event.link - 1]
        require(self.name, is_named(link, event) is not False, f"link {event.link} does not name {event.failure}")
        passed = [number for number in range(before, event.link - 1) if is_named(chain[number], event)]
        require(self.name, not passed, f"{passed} were passed over by {event}")
        require(self.name, event.tool == link.tool.tool, f"link {event.link} calls {event.tool}")
        self._link[event.step_id] = event.link
        self._tries[event.step_id] = 0
        if link.HasField("value"):
            self._declared = e.StepSucceeded(step_id=event.step_id, output=link.value, degraded_by=event.link)

    def _look_at_an_end(self, walk, event):
        definition = walk.reference.definitions[whole(event.step_id)]
        is_list = definition.HasField("for_each") and "[" not in event.step_id
        if is_list or event.failure.reason in ("CONDITION_ERROR", "WORKFLOW_TIMEOUT"):
            # Nothing was called yet, or items were, each with a chain of its own; or there is no more time.
            return
        left = definition.fallback[self._link[event.step_id] :]
        named = [link for link in left if is_named(link, event)]
        require(self.name, not named, f"{event.step_id} has ended, and {named} were left")


def is_named(link, event):
    """Whether a link names the failure of an event; None: it does if the failure was repeated as often as allowed."""
    refused = isinstance(event, e.StepDenied) or bool(event.guard if isinstance(event, e.FallbackTried) else "")
    if not link.on:
        return not refused
    if "*" in link.on or event.failure.reason in link.on or (refused and "DENIED" in link.on):
        return True
    return None if "EXHAUSTED" in link.on and not refused else False


CHECKS = (EffectsAddUp, RecordsRebuild, PlacesAreCounted, JoinsAreKept, AttemptsAreFenced, LinksAreInOrder)
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
