"""Which rules speak of a tool."""

from podium.v1 import policy_pb2
from service.domain.tool_globs import first_that_fits, fits


def test_globs_tell_capitals_apart_and_none_fit_all():
    assert fits("quote", ["buy", "quo*"])
    assert not fits("Quote", ["quo*"])
    assert not fits("quotes", ["quote"])
    assert fits("anything", [])


def test_of_several_rules_that_fit_the_first_counts():
    rules = [policy_pb2.BreakerRule(id=name, tools=tools) for name, tools in [("a", ["b*"]), ("b", ["q*"]), ("c", [])]]
    assert [first_that_fits(rules, tool).id for tool in ("buy", "quote", "sell")] == ["a", "b", "c"]
    assert first_that_fits(rules[:2], "sell") is None
