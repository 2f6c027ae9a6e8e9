"""Clients: they start workflows of any shape, add to them, cancel them, and follow them to their end."""

import asyncio

from podium.v1 import definition_pb2, replay_service_pb2, tool_service_pb2, workflow_service_pb2
from service.domain.errors import DomainError, IllegalState
from store.contract import StoreError
from tests.simulation.executors import TOOLS
from tests.simulation.service_life import ServiceGone
from tests.simulation.virtual_time import elapse

SUBJECT = "client"
ENDINGS = {"workflow_succeeded", "workflow_failed", "workflow_canceled"}


def random_steps(chance, count, known=()):
    """Steps of any shape, which may need those that are known or come before them."""
    names = list(known)
    steps = []
    for _ in range(count):
        name = f"s{len(names) + 1}"
        needs = chance.sample(names, min(len(names), chance.randint(0, 2)))
        step = definition_pb2.StepDefinition(
            id=name,
            tool=chance.choice(TOOLS).name,
            arguments_json='{"text": "x"}',
            depends_on=needs,
            on_failure=chance.choice([definition_pb2.ON_FAILURE_FAIL, definition_pb2.ON_FAILURE_CONTINUE]),
        )
        if needs:
            _join(chance, step, needs)
        if chance.happens(0.15):
            step.for_each.items_json = "[1, 2, 3]"
            step.for_each.max_parallel = chance.randint(0, 2)
        if chance.happens(0.5):
            step.retry.max_attempts = chance.randint(1, 5)
            step.retry.initial_backoff_ms = chance.randint(50, 2_000)
            step.retry.retry_on.append("*")
        if chance.happens(0.3):
            step.timeouts.start_to_close_ms = chance.randint(500, 6_000)
        if chance.happens(0.1):
            step.timeouts.schedule_to_start_ms = chance.randint(500, 6_000)
        if chance.happens(0.3):
            _fall_back(chance, step)
        steps.append(step)
        names.append(name)
    return steps


def _fall_back(chance, step):
    for _ in range(chance.randint(1, 3)):
        link = step.fallback.add(on=chance.choice([[], ["*"], ["TIMEOUT"], ["EXHAUSTED"]]))
        kind = chance.random()
        if kind < 0.6:
            link.tool.tool = chance.choice(TOOLS).name
            link.tool.retry.max_attempts = chance.randint(1, 3)
        elif kind < 0.8:
            link.stale.SetInParent()
        else:
            link.value_json = '{"n": "declared"}'


def _join(chance, step, needs):
    kind = chance.random()
    if kind < 0.4:
        step.arguments_json = f'{{"text": "${{steps.{needs[0]}.output.n}}"}}'
    elif kind < 0.6:
        step.join = definition_pb2.JOIN_DONE
    elif kind < 0.7:
        step.join = definition_pb2.JOIN_ANY
    elif kind < 0.8:
        step.join, step.join_count = definition_pb2.JOIN_N_OF, 1
    else:
        step.join = definition_pb2.JOIN_DONE
        step.condition = f'steps.{needs[0]}.state == "succeeded"'


class Clients:
    """All clients of a world."""

    def __init__(self, world):
        self._world = world
        self._chance = world.chance

    async def run(self, count, within_s):
        """So many clients, each at its own time; returns when all of them saw their end."""
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                kind = self._chance.choice([self._plain, self._plain, self._plain, self._grown, self._call])
                group.create_task(self._after(self._chance.uniform(0, within_s), kind, f"request-{number}"))

    async def _after(self, delay_s, kind, request_id):
        await elapse(delay_s)
        await kind(request_id)

    async def ask(self, service, method, request):
        """Ask until there is an answer, over any number of crashes and of answers that are lost on their way."""
        world = self._world
        recorded = service != "replays" and method != "CancelWorkflow"
        if recorded:
            world.history.begin(request.request_id)
        while True:
            life = await world.serving()
            try:
                answer = await life.call(getattr(getattr(life, service), method), request, SUBJECT)
            except ServiceGone:
                await elapse(self._chance.uniform(0.05, 0.5))
                continue
            except DomainError:
                world.history.end(request.request_id, "fail")
                raise
            world.ledger.answered(request, answer)
            if not (world.faulty and self._chance.happens(0.05)):
                break
        if recorded:
            world.history.end(request.request_id, "ok")
        return answer

    async def _plain(self, request_id):
        chance = self._chance
        request = workflow_service_pb2.StartWorkflowRequest(
            request_id=request_id,
            steps=random_steps(chance, chance.randint(1, 6)),
            max_parallel=chance.choice([0, 0, 1, 2]),
            timeout_ms=chance.choice([0, 0, 0, 30_000]),
        )
        started, again = await asyncio.gather(
            self.ask("workflows", "StartWorkflow", request), self.ask("workflows", "StartWorkflow", request)
        )
        assert started.workflow_id == again.workflow_id
        await self._follow(started.workflow_id)

    async def _grown(self, request_id):
        chance = self._chance
        request = workflow_service_pb2.StartWorkflowRequest(request_id=request_id, open=True)
        workflow_id = (await self.ask("workflows", "StartWorkflow", request)).workflow_id
        known = []
        try:
            for number in range(chance.randint(0, 3)):
                steps = random_steps(chance, chance.randint(1, 2), known)
                known += [step.id for step in steps]
                add = workflow_service_pb2.AddStepsRequest(
                    workflow_id=workflow_id, request_id=f"{request_id}-{number}", steps=steps
                )
                await self.ask("workflows", "AddSteps", add)
                # Long enough, at times, to be parked.
                await elapse(chance.choice([0, 0.5, 25]))
            finish = workflow_service_pb2.FinishWorkflowRequest(
                workflow_id=workflow_id, request_id=f"{request_id}-finish"
            )
            await self.ask("workflows", "FinishWorkflow", finish)
        except IllegalState:
            assert self._world.log.ended(workflow_id), "an open run takes steps"
        await self._follow(workflow_id)

    async def _call(self, request_id):
        call = tool_service_pb2.ToolCall(tool=self._chance.choice(TOOLS).name)
        request = tool_service_pb2.CallToolRequest(request_id=request_id, call=call)
        first, _ = await asyncio.gather(self.ask("tools", "CallTool", request), self.ask("tools", "CallTool", request))
        await self.watch(first.workflow_id)

    async def _follow(self, workflow_id):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.watch(workflow_id))
            if self._chance.happens(0.1):
                group.create_task(self._cancel(workflow_id))
            if self._chance.happens(0.3):
                group.create_task(self._inspect(workflow_id))

    async def _cancel(self, workflow_id):
        await elapse(self._chance.uniform(0, 10))
        request = workflow_service_pb2.CancelWorkflowRequest(workflow_id=workflow_id, request_id="cancel")
        await self.ask("workflows", "CancelWorkflow", request)

    async def _inspect(self, workflow_id):
        """Look at the live state at any moment: it is what the log says by then, never more."""
        for _ in range(5):
            await elapse(self._chance.uniform(0, 3))
            await self.replay(workflow_id)

    async def replay(self, workflow_id):
        replay = await self.ask("replays", "Replay", replay_service_pb2.ReplayRequest(workflow_id=workflow_id))
        self._world.ledger.replayed(replay)

    async def watch(self, workflow_id):
        """Follow a workflow to its end, over any number of streams."""
        seen = []
        cursor = ""
        while not (seen and seen[-1].WhichOneof("payload") in ENDINGS):
            life = await self._world.serving()
            request = workflow_service_pb2.WatchWorkflowRequest(workflow_id=workflow_id, cursor=cursor)

            async def read(life=life, request=request):
                nonlocal cursor
                async for response in life.workflows.WatchWorkflow(request, None):
                    seen.extend(item.event for item in response.items if item.HasField("event"))
                    cursor = response.cursor

            rpc = life.spawn(read(), SUBJECT)
            await asyncio.wait([rpc])
            if life.gone.is_set() or isinstance(rpc.exception(), DomainError | StoreError):
                await elapse(self._chance.uniform(0.05, 0.5))
            else:
                await rpc
        self._world.ledger.watched(workflow_id, seen)
