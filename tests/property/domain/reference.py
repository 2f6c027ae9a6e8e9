"""When steps may run, worked out by another way: from the definitions and the events alone, without any counting."""

import json

from podium.v1 import definition_pb2 as pb
from podium.v1 import events_pb2 as e
from tests.property.domain.plans import CONDITIONS

ENDINGS = {
    e.StepSucceeded: "succeeded",
    e.StepFailed: "failed",
    e.StepDenied: "denied",
    e.StepSkipped: "skipped",
    e.StepCanceled: "canceled",
}
BEGINNINGS = (
    *(e.ConditionMet, e.ForEachExpanded, e.StepQueued, e.AttemptStarted, e.PermissionChecked, e.InputRejected),
    *(e.AttemptRejected, e.FallbackTried, e.CacheHit),
)


def whole(step_id):
    """The step to which an item belongs, or the step itself."""
    return step_id.partition("[")[0]


def _is_of_step(event):
    return isinstance(event, (*BEGINNINGS, *ENDINGS))


def is_met(join, count, endings):
    """Whether a join is met when its dependencies ended like this; None: not yet."""
    good = [ending for ending in endings if ending == "succeeded"]
    match join:
        case pb.JOIN_ANY:
            return bool(good) or not endings
        case pb.JOIN_N_OF:
            return len(good) >= count
        case pb.JOIN_DONE:
            return None not in endings
        case _:
            return len(good) == len(endings)


class Reference:
    """What the events so far say."""

    def __init__(self, go):
        self.go = go
        self.definitions = {}
        self.endings = {}
        self.outputs = {}
        self.expanded = {}
        self.canceling = False

    def endings_of(self, definition, unknown=None):
        return [self.endings.get(name, unknown) for name in definition.depends_on]

    def may_run(self, definition):
        return is_met(definition.join, definition.join_count, self.endings_of(definition))

    def may_still_run(self, definition):
        """Whether it could, if everything that has not ended succeeded."""
        return is_met(definition.join, definition.join_count, self.endings_of(definition, "succeeded"))

    def condition_gives(self, definition):
        if not definition.condition:
            return True
        for text, meaning in CONDITIONS.items():
            for name in definition.depends_on or [""]:
                if text.format(name) == definition.condition:
                    return meaning(self.go, self.outputs.get(name), self.endings.get(name))
        raise LookupError(definition.condition)

    def frozen(self):
        """As it is now: what was decided together was decided on this."""
        other = Reference(self.go)
        other.definitions, other.endings = dict(self.definitions), dict(self.endings)
        other.outputs, other.expanded, other.canceling = dict(self.outputs), dict(self.expanded), self.canceling
        return other

    def note(self, event):
        """Take in an event."""
        kind = type(event)
        if kind is e.StepsAdded:
            self.definitions.update((definition.id, definition) for definition in event.steps)
        elif kind is e.ForEachExpanded:
            self.expanded[event.step_id] = event.count
        elif kind is e.WorkflowCancelRequested:
            self.canceling = True
        elif kind in ENDINGS:
            self.endings[event.step_id] = ENDINGS[kind]
            if kind is e.StepSucceeded:
                self.outputs[event.step_id] = self._output(event)

    def _output(self, event):
        if event.output.WhichOneof("kind") != "collected":
            return json.loads(event.output.json or "null")
        return [self.outputs.get(f"{event.step_id}[{index}]") for index in range(event.output.collected.count)]

    def objection_to_a_second_end(self, event):
        ended = _is_of_step(event) and event.step_id in self.endings
        return "the step has ended" if ended else None

    def objection(self, event):
        """Why the event should not have been decided on this, or None."""
        kind = type(event)
        if not _is_of_step(event):
            return None
        definition = self.definitions[whole(event.step_id)]
        if self.canceling:
            return "nothing begins after a cancel" if kind in BEGINNINGS else None
        if kind is e.StepSkipped:
            return self._objection_to_skip(definition, event)
        if not self.may_run(definition):
            return "its join is not met"
        return self._objection_to_running(definition, event)

    def _objection_to_skip(self, definition, event):
        if event.reason == e.SKIP_REASON_JOIN:
            return "its join may still be met" if self.may_still_run(definition) else None
        if not self.may_run(definition):
            return "its join is not met"
        return None if self.condition_gives(definition) is False else "its condition is not false"

    def _objection_to_running(self, definition, event):
        gives = self.condition_gives(definition)
        if type(event) is e.StepFailed and event.failure.reason == "CONDITION_ERROR":
            return None if gives is None else "its condition can be evaluated"
        if type(event) is e.ConditionMet:
            return None if gives is True else "its condition is not true"
        if not definition.HasField("for_each"):
            return None
        if "[" in event.step_id:
            count = self.expanded.get(whole(event.step_id), 0)
            known = event.step_id in {f"{definition.id}[{index}]" for index in range(count)}
            return None if known else "there is no such item"
        whole_events = (e.ForEachExpanded, e.StepSucceeded, e.StepFailed, e.StepCanceled)
        return None if isinstance(event, whole_events) else "a for_each step does not run itself"
