"""Finding a cycle in a graph of steps."""

import pytest

from service.domain.graph import find_cycle


@pytest.mark.parametrize(
    "graph",
    [
        {},
        {"a": []},
        {"a": ["outside"]},
        {"a": ["b"], "b": []},
        {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []},
        {"a": ["b", "b"], "b": []},
    ],
)
def test_a_graph_without_a_cycle_has_none(graph):
    assert find_cycle(graph) == []


@pytest.mark.parametrize(
    ("graph", "cycle"),
    [
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": ["b"], "b": ["a"]}, ["a", "b", "a"]),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ["b", "c", "b"]),
        ({"x": [], "a": ["x", "b"], "b": ["x", "c"], "c": ["a"]}, ["a", "b", "c", "a"]),
        ({"after": ["a"], "a": ["b", "before"], "b": ["a"], "before": []}, ["a", "b", "a"]),
    ],
)
def test_a_cycle_is_found_and_named_in_the_order_of_needing(graph, cycle):
    assert find_cycle(graph) == cycle


def test_a_cycle_of_all_the_steps_a_workflow_may_have_is_found_quickly():
    count = 100_000
    graph = {f"s{i}": [f"s{(i + 1) % count}"] for i in range(count)}
    assert len(find_cycle(graph)) == count + 1


def test_two_cycles_are_one_answer():
    cycle = find_cycle({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]})
    assert cycle in (["a", "b", "a"], ["c", "d", "c"])
