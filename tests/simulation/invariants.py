"""What must be true of a simulated world, whatever happened in it. Each violation is one sentence."""

import hashlib
import json
from collections import Counter, defaultdict
from itertools import pairwise

from service.domain.canonical import state_digest
from service.domain.rebuild import rebuild
from store.records import decode_record, known_payload
from tests.simulation.service_life import TENANT

ENDINGS = {"workflow_succeeded", "workflow_failed", "workflow_canceled"}
STEP_ENDINGS = {"step_succeeded", "step_failed", "step_denied", "step_skipped", "step_canceled"}


class CommittedLog:
    """The log as it is now: what is durable and nothing else."""

    def __init__(self, database):
        self._database = database

    def records(self, workflow_id):
        return [event.record for event in self._database.streams.get((TENANT, workflow_id), ())]

    def events(self, workflow_id):
        return [decode_record(record) for record in self.records(workflow_id)]

    def of_kind(self, workflow_id, kind):
        return [known_payload(event) for event in self.events(workflow_id) if event.WhichOneof("payload") == kind]

    def everything(self):
        return [decode_record(event.record) for event in self._database.events]

    def workflows(self):
        names = [name for (_, name), events in self._database.streams.items() if events]
        return [name for name in names if not name.startswith("tool:")]

    def ended(self, workflow_id):
        events = self._database.streams.get((TENANT, workflow_id))
        return bool(events) and decode_record(events[-1].record).WhichOneof("payload") in ENDINGS

    def has_attempt(self, key):
        workflow_id, step_id, attempt, fence = key
        return any(
            (started.step_id, started.attempt, started.fence) == (step_id, attempt, fence)
            for started in self.of_kind(workflow_id, "attempt_started")
        )

    def open_workflows(self):
        return sorted(name for _, name in self._database.open)

    def chunks(self, workflow_id, step_id, attempt):
        return [chunk.data for chunk in self._database.attempts.get((TENANT, workflow_id, step_id, attempt), ())]


class WorldLedger:
    """What happened outside of the service, and what is wrong with it as soon as it happens."""

    def __init__(self, log):
        self._log = log
        self.violations = []
        self._accepted = set()
        self._answers = defaultdict(set)

    def started(self, key):
        """A tool starts: the attempt must be in the log by now."""
        if not self._log.has_attempt(key):
            self.violations.append(f"{key} ran before its AttemptStarted was in the log")

    def acknowledged(self, settled):
        if settled.accepted:
            named = settled.attempt
            self._accepted.add((named.workflow_id, named.step_id, named.attempt, named.fence))

    def answered(self, request, answer):
        """A client has an answer: what it speaks of must be durable by now."""
        workflow_id = getattr(answer, "workflow_id", "") or request.workflow_id
        if not self._log.records(workflow_id):
            self.violations.append(f"{type(request).__name__} was answered and {workflow_id} is not in the log")
        if hasattr(answer, "step_ids"):
            added = {step.id for each in self._log.of_kind(workflow_id, "steps_added") for step in each.steps}
            if not set(answer.step_ids) <= added:
                self.violations.append(f"steps of {workflow_id} were acknowledged and are not in the log")
        request_id = getattr(request, "request_id", "")
        if request_id:
            self._answers[type(request).__name__, workflow_id, request_id].add(tuple(getattr(answer, "step_ids", ())))

    def replayed(self, replay):
        durable = self._log.records(replay.workflow_id)
        if replay.stream_version > len(durable):
            self.violations.append(f"{replay.workflow_id} was read ahead of the log")
        expected = state_digest(rebuild(durable[: replay.stream_version], decode_record))
        if not replay.matches or replay.live_state_digest != expected:
            self.violations.append(f"the live state of {replay.workflow_id} is not what the log says")

    def watched(self, workflow_id, events):
        if events != self._log.events(workflow_id):
            self.violations.append(f"a watcher of {workflow_id} saw something else than the log")

    def at_the_end(self):
        """What can be said only when everything has ended."""
        for names, answers in self._answers.items():
            if len(answers) > 1:
                yield f"{names} was answered in {len(answers)} ways"
        for workflow_id in self._log.workflows():
            yield from _outcomes(self._log, workflow_id, self._accepted)
        yield from (f"{name} is still open" for name in self._log.open_workflows())


def _outcomes(log, workflow_id, accepted):
    started, failed, done, endings = {}, Counter(), Counter(), Counter()
    for event in log.events(workflow_id):
        kind, payload = event.WhichOneof("payload"), known_payload(event)
        if kind == "attempt_started":
            started[payload.step_id, payload.attempt] = payload.fence
        elif kind == "attempt_failed":
            failed[payload.step_id, payload.attempt] += 1
        elif kind == "step_succeeded" and payload.attempt:
            done[payload.step_id, payload.attempt] += 1
            yield from _success(log, workflow_id, payload, started.get((payload.step_id, payload.attempt)))
        if kind in STEP_ENDINGS:
            endings[payload.step_id] += 1
    for name, count in (failed + done).items():
        if count > 1:
            yield f"{workflow_id} {name} was completed {count} times"
    yield from (f"step {step} of {workflow_id} ended {count} times" for step, count in endings.items() if count > 1)
    for name, step_id, attempt, fence in accepted:
        if name == workflow_id and (started.get((step_id, attempt)) != fence or not (failed + done)[step_id, attempt]):
            yield f"an outcome of {name}/{step_id} attempt {attempt} was accepted and is not in the log"


def _success(log, workflow_id, payload, fence):
    """The output is that of the attempt it is recorded for, and its chunks are all there."""
    expected = [workflow_id, payload.step_id, payload.attempt, fence]
    if json.loads(payload.output.json)["by"] != expected:
        yield f"{payload.output.json} was recorded as the output of {expected}"
    chunks = log.chunks(workflow_id, payload.step_id, payload.attempt)
    digest = hashlib.sha256(b"".join(chunks)).digest() if chunks else b""
    if (len(chunks), digest) != (payload.chunk_count, payload.chunks_digest):
        yield f"the chunks of {expected} are not those of its success"


def epochs(commits):
    """No owner commits once another has."""
    for before, after in pairwise(commits):
        if after < before:
            yield f"a commit of epoch {after} came after one of epoch {before}"


def held_by_nobody(life):
    """Attempts whose executor is not connected, while nobody waits to get them back."""
    connected = life.places()
    for live in list(life.engine.attempts._live.values()):  # noqa: SLF001 - the simulation looks into the service
        if live.executor is not None and live.executor not in connected and not life.executors.opening:
            yield f"attempt {live.attempt} of {live.key} is held by nobody"


def places(life):
    """Nobody holds a place, and nobody waits for one, when there is no work."""
    for place in life.places():
        if place.taken or place.holding:
            yield f"places leak: {place.taken} are taken, for {sorted(place.holding)}"
    if len(life.engine.attempts):
        yield f"{len(life.engine.attempts)} attempts are tracked, and none runs"
    if waiting := life.engine.dispatcher._waiting:  # noqa: SLF001 - the simulation looks into the service
        yield f"steps wait for a place that do not exist any more: {waiting}"
