# ruff: noqa: E401, I001, T201
# fmt: off
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

asyncio.run(main("Refund Ana's last invoice"))
