"""Replies are read by their shape: vendors' objects and plain dictionaries alike."""

from types import SimpleNamespace

import pytest

from podium.model_formats import Anthropic, Mcp, OpenAI, read_reply

ANTHROPIC_BLOCK = {"type": "tool_use", "id": "toolu_1", "name": "greet", "input": {"to": "ana"}}
OPENAI_CALL = {"id": "call_1", "type": "function", "function": {"name": "greet", "arguments": '{"to": "ana"}'}}
OPENAI_MESSAGE = {"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]}


def as_object(value):
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(each) for name, each in value.items()})
    return [as_object(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("reply", "kind", "call_id"),
    [
        ({"role": "assistant", "content": [{"type": "text", "text": "Hm."}, ANTHROPIC_BLOCK]}, Anthropic, "toolu_1"),
        ([{"type": "text", "text": "Hm."}, ANTHROPIC_BLOCK], Anthropic, "toolu_1"),
        (OPENAI_MESSAGE, OpenAI, "call_1"),
        ([OPENAI_CALL], OpenAI, "call_1"),
        ({"choices": [{"message": OPENAI_MESSAGE}]}, OpenAI, "call_1"),
        (as_object({"choices": [{"message": OPENAI_MESSAGE}]}), OpenAI, "call_1"),
        ([{"id": "1", "name": "greet", "arguments": {"to": "ana"}}], Mcp, "1"),
        ([{"id": 1, "name": "greet", "arguments": '{"to": "ana"}'}], Mcp, "1"),
    ],
)
def test_a_reply_is_recognised_by_its_shape(reply, kind, call_id):
    format_, [call] = read_reply(reply)
    assert isinstance(format_, kind)
    assert (call.id, call.name, call.arguments_json, call.problem) == (call_id, "greet", '{"to":"ana"}', "")


@pytest.mark.parametrize(
    "reply",
    [
        {"role": "assistant", "content": "Done."},
        {"role": "assistant", "content": [{"type": "text", "text": "Done."}]},
        {"role": "assistant", "content": "Done.", "tool_calls": None},
        {"choices": [{"message": {"role": "assistant", "content": "Done.", "tool_calls": []}}]},
        as_object({"choices": [{"message": {"role": "assistant", "content": "Done.", "tool_calls": None}}]}),
        [],
    ],
)
def test_a_reply_may_hold_no_calls(reply):
    assert read_reply(reply)[1] == []


@pytest.mark.parametrize("reply", ["text", None, 3, {"answer": 42}, [{"id": "1"}], object()])
def test_anything_else_is_refused(reply):
    with pytest.raises(TypeError, match="no Anthropic message"):
        read_reply(reply)


@pytest.mark.parametrize(
    ("arguments", "sent", "problem"),
    [
        ("", "{}", ""),
        ("{}", "{}", ""),
        (None, "{}", ""),
        ('{"a": "ä"}', '{"a":"ä"}', ""),
        ("[1]", "", "the arguments must be an object, not list"),
        ('{"a": NaN}', "", "the arguments are not JSON: Out of range float values are not JSON compliant"),
        ("{", "", "the arguments are not JSON: Expecting property name enclosed in double quotes"),
    ],
)
def test_arguments_are_an_object_or_a_problem(arguments, sent, problem):
    function = {"name": "greet", "arguments": arguments}
    _, [call] = read_reply({"tool_calls": [{"id": "1", "type": "function", "function": function}]})
    assert call.arguments_json == sent
    assert call.problem.startswith(problem)
    assert bool(call.problem) == bool(problem)


def test_results_are_written_as_the_vendor_wants_them():
    _, [call] = read_reply([ANTHROPIC_BLOCK])
    assert Anthropic().result(call, '"hello"', "") == {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": "hello",
    }
    assert OpenAI().result(call, '{"a":1}', "") == {"role": "tool", "tool_call_id": "toolu_1", "content": '{"a":1}'}
    assert OpenAI().result(call, "", "denied: no")["content"] == "denied: no"
    assert Mcp().result(call, "[1]", "") == {
        "id": "toolu_1",
        "name": "greet",
        "content": [{"type": "text", "text": "[1]"}],
        "isError": False,
        "output": [1],
    }
    assert Mcp().result(call, "", "failed: x")["isError"]
