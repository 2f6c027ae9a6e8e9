"""The program of the README, as it stands, against a real service."""

import asyncio
import sys
from types import ModuleType, SimpleNamespace

import pytest

import podium

PROGRAM = '''
import asyncio, anthropic, podium
from shop import bank, MODEL
app = podium.Executor("billing")

@app.tool(permissions=["database_read"], read_only=True)
async def find_invoice(customer: str) -> dict:
    """Find a customer's newest invoice."""
    return await bank.newest_invoice(customer)

@app.tool(permissions=["financial_operations"], timeout="10s")
async def refund(invoice: str, cents: int, ctx: podium.Context) -> str:
    """Refund an invoice."""
    return await bank.refund(invoice, cents, idempotency_key=ctx.idempotency_key)

async def main(question):
    claude, messages = anthropic.AsyncAnthropic(), [{"role": "user", "content": question}]
    async with podium.connect(serve=app) as client, client.agent_run(on_behalf_of="ana") as run:
        while True:
            reply = await claude.messages.create(model=MODEL, max_tokens=1024,
                tools=await run.tools("anthropic"), messages=messages)
            messages.append({"role": "assistant", "content": reply.content})
            if reply.stop_reason != "tool_use":
                return print(reply.content[-1].text, run.id)
            messages.append({"role": "user", "content": await run.execute(reply)})
'''


def tool_use(call_id, name, **arguments):
    return SimpleNamespace(type="tool_use", id=call_id, name=name, input=arguments)


class Model:
    """Plays a model: asks for what it was told to, one reply after the other, and ends with what it read last."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.tools = []
        self.messages = self

    async def create(self, *, model, max_tokens, tools, messages):
        self.tools.append([tool["name"] for tool in tools])
        if self.replies:
            return SimpleNamespace(stop_reason="tool_use", content=self.replies.pop(0))
        last = " | ".join(result["content"] for result in messages[-1]["content"])
        return SimpleNamespace(stop_reason="end_turn", content=[SimpleNamespace(type="text", text=last)])


class Bank:
    def __init__(self):
        self.refunds = {}

    async def newest_invoice(self, customer):
        return {"id": "i1", "customer": customer}

    async def refund(self, invoice, cents, *, idempotency_key):
        self.refunds[idempotency_key] = (invoice, cents)
        return f"refunded {cents}"


@pytest.fixture
def program(monkeypatch, service, tenant):
    """The program with a scripted model, a bank in memory and somebody's token: `program(model, bank, **claims)`."""

    def make(model, bank, **claims):
        anthropic, shop = ModuleType("anthropic"), ModuleType("shop")
        anthropic.AsyncAnthropic = lambda: model
        shop.bank, shop.MODEL = bank, "a-model"
        monkeypatch.setitem(sys.modules, "anthropic", anthropic)
        monkeypatch.setitem(sys.modules, "shop", shop)
        monkeypatch.setenv("PODIUM_ADDRESS", service.address)
        monkeypatch.setenv("PODIUM_TOKEN", service.token(tenant=tenant, **claims))
        module = ModuleType("program")
        exec(compile(PROGRAM, "program.py", "exec"), module.__dict__)
        return module

    return make


async def test_it_works_as_it_stands(program, caller, capsys):
    model = Model(
        [tool_use("toolu_1", "find_invoice", customer="${input}")],
        [tool_use("toolu_2", "refund", invoice="i1", cents=500), tool_use("toolu_3", "find_invoice", customer="bo")],
    )
    bank = Bank()
    await program(model, bank).main("Refund Ana's last invoice")
    said, _, run_id = capsys.readouterr().out.strip().rpartition(" ")
    assert said == 'refunded 500 | {"id":"i1","customer":"bo"}'
    assert model.tools[0] == ["find_invoice", "refund"]
    assert list(bank.refunds.values()) == [("i1", 500)]
    summary = await caller.ended(run_id)
    assert (summary.principal.on_behalf_of, summary.open) == ("ana", False)
    checked = [event for event in await caller.history(run_id) if event.HasField("permission_checked")]
    assert len(checked) == 3
    assert {event.permission_checked.principal.on_behalf_of for event in checked} == {"ana"}


async def test_a_denial_is_told_to_the_model_with_the_event_that_proves_it(program, caller, capsys):
    model = Model([tool_use("toolu_1", "refund", invoice="i1", cents=500)])
    bank = Bank()
    await program(model, bank, roles=["agent", "executor"], on_behalf_of="ana").main("Refund Ana's last invoice")
    said, _, run_id = capsys.readouterr().out.strip().rpartition(" ")
    [denied] = [event for event in await caller.history(run_id) if event.HasField("permission_checked")]
    rule = denied.permission_checked.rule
    assert said == f"denied: refund needs financial_operations (rule {rule}, event 0:{denied.position})"
    assert rule == "default-deny"
    assert model.tools[0] == ["find_invoice"], "what may not be used is not offered"
    assert bank.refunds == {}


async def test_bad_arguments_and_unknown_tools_are_told_to_the_model(program, capsys):
    model = Model(
        [
            tool_use("toolu_1", "refund", invoice="i1", cents="much"),
            tool_use("toolu_2", "refund", invoice="i1", euros=5),
            tool_use("toolu_3", "no_such_tool"),
        ]
    )
    bank = Bank()
    await program(model, bank).main("Refund")
    said, _, _run_id = capsys.readouterr().out.strip().rpartition(" ")
    first, second, third = said.split(" | ")
    assert first.startswith("invalid: arguments.cents must be")
    assert "arguments.cents is required; arguments.euros is" in second
    assert third.startswith("invalid: tool no_such_tool is not registered")
    assert bank.refunds == {}


async def test_a_run_that_crashed_goes_on_with_what_was_recorded(connect, caller):
    app = podium.Executor("billing")
    calls = []

    @app.tool
    async def charge(cents: int) -> int:
        calls.append(cents)
        return cents

    client = await connect(app)
    reply = [{"id": "c1", "name": "charge", "arguments": {"cents": 5}}]
    run = client.agent_run()

    async def crash():
        async with run:
            first = await run.execute(reply)
            assert first[0]["output"] == 5
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await crash()
    assert (await caller.get(run.id)).open
    async with client.agent_run(resume=run.id) as resumed:
        again = await resumed.execute([*reply, {"id": "c2", "name": "charge", "arguments": {"cents": 7}}])
    assert [result["output"] for result in again] == [5, 7]
    assert calls == [5, 7]
    assert (await client.get(run.id)).state == "succeeded"


async def test_a_narrowed_run_may_do_less_than_its_caller(connect):
    app = podium.Executor("billing")

    @app.tool(permissions=["database_read"])
    async def look() -> str:
        return "seen"

    @app.tool(permissions=["email_send"])
    async def send() -> str:
        return "sent"

    client = await connect(app)
    async with client.agent_run(permissions=["database_read"]) as run:
        assert [tool["name"] for tool in await run.tools("mcp")] == ["look"]
        results = await run.execute([{"id": "1", "name": "look"}, {"id": "2", "name": "send"}])
    assert results[0]["output"] == "seen"
    assert results[1]["content"][0]["text"].startswith("denied: send needs email_send (rule ")


async def test_a_failed_tool_is_a_result_and_the_run_goes_on(connect, caller):
    app = podium.Executor("billing")

    @app.tool
    async def refund() -> str:
        raise podium.ToolFailed("the account is closed", reason="ACCOUNT_CLOSED", retryable=False)

    @app.tool
    async def large() -> str:
        return "x" * 100_000

    client = await connect(app)
    async with client.agent_run() as run:
        [failed] = await run.execute([{"id": "1", "name": "refund"}])
        [done] = await run.execute([{"id": "2", "name": "large"}])
    [event] = [each for each in await caller.history(run.id) if each.HasField("step_failed")]
    text = f"failed: the account is closed (reason ACCOUNT_CLOSED, event 0:{event.position})"
    assert failed["content"][0]["text"] == text
    assert done["output"] == "x" * 100_000
    assert (await client.get(run.id)).state == "succeeded"


async def test_many_calls_of_one_reply_run_at_once(connect):
    app = podium.Executor("gate", max_parallel=20)
    together = asyncio.Barrier(20)

    @app.tool
    async def meet(number: int) -> int:
        await together.wait()
        return number

    client = await connect(app)
    async with client.agent_run() as run:
        calls = [{"id": f"c{number}", "name": "meet", "arguments": {"number": number}} for number in range(20)]
        results = await run.execute(calls)
    assert [result["output"] for result in results] == list(range(20))


async def test_the_same_id_with_another_call_is_an_error_and_no_result(connect):
    app = podium.Executor("billing")

    @app.tool
    async def charge(cents: int) -> int:
        return cents

    client = await connect(app)
    async with client.agent_run() as run:
        await run.execute([{"id": "c1", "name": "charge", "arguments": {"cents": 5}}])
        with pytest.raises(podium.Conflict):
            await run.execute([{"id": "c1", "name": "charge", "arguments": {"cents": 6}}])
