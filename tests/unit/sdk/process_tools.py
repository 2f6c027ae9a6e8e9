"""Tools that run in processes of their own: a module that a spawned process can import."""

import os
import signal
import threading

import podium

app = podium.Executor("heavy", max_processes=2)


@app.tool(isolation="process")
def add(a: int, b: int, ctx: podium.Context) -> dict:
    ctx.progress(0.5, "adding")
    return {"sum": a + b, "pid": os.getpid(), "key": ctx.idempotency_key}


@app.tool(isolation="process")
def count(to: int):
    for number in range(to):
        yield f"{number} "
    yield podium.Output(to)


@app.tool(isolation="process")
def hang():
    yield "started"
    threading.Event().wait()


@app.tool(isolation="process")
def crash():
    os.kill(os.getpid(), signal.SIGKILL)


@app.tool(isolation="process", secrets=["token"])
def tell(ctx: podium.Context) -> dict:
    token = ctx.secret("token")
    return {"length": len(token), "told": token}


@app.tool(isolation="process")
def fail():
    raise podium.ToolFailed("no", reason="NO_MONEY", retryable=False, retry_after=1)


@app.tool(isolation="process", read_only=True)
def remembered(ctx: podium.Context) -> None:
    ctx.cache_for("1m")
