"""How much one turn computes, in virtual time: it is cut, and what is decided about each step stays the same."""

import json

import pytest

from podium.v1 import definition_pb2, tool_service_pb2, workflow_service_pb2
from service.admission.sanitizing import SanitizerGuard
from service.admission.schema import SchemaGuard
from service.engine.turn_taker import TURN_US, TurnTaker
from tests.simulation.stage import play, step
from tests.simulation.virtual_time import elapse

STEPS = 60
EACH_US = 12_000
"""What a guard takes for the arguments of one step, as if they were heavy."""
A_TURN = -(-TURN_US // EACH_US)
"""How many of them there are in a turn at most."""
HTML = {"type": "array", "items": {"type": "string", "x-podium-sanitize": {"html": {}}}}
PATH = {"type": "string", "x-podium-sanitize": {"path": {"roots": ["/srv"]}}}
CLEAN = definition_pb2.ToolDefinition(
    name="clean",
    input_schema_json=json.dumps(
        {"type": "object", "properties": {"pages": HTML, "path": PATH, "count": {"maximum": 40}}}
    ),
)
VALUES = [{"pages": ["a"], "path": f"/{'etc' if number % 3 else 'srv'}/a", "count": number} for number in range(STEPS)]
OTHER = "other"
"""The one step of the workflow beside it."""
DECISIONS = {"step_queued", "input_rejected", "step_denied", "permission_checked"}
HOLES = [
    step(
        f"s{number}",
        "clean",
        arguments_json=json.dumps(f"${{input[{number}]}}"),
        on_failure=definition_pb2.ON_FAILURE_CONTINUE,
    )
    for number in range(STEPS)
]
ITEMS = step("all", "clean", arguments_json='"${item}"', on_failure=definition_pb2.ON_FAILURE_CONTINUE)
ITEMS.for_each.items_json = '"${input}"'


class Counted:
    """Counts what a guard is asked in each turn, as if each answer took a while."""

    def __init__(self, monkeypatch, guard, each_us):
        self.turns = []
        self._clock = None
        check, take = guard.check, TurnTaker.take

        def counted(this, request, now_us):
            self.turns[-1].append(request.step_id)
            self._clock.work_us += each_us
            return check(this, request, now_us)

        def taken(this, resident, now_us):
            self.turns.append([])
            return take(this, resident, now_us)

        monkeypatch.setattr(guard, "check", counted)
        monkeypatch.setattr(TurnTaker, "take", taken)

    @property
    def sizes(self):
        return [len(asked) for asked in self.turns if asked]

    @property
    def asked(self):
        """The steps about which the guard was asked, without the other workflow's."""
        return [step_id for asked in self.turns for step_id in asked if step_id != OTHER]

    def decided(self, *steps):
        """What the log says of a workflow's steps, in its order; a second one has its turns at the same time."""

        async def scene(stage):
            self._clock = stage.clock
            await stage.ask("tools", "RegisterTool", tool_service_pb2.RegisterToolRequest(definition=CLEAN))
            request = workflow_service_pb2.StartWorkflowRequest(steps=steps, input_json=json.dumps(VALUES))
            heavy = (await stage.ask("workflows", "StartWorkflow", request)).workflow_id
            light = await stage.start(step(OTHER))
            await elapse(10)
            assert stage.log.of_kind(light, "step_queued")
            events = [(event.WhichOneof("payload"), event) for event in stage.log.events(heavy)]
            return [(kind, getattr(event, kind).step_id) for kind, event in events if kind in DECISIONS]

        return play(scene)


@pytest.mark.parametrize("guard", [SchemaGuard, SanitizerGuard])
@pytest.mark.parametrize("steps", [HOLES, [ITEMS]], ids=["steps", "for_each"])
def test_a_turn_ends_when_guards_took_long_and_the_next_one_decides_the_rest_as_this_one_would(
    monkeypatch, guard, steps
):
    with monkeypatch.context() as patched:
        heavy = Counted(patched, guard, EACH_US)
        in_pieces = heavy.decided(*steps)
    assert max(heavy.sizes) <= A_TURN
    with monkeypatch.context() as patched:
        light = Counted(patched, guard, 0)
        at_once = light.decided(*steps)
    assert max(light.sizes) >= STEPS // 2, "as long as they take nothing they are in one turn"
    assert in_pieces == at_once
    assert heavy.asked == light.asked
    assert [OTHER] in heavy.turns[:-1], "the other workflow had its turn in between"
    kinds = {kind for kind, _ in in_pieces}
    assert kinds == DECISIONS
    assert len({step_id for kind, step_id in in_pieces if kind != "permission_checked"}) == STEPS


def test_a_turn_decides_something_however_slow_a_guard_is(monkeypatch):
    slow = Counted(monkeypatch, SchemaGuard, 10 * TURN_US)
    assert len({step_id for _, step_id in slow.decided(*HOLES)}) == STEPS
    assert max(slow.sizes) == 1
