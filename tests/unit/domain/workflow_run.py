"""A workflow that runs without an engine: commands are decided and folded as the engine's turn does it.

A move is something that somebody does to the run. It yields commands, each made from the state at its time.
"""

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from podium.v1 import definition_pb2, events_pb2, value_pb2
from service.domain import commands as c
from service.domain.decide import Rules, decide
from service.domain.definition import normalise
from service.domain.evolve import evolve
from service.domain.state import US_PER_MS, Workflow
from service.domain.validation import Validation
from service.domain.values import ALLOWANCE, PayloadNotLoadedError, Ports, arguments_text
from service.engine.expressions import CelExpressions

START_US = 1_700_000_000_000_000
TIMEOUT_MS = 60_000
QUEUE_MS = 30_000
GRACE_MS = 10_000
ROUNDS_MAX = 20_000
AUTHORITY = value_pb2.Authority(principal=value_pb2.Principal(subject="ada"), roles=["analyst"])
EXPRESSIONS = CelExpressions()


class Tool(NamedTuple):
    definition: definition_pb2.ToolDefinition
    version: int


TOOLS = {
    "work": Tool(definition_pb2.ToolDefinition(name="work"), 3),
    "look": Tool(definition_pb2.ToolDefinition(name="look", read_only=True), 1),
    "put": Tool(definition_pb2.ToolDefinition(name="put", idempotent=True), 2),
}
"""`work` may do harm when it is repeated, `look` and `put` do not."""
VALIDATION = Validation(TOOLS.get, lambda _tool, _template: (), EXPRESSIONS)


class LoadedPayloads(dict[bytes, str]):
    """The payloads in memory: digest → text."""

    def text(self, reference):
        if reference.digest not in self:
            raise PayloadNotLoadedError(reference)
        return self[reference.digest]


class Run:
    """One workflow, the time, and all events so far."""

    def __init__(self, rules=None, fold=evolve):
        self.rules = rules or Rules()
        self.fold = fold
        self.state = Workflow()
        self.now_us = START_US
        self.events = []
        self.payloads = LoadedPayloads()
        self.ports = Ports(EXPRESSIONS, self.payloads)

    def apply(self, command):
        """Decide one command and fold what it causes."""
        self.ports.allowance.left = ALLOWANCE
        events = decide(self.state, command, self.ports, self.rules)
        for event in events:
            self.fold(self.state, event)
        self.events += events
        return events

    def perform(self, move):
        """Let somebody do something, and settle what follows until nothing does. Returns the new events."""
        first = len(self.events)
        for command in move(self):
            self.apply(command)
            self.settle()
        return self.events[first:]

    def settle(self):
        for _ in range(ROUNDS_MAX):
            if not self.apply(c.Advance(self.now_us)):
                return
        raise AssertionError("settling never ends")

    def step(self, step_id):
        return self.state.steps[step_id]

    def arguments(self, step_id):
        return json.loads(arguments_text(self.state, self.step(step_id), self.payloads))


Move = Callable[[Run], Iterator[c.Command]]


NOTHING = object()


def step(step_id, *depends_on, arguments=NOTHING, each=NOTHING, at_once=0, **fields):
    """A step as it is submitted. `each` is the list to run over, `at_once` how many items may run together."""
    definition = definition_pb2.StepDefinition(id=step_id, depends_on=depends_on, **{"tool": "work", **fields})
    if arguments is not NOTHING:
        definition.arguments_json = json.dumps(arguments)
    if each is not NOTHING:
        definition.for_each.items_json = json.dumps(each)
        definition.for_each.max_parallel = at_once
    return definition


def other(tool, *on, arguments=NOTHING, **fields):
    """The link of a chain that calls another tool."""
    link = definition_pb2.Fallback(on=on, tool=definition_pb2.ToolFallback(tool=tool, **fields))
    if arguments is not NOTHING:
        link.tool.arguments_json = json.dumps(arguments)
    return link


def old(*on, max_age_ms=0):
    """The link that takes an old result."""
    return definition_pb2.Fallback(on=on, stale=definition_pb2.StaleFallback(max_age_ms=max_age_ms))


def declared(content, *on):
    """The link that declares a value."""
    return definition_pb2.Fallback(on=on, value_json=json.dumps(content))


def value_of(content):
    """A Value: what is one already, or inline JSON."""
    return content if isinstance(content, value_pb2.Value) else value_pb2.Value(json=json.dumps(content))


def starts(*steps, value=None, shorthand=False, **fields) -> Move:
    """Somebody submits the steps, with `value` as the workflow's input."""

    def move(run):
        normal = normalise(steps, VALIDATION, shorthand=shorthand)
        given = None if value is None else value_of(value)
        yield c.StartWorkflow(run.now_us, "", given, normal, AUTHORITY, **{"cancel_grace_ms": GRACE_MS, **fields})

    return move


def adds(*steps, request_id="", digest=b"") -> Move:
    """Somebody adds the steps."""

    def move(run):
        normal = normalise(steps, VALIDATION, existing=run.state.steps, first_number=run.state.submitted + 1)
        yield c.AddSteps(run.now_us, normal, AUTHORITY, request_id, digest)

    return move


def finishes() -> Move:
    return lambda run: iter([c.FinishWorkflow(run.now_us)])


def cancels(reason="") -> Move:
    return lambda run: iter([c.CancelWorkflow(run.now_us, reason)])


def allowed(run, step_id):
    """The decision of a policy that lets everything through."""
    attempt = run.step(step_id).attempts + 1
    return events_pb2.PermissionChecked(step_id=step_id, attempt=attempt, decision=events_pb2.DECISION_ALLOW)


def begins(*step_ids, timeout_ms=TIMEOUT_MS) -> Move:
    """Executors take the steps. As in the engine, a step whose arguments cannot be made fails instead."""

    def move(run):
        for step_id in step_ids:
            try:
                run.arguments(step_id)
            except ValueError as error:
                failure = value_pb2.Failure(reason="REFERENCE_ERROR", message=str(error))
                yield c.FailStep(run.now_us, step_id, failure)
                continue
            yield c.StartAttempt(run.now_us, step_id, allowed(run, step_id), "worker", "session", timeout_ms)

    return move


def completes(step_id, output=None, **numbers) -> Move:
    """The executor of the running attempt reports its output. `numbers` replaces its attempt or its fence."""

    def move(run):
        held = {"attempt": run.step(step_id).attempts, "fence": run.step(step_id).fence, **numbers}
        yield c.CompleteAttempt(run.now_us, step_id, output=value_of(output), **held)

    return move


def fails(step_id, reason="TOOL_ERROR", *, retryable=False, after_ms=0, chance=0.5, **numbers) -> Move:
    """The executor of the running attempt reports a failure."""

    def move(run):
        held = {"attempt": run.step(step_id).attempts, "fence": run.step(step_id).fence, **numbers}
        failure = value_pb2.Failure(reason=reason, retryable=retryable, retry_after_ms=after_ms)
        yield c.FailAttempt(run.now_us, step_id, failure=failure, chance=chance, **held)

    return move


def looks_again() -> Move:
    """Nobody does anything: the engine's turn after a stored value was loaded."""
    return lambda run: iter([c.Advance(run.now_us)])


def both(*moves) -> Move:
    """One move after the other."""

    def move(run):
        for one in moves:
            yield from one(run)

    return move


def runs(step_id, output=None) -> Move:
    """An executor takes the step and reports its output."""
    return both(begins(step_id), completes(step_id, output))


def breaks(step_id, **failure) -> Move:
    """An executor takes the step and reports a failure."""
    return both(begins(step_id), fails(step_id, **failure))


def queues(step_id, wait_ms=QUEUE_MS) -> Move:
    """Admission let the step through and no executor has a place."""
    return lambda run: iter([c.QueueStep(run.now_us, step_id, "a free place", wait_ms)])


def denies(step_id, guard="permission", reason="PERMISSION_DENIED") -> Move:
    """Admission refuses the step."""

    def move(run):
        check = allowed(run, step_id)
        check.decision = events_pb2.DECISION_DENY
        yield c.DenyStep(run.now_us, step_id, guard, value_pb2.Failure(reason=reason), check)

    return move


def answers(step_id, output=None) -> Move:
    """Admission knows the output, for example from a cache."""

    def move(run):
        yield c.AnswerStep(run.now_us, step_id, allowed(run, step_id), value_of(output))

    return move


def rejects(step_id, reason="BREAKER_OPEN", *, after_ms=0, chance=0.5, retryable=True) -> Move:
    """Admission lets no attempt be made now."""

    def move(run):
        failure = value_pb2.Failure(reason=reason, retryable=retryable, retry_after_ms=after_ms)
        yield c.RejectAttempt(run.now_us, step_id, "breaker", failure, chance=chance)

    return move


def misses(step_id, reason="REFERENCE_ERROR") -> Move:
    """What an attempt needs is not there, so none can be made."""
    return lambda run: iter([c.FailStep(run.now_us, step_id, value_pb2.Failure(reason=reason))])


def waits(duration_ms, chance=0.5) -> Move:
    """Time passes, and the workflow looks at its timers."""

    def move(run):
        run.now_us += duration_ms * US_PER_MS
        yield c.TimePassed(run.now_us, chance)

    return move
