"""The guard of bulkheads: so many attempts of a tool run at once, so many steps wait beside them, and no more.

Invariant: an attempt holds a permit of its tool from the turn in which it starts until the turn in which it ends,
however it ends, and none starts while as many permits are out as the policy of the moment has. Running attempts are
known whether or not there is a bulkhead, so that one which comes with a new policy counts them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from podium.v1 import policy_pb2, value_pb2
from service.admission.bulkhead_line import LOOK_AGAIN_US, BulkheadLine, Step, ToolKey
from service.admission.guards import AttemptEnd
from service.admission.tool_request import ToolRequest
from service.admission.verdicts import ALLOWED, Allowed, Rejected, Wait
from service.domain.permissions import Policy
from service.domain.priorities import rank_of
from service.domain.tool_globs import fits

OVERLOADED = "OVERLOADED"
RETRY_AFTER_MS = 1_000
"""How long who found the queue full is asked to stay away; a fifth more or less by chance."""


class Compartment(NamedTuple):
    """What the bulkheads of a policy leave a tool: of all that fit it, the narrowest."""

    name: str
    """The bulkhead that bounds what runs."""
    max_concurrent: int
    max_queued: int
    """0: no bound."""


class _Bulkheads:
    """The bulkheads of a tenant, and what runs and waits behind them, by tool."""

    def __init__(self, policy: Policy) -> None:
        self.running: Counter[str] = Counter()
        self.queued: Counter[str] = Counter()
        self.follow(policy)

    def follow(self, policy: Policy) -> None:
        """Take another policy. What runs and waits stays counted."""
        self.policy = policy
        self._of_tools = [each for each in policy.bulkheads if not each.executors]
        self._known: dict[str, Compartment | None] = {}

    def of(self, tool: str) -> Compartment | None:
        """What a tool is left; None: it has no bulkhead."""
        try:
            return self._known[tool]
        except KeyError:
            # Remembered for as many tools as the tenant has.
            fitting = [each for each in self._of_tools if fits(tool, each.tools)]
            found = self._known[tool] = _narrowest(fitting)
            return found


class BulkheadGuard:
    """Lets an attempt wait while as many of its tool run as may, and rejects it when too many wait already.

    `policy_of` gives a tenant's current policy, `chance` a random number in [0, 1).
    """

    name = "bulkhead"

    def __init__(self, policy_of: Callable[[str], Policy], chance: Callable[[], float]) -> None:
        self._policy_of = policy_of
        self._chance = chance
        self._bulkheads: dict[str, _Bulkheads] = {}
        """Of the tenants whose policy has, or had, any."""
        self._running: dict[Step, str] = {}
        """Of every step that runs: its tool."""
        self._queued: dict[Step, tuple[str, int]] = {}
        """Of every step that waits, here or for anything else: its tool and its ticket."""
        self._last_ticket = 0
        self._lines: dict[ToolKey, BulkheadLine] = {}

    def check(self, request: ToolRequest, now_us: int) -> Allowed | Rejected | Wait:
        """Decide from memory; see service.admission.pipeline.Guard."""
        tenant = request.tenant
        policy = self._policy_of(tenant)
        if not policy.bulkheads:
            return ALLOWED
        bulkheads = self._of(tenant, policy)
        tool = request.tool.name
        compartment = bulkheads.of(tool)
        if compartment is None:
            return ALLOWED
        step = (tenant, request.workflow_id, request.step_id)
        has_waited = step in self._queued
        if not has_waited and 0 < compartment.max_queued <= bulkheads.queued[tool]:
            return self._rejected(compartment)
        free = compartment.max_concurrent - bulkheads.running[tool]
        line = self._lines.get((tenant, tool))
        if free > 0 if line is None else line.may_start(step, free, now_us, has_waited=has_waited):
            return ALLOWED
        rank = rank_of(request.priority)
        # Whoever waits is woken when a permit comes back; the time is for what nobody tells.
        return Wait(
            now_us + LOOK_AGAIN_US, f"the bulkhead {compartment.name}", join=lambda: self._join(step, tool, rank)
        )

    def started(self, request: ToolRequest, now_us: int) -> None:
        """An attempt that was allowed starts; see service.admission.pipeline.Counting."""
        del now_us
        step = (request.tenant, request.workflow_id, request.step_id)
        if self._queued or self._bulkheads:
            self._run(step, request.tool.name)
        else:
            self._running[step] = request.tool.name

    def resumed(self, step: Step, attempt: int, tool: str) -> None:
        """An attempt runs that this process has not started; see service.admission.pipeline.Following."""
        del attempt
        self._run(step, tool)

    def queued(self, step: Step, tool: str) -> None:
        """A step waits; see service.admission.pipeline.Queueing."""
        if step not in self._queued:
            self._last_ticket += 1
            self._queued[step] = (tool, self._last_ticket)
            if (bulkheads := self._bulkheads.get(step[0])) is not None:
                bulkheads.queued[tool] += 1

    def ended(self, end: AttemptEnd) -> None:
        """An attempt ended, or a step waits no more; see service.admission.pipeline.Following."""
        step = end.step
        if self._queued:
            self._wait_no_more(step)
        tool = self._running.pop(step, None)
        if tool is None or not self._bulkheads:
            return
        if (bulkheads := self._bulkheads.get(step[0])) is not None:
            bulkheads.running[tool] -= 1
            self._stir(step[0], tool)

    def counts(self, tenant: str, tool: str) -> tuple[int, int]:
        """How many attempts of a tool run, and how many steps of it wait."""
        running = sum(step[0] == tenant and each == tool for step, each in self._running.items())
        return running, sum(step[0] == tenant and each == tool for step, (each, _) in self._queued.items())

    def policy_changed(self, tenant: str) -> None:
        """By another policy the lines of a tenant may move."""
        for line in [line for key, line in self._lines.items() if key[0] == tenant]:
            line.stir()

    def free(self, key: ToolKey) -> int | None:
        """How many permits of a tool are not out; None: there is no bound any more."""
        tenant, tool = key
        bulkheads = self._of(tenant, self._policy_of(tenant))
        compartment = bulkheads.of(tool)
        return None if compartment is None else compartment.max_concurrent - bulkheads.running[tool]

    def forget(self, line: BulkheadLine) -> None:
        """Nobody stands in a line any more."""
        if self._lines.get(line.key) is line:
            del self._lines[line.key]

    def _of(self, tenant: str, policy: Policy) -> _Bulkheads:
        bulkheads = self._bulkheads.get(tenant)
        if bulkheads is None:
            bulkheads = self._bulkheads[tenant] = _Bulkheads(policy)
            bulkheads.running.update(tool for step, tool in self._running.items() if step[0] == tenant)
            bulkheads.queued.update(tool for step, (tool, _) in self._queued.items() if step[0] == tenant)
        if bulkheads.policy is not policy:
            bulkheads.follow(policy)
        return bulkheads

    def _run(self, step: Step, tool: str) -> None:
        if self._queued:
            self._wait_no_more(step)
        if step not in self._running:
            self._running[step] = tool
            if (bulkheads := self._bulkheads.get(step[0])) is not None:
                bulkheads.running[tool] += 1
                line = self._lines.get((step[0], tool))
                if line is not None:
                    # It runs now: what was put by for it is counted so.
                    line.leave(step)

    def _wait_no_more(self, step: Step) -> None:
        found = self._queued.pop(step, None)
        if found is not None and (bulkheads := self._bulkheads.get(step[0])) is not None:
            bulkheads.queued[found[0]] -= 1

    def _join(self, step: Step, tool: str, rank: int) -> BulkheadLine:
        key = (step[0], tool)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = BulkheadLine(key, self)
        ticket = self._queued[step][1] if step in self._queued else self._last_ticket
        line.join(step, rank, ticket)
        return line

    def _stir(self, tenant: str, tool: str) -> None:
        line = self._lines.get((tenant, tool)) if self._lines else None
        if line is not None:
            line.stir()

    def _rejected(self, compartment: Compartment) -> Rejected:
        chance = self._chance()
        message = f"the bulkhead {compartment.name} is full: {compartment.max_queued} steps wait already"
        failure = value_pb2.Failure(
            reason=OVERLOADED,
            message=message,
            retryable=True,
            retry_after_ms=int(RETRY_AFTER_MS * (0.8 + 0.4 * chance)),
        )
        return Rejected(self.name, failure, chance)


def _narrowest(fitting: Sequence[policy_pb2.Bulkhead]) -> Compartment | None:
    if not fitting:
        return None
    narrowest = min(fitting, key=lambda each: each.max_concurrent)
    queued = min((each.max_queued for each in fitting if each.max_queued), default=0)
    return Compartment(narrowest.id, narrowest.max_concurrent, queued)
