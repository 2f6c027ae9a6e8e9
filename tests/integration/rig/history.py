"""Reads a history: what was recorded, in order, and what follows from the record alone."""

from itertools import pairwise

ENDINGS = ("step_succeeded", "step_failed", "step_denied", "step_skipped", "step_canceled")


def kind(event):
    """The type of an event, as events.proto names it."""
    return event.WhichOneof("payload")


def kinds(events):
    """The types of events, in order."""
    return [kind(event) for event in events]


def payloads(events, name):
    """The payloads of one type, in order."""
    return [getattr(event, name) for event in events if event.HasField(name)]


def payload(events, name):
    """The one payload of this type."""
    [found] = payloads(events, name)
    return found


def of_step(events, step_id):
    """The types of what was recorded about one step, in order."""
    return [
        kind(event)
        for event in events
        if not kind(event).startswith("workflow") and getattr(getattr(event, kind(event)), "step_id", None) == step_id
    ]


def place(event):
    """An event as people name it."""
    return f"{event.shard}:{event.position}"


def concurrency(events, prefix=""):
    """How many attempts of the steps that begin with `prefix` ran at once, after each event of theirs."""
    running, counts = set(), []
    for event in events:
        name = kind(event)
        step_id = getattr(getattr(event, name), "step_id", "")
        if not step_id.startswith(prefix):
            continue
        if name == "attempt_started":
            assert step_id not in running, f"{step_id} was started while it ran"
            running.add(step_id)
        elif name in ("attempt_failed", *ENDINGS):
            running.discard(step_id)
        counts.append(len(running))
    return counts


def check_versions(events):
    """Versions are without gaps from 1, positions and times never go back."""
    assert [event.stream_version for event in events] == list(range(1, len(events) + 1))
    for before, after in pairwise(events):
        assert before.position < after.position
        assert before.recorded_at_us <= after.recorded_at_us


def check_allowed_before_started(events):
    """No attempt started that was not allowed for that very attempt by the event right before it."""
    for before, event in zip([None, *events], events, strict=False):
        if not event.HasField("attempt_started"):
            continue
        started, checked = event.attempt_started, before.permission_checked
        assert (checked.step_id, checked.attempt) == (started.step_id, started.attempt)
        assert checked.decision == 1
        assert checked.policy
        assert checked.rule
        assert checked.principal.subject
        assert len(checked.arguments_digest) == 32
