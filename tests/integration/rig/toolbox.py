"""An executor with plain tools, which remembers how they were called and lets a test hold them back."""

import asyncio
from collections import defaultdict
from typing import Any

import podium


class Toolbox(podium.Executor):
    """`calls` are (tool, step, attempt, key); `gates` and `entered` are events by name, made when first named."""

    def __init__(self, name="toolbox", **settings):
        super().__init__(name, **settings)
        self.calls = []
        self.gates = defaultdict(asyncio.Event)
        self.entered = defaultdict(asyncio.Event)

    def note(self, ctx):
        """Remembers a call."""
        self.calls.append((ctx.tool, ctx.step_id, ctx.attempt, ctx.idempotency_key))

    def ran(self):
        """The steps whose tool was called, in order."""
        return [step_id for _, step_id, _, _ in self.calls]


def toolbox(**settings):
    """A new toolbox with its tools."""
    app = Toolbox(**settings)

    @app.tool(read_only=True)
    async def echo(ctx: podium.Context, value: Any = None) -> Any:
        """Return the value."""
        app.note(ctx)
        return value

    @app.tool
    async def add(ctx: podium.Context, a: int, b: int) -> int:
        """Add two numbers."""
        app.note(ctx)
        return a + b

    @app.tool
    async def gated(ctx: podium.Context, gate: str) -> str:
        """Wait until the gate is open."""
        app.note(ctx)
        app.entered[gate].set()
        await app.gates[gate].wait()
        return gate

    @app.tool(idempotent=True)
    async def flaky(ctx: podium.Context, failures: int, reason: str = "TOOL_ERROR", retryable: bool = True) -> int:
        """Fail so many times, and then return how often it was tried."""
        app.note(ctx)
        if ctx.attempt <= failures:
            raise podium.ToolFailed(f"failure {ctx.attempt}", reason=reason, retryable=retryable)
        return ctx.attempt

    @app.tool
    async def careless(ctx: podium.Context) -> str:
        """Fail, without a word on whether that may be repeated."""
        app.note(ctx)
        raise ValueError("it broke")

    @app.tool(permissions=["financial_operations"])
    async def pay(ctx: podium.Context, cents: int) -> int:
        """Pay."""
        app.note(ctx)
        return cents

    return app
