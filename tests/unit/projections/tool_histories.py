"""Histories of workflows in which tools succeed, fail, wait, are denied, rejected, cached and replaced, by a seed."""

from random import Random

from podium.v1 import events_pb2 as e
from podium.v1.definition_pb2 import ForEach, StepDefinition
from podium.v1.value_pb2 import Failure
from tests.unit.projections.memory_log import MemoryLog

TENANTS = ("acme", "zenith")
TOOLS = ("search", "fetch", "refund")
REASONS = ("TIMEOUT", "UPSTREAM", "")
OPEN = Failure(reason="BREAKER_OPEN")


def history(seed, workflows=12, **log):
    """A log of so many workflows that run at the same time."""
    chance = Random(seed)
    made = MemoryLog(**log)
    running = [_workflow(chance, chance.choice(TENANTS), f"wf_{number}") for number in range(workflows)]
    running.append(_breaker(chance))
    while running:
        each = chance.choice(running)
        try:
            tenant, stream_id, payload = next(each)
        except StopIteration:
            running.remove(each)
        else:
            made.record(tenant, stream_id, payload)
    return made


def _breaker(chance):
    states = [*e.BreakerState.values()][1:]
    state = e.BREAKER_STATE_CLOSED
    for _ in range(chance.randint(0, 6)):
        before, state = state, chance.choice(states)
        turned = e.BreakerTransitioned(tool=chance.choice(TOOLS), from_state=before, to_state=state)
        yield chance.choice(TENANTS), f"breaker/{turned.tool}", turned


def _workflow(chance, tenant, stream_id):
    steps = [StepDefinition(id=f"step_{number}", tool=chance.choice(TOOLS)) for number in range(chance.randint(1, 4))]
    spread = StepDefinition(id="each", tool=chance.choice(TOOLS), for_each=ForEach())
    later = StepDefinition(id="later", tool=chance.choice(TOOLS))
    yield tenant, stream_id, e.WorkflowStarted()
    yield tenant, stream_id, e.StepsAdded(steps=[*steps, spread])
    running = [_step(chance, step.id, step.tool) for step in steps]
    items = chance.randint(0, 2)
    yield tenant, stream_id, e.ForEachExpanded(step_id="each", count=items)
    running += [_step(chance, f"each[{number}]", spread.tool) for number in range(items)]
    yield tenant, stream_id, e.StepsAdded(steps=[later])
    running.append(_step(chance, "later", later.tool))
    left_at = chance.choice([0, 0, 0, chance.randint(1, 12)])
    while running:
        each = chance.choice(running)
        payload = next(each, None)
        if payload is None:
            running.remove(each)
            continue
        yield tenant, stream_id, payload
        left_at -= 1
        if not left_at:
            yield tenant, stream_id, e.WorkflowFailed()
            return
    yield tenant, stream_id, chance.choice([e.StepSucceeded(step_id="each"), e.StepFailed(step_id="each")])
    if chance.random() < 0.8:
        yield tenant, stream_id, chance.choice([e.WorkflowSucceeded(), e.WorkflowFailed(), e.WorkflowCanceled()])


def _step(chance, step_id, tool):
    """What happens to a step: some attempts, each of which may wait first, and an end."""
    number, link = 0, 0
    while True:
        number += 1
        yield from _wait(chance, step_id)
        yield e.PermissionChecked(step_id=step_id, attempt=number, tool=tool, decision=e.DECISION_ALLOW)
        what = chance.choice(["rejected", "cached", "denied", "canceled", *["started"] * 6])
        if what == "cached":
            yield e.CacheHit(step_id=step_id, tool=tool)
            yield e.StepSucceeded(step_id=step_id, degraded_by=link)
            return
        if what in ("denied", "canceled"):
            yield e.StepDenied(step_id=step_id) if what == "denied" else e.StepCanceled(step_id=step_id)
            return
        failure, guard = OPEN, chance.choice(["breaker", "bulkhead"])
        if what == "rejected":
            yield e.AttemptRejected(step_id=step_id, attempt=number, guard=guard, failure=failure)
        else:
            yield e.AttemptStarted(step_id=step_id, attempt=number)
            if chance.random() < 0.5:
                yield e.StepSucceeded(step_id=step_id, attempt=number, degraded_by=link)
                return
            if chance.random() < 0.2:
                yield e.AttemptAbandoned(step_id=step_id, attempt=number)
            failure = Failure(reason=chance.choice(REASONS))
            yield e.AttemptFailed(step_id=step_id, attempt=number, failure=failure)
        after = chance.choice(["retry", "retry", "fail", "other", "stale", "value"])
        if after == "fail":
            yield e.StepFailed(step_id=step_id, failure=failure)
            return
        if after == "retry":
            continue
        link += 1
        guard = chance.choice(["", "", "permission"])
        other = chance.choice(TOOLS) if after == "other" else ""
        yield e.FallbackTried(step_id=step_id, link=link, failure=failure, guard=guard, tool=other)
        if after == "other":
            tool = other
            continue
        if after == "stale":
            yield e.CacheHit(step_id=step_id, tool=tool, stale=True)
        yield e.StepSucceeded(step_id=step_id, degraded_by=link)
        return


def _wait(chance, step_id):
    if chance.random() < 0.3:
        yield e.RateLimited(step_id=step_id, limit="some")
    if chance.random() < 0.4:
        yield e.StepQueued(step_id=step_id, waits_for="a free place")
