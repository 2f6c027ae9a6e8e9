"""The agent's program of the issue runs as it stands, against a server that it finds by itself."""

import json
import re

from podium.v1 import events_pb2, value_pb2
from tests.integration.rig.history import payloads, place

FIND = {"id": "toolu_01", "name": "find_invoice", "input": {"customer": "ana"}}
REFUND = {"id": "toolu_02", "name": "refund", "input": {"invoice": "in_ana", "cents": 1999}}
DONE = {"content": [{"text": "Your money is on its way."}], "stop_reason": "end_turn"}
INVOICE = {"id": "in_ana", "customer": "ana", "cents": 1999}


def asks(*calls, text="Let me see."):
    return {"content": [{"text": text}, *calls], "stop_reason": "tool_use"}


def results_in(request):
    """The results in the last message that the model was sent."""
    last = request["messages"][-1]
    assert last["role"] == "user"
    return last["content"]


async def test_the_refund_is_made_once_and_the_model_is_told_each_result(agent, caller):
    printed = await agent.run([asks(FIND), asks(REFUND), DONE])
    match = re.fullmatch(r"Your money is on its way\. (wf_\w+)\n", printed)
    assert match, printed
    assert len(agent.ledger("refund")) == len(agent.ledger("paid")) == 1
    first, second, third = agent.requests()
    assert first["messages"] == [{"role": "user", "content": "Refund Ana's last invoice"}]
    [found] = results_in(second)
    assert (found["type"], found["tool_use_id"]) == ("tool_result", "toolu_01")
    assert json.loads(found["content"]) == INVOICE
    [refunded] = results_in(third)
    assert refunded == {
        "type": "tool_result",
        "tool_use_id": "toolu_02",
        "content": "refunded 1999 cents of in_ana",
    }
    assert [each["role"] for each in third["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    summary = await caller.get(match[1])
    assert summary.state == value_pb2.WORKFLOW_STATE_SUCCEEDED
    assert summary.kind == events_pb2.WORKFLOW_KIND_AGENT
    assert summary.principal.on_behalf_of == "ana"
    assert (await caller.replay(match[1])).matches
    keys = {entry["key"] for entry in agent.ledger("refund")}
    assert keys == {f"{match[1]}/step_2"}


async def test_the_model_is_offered_the_tools_in_its_own_words(agent):
    await agent.run([DONE])
    [request] = agent.requests()
    assert [each["name"] for each in request["tools"]] == ["find_invoice", "refund"]
    find, refund = request["tools"]
    assert find["description"] == "Find a customer's newest invoice."
    assert find["input_schema"]["required"] == ["customer"]
    assert set(refund["input_schema"]["properties"]) == {"invoice", "cents"}, "the context is no argument"


async def test_several_calls_in_one_reply_give_their_results_in_order(agent):
    others = [{"id": f"toolu_{n}", "name": "find_invoice", "input": {"customer": f"c{n}"}} for n in range(5)]
    await agent.run([asks(*others), DONE])
    results = results_in(agent.requests()[1])
    assert [each["tool_use_id"] for each in results] == [f"toolu_{n}" for n in range(5)]
    assert [json.loads(each["content"])["customer"] for each in results] == [f"c{n}" for n in range(5)]


async def test_a_denial_is_told_in_words_that_name_the_rule_and_the_event(agent, caller):
    printed = await agent.run([asks(FIND, REFUND), DONE], roles=("agent", "executor"))
    workflow_id = printed.split()[-1]
    first, second = agent.requests()
    assert [each["name"] for each in first["tools"]] == ["find_invoice"], "what may not be used is not offered"
    found, denied = results_in(second)
    assert json.loads(found["content"]) == INVOICE
    assert denied["is_error"] is True
    match = re.fullmatch(
        r"denied: refund needs financial_operations \(rule default-deny, event (0:\d+)\)", denied["content"]
    )
    assert match, denied
    events = {place(event): event for event in await caller.history(workflow_id)}
    checked = events[match[1]].permission_checked
    assert checked.decision == events_pb2.DECISION_DENY
    assert (checked.tool, list(checked.missing)) == ("refund", ["financial_operations"])
    assert checked.principal.on_behalf_of == "ana"
    assert agent.ledger("refund") == []
    assert (await caller.get(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED


async def test_what_the_model_gets_wrong_is_told_so_that_it_can_mend_it(agent, caller):
    wrong = {"id": "toolu_1", "name": "refund", "input": {"invoice": "in_ana", "cents": "all of it"}}
    unknown = {"id": "toolu_2", "name": "transfer", "input": {}}
    printed = await agent.run([asks(wrong, unknown), asks(REFUND), DONE])
    results = results_in(agent.requests()[1])
    assert all(each["is_error"] for each in results)
    assert results[0]["content"].startswith("invalid: ")
    assert "cents" in results[0]["content"]
    assert "transfer is not registered" in results[1]["content"]
    assert len(agent.ledger("paid")) == 1
    added = payloads(await caller.history(printed.split()[-1]), "steps_added")
    assert [step.tool for each in added for step in each.steps] == ["refund"], "nothing of the rest was recorded"


async def test_text_of_the_model_that_looks_like_a_reference_is_only_text(agent):
    trap = {"id": "toolu_2", "name": "find_invoice", "input": {"customer": "${steps.step_1.output.id} step_1"}}
    await agent.run([asks(FIND), asks(trap), DONE])
    assert agent.ledger("asked")[-1]["customer"] == "${steps.step_1.output.id} step_1"
