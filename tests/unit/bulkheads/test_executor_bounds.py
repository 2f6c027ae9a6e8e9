"""Bounds on the executors of a name: who has any, and what a place that becomes free costs where there is none."""

from types import SimpleNamespace

import pytest

from podium.v1 import policy_pb2
from service.domain.permissions import Policy
from service.engine.dispatch import Dispatcher, Executor
from service.engine.executor_bounds import ExecutorBounds
from service.engine.keys import StepKey, ToolVersion

OF_TOOLS = policy_pb2.Bulkhead(id="tools", tools=["quote"], max_concurrent=1)
OF_EXECUTORS = policy_pb2.Bulkhead(id="executors", executors=["py-*"], max_concurrent=100)


def bounds_of(*bulkheads):
    policy = Policy(name="p", revision=1, roles={}, bulkheads=bulkheads)
    return ExecutorBounds(lambda _tenant: policy)


def test_a_policy_whose_bulkheads_are_all_of_tools_bounds_no_executors():
    assert bounds_of()("acme") is None
    assert bounds_of(OF_TOOLS)("acme") is None
    bound_of = bounds_of(OF_TOOLS, OF_EXECUTORS)("acme")
    assert (bound_of("py-1"), bound_of("go-1")) == (100, None)


@pytest.mark.parametrize(
    ("name", "bulkheads", "looked_at"),
    [("py", [], 1), ("py", [OF_TOOLS], 1), ("go-1", [OF_TOOLS, OF_EXECUTORS], 1), ("py-1", [OF_EXECUTORS], 9)],
)
def test_a_free_place_is_offered_again_for_all_of_a_name_only_where_they_are_bounded_together(
    name, bulkheads, looked_at
):
    asked = []
    dispatcher = Dispatcher(lambda *_: None, lambda *of: asked.append(of), bounds_of(*bulkheads))
    executors = [Executor(SimpleNamespace(executor=name), "acme", {"quote": 1}, 2) for _ in range(8)]
    for executor in executors:
        dispatcher.connect(executor)
    taken = dispatcher.take(ToolVersion("acme", "quote", 1))
    # It waits for a version that none of them serves, so each that is looked at is asked about it.
    dispatcher.enqueue(StepKey("acme", "wf", "s"), ToolVersion("acme", "quote", 2))
    asked.clear()
    dispatcher.give_back(taken)
    assert len(asked) == looked_at
