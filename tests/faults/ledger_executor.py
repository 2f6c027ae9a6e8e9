"""An executor of its own process, whose tools write what they do into a ledger outside of the service.

    python ledger_executor.py ADDRESS TOKEN LEDGER NAME

Every line of the ledger goes to stdout as well, so that a test can wait for it. SIGUSR1 lets go of the tools that
hold on. It ends when stdin does.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading

import podium
from podium import serving
from podium.v1 import executor_service_pb2 as pb
from podium.v1 import value_pb2
from tests.faults.ledger import Ledger

MOMENT_S = 0.02
HEARTBEAT_S = 0.1


class LedgerServing(serving.Serving):
    """The SDK's own serving, which tells what it was assigned and what was acknowledged to it."""

    fences = None
    ledger = None
    session_over = None

    async def _one_session(self):
        type(self).session_over = asyncio.Event()
        try:
            await super()._one_session()
        finally:
            self.session_over.set()

    def _begin(self, welcome, outbox, held):
        super()._begin(welcome, outbox, held)
        for verdict in welcome.held:
            kept = verdict.action == verdict.ACTION_KEEP
            self.ledger.write(event="claimed", kept=kept, **named(verdict.attempt))
            if not kept:
                # It was told to stop, and reports all the same, at once and again: what is stale must be refused.
                late = pb.AttemptResult(attempt=verdict.attempt, output=value_pb2.Value(json='"late"'))
                outbox.put(pb.ExecutorItem(result=late))
                asyncio.get_running_loop().call_later(MOMENT_S * 5, outbox.put, pb.ExecutorItem(result=late))
        self.ledger.write(event="welcomed", session=welcome.session_id)

    def _handle(self, item, begun):
        match item.WhichOneof("item"):
            case "assign":
                attempt = item.assign.attempt
                self.fences[attempt.workflow_id, attempt.step_id, attempt.attempt] = attempt.fence
                self.ledger.write(event="assigned", **named(attempt))
            case "outcome_acknowledged":
                settled = item.outcome_acknowledged
                self.ledger.write(event="acknowledged", accepted=settled.accepted, **named(settled.attempt))
        super()._handle(item, begun)


def named(attempt):
    return {
        "key": f"{attempt.workflow_id}/{attempt.step_id}",
        "attempt": attempt.attempt,
        "fence": attempt.fence,
    }


@contextlib.contextmanager
def recorded(ctx, tool):
    """Around what a tool does: it started, it finished (or failed)."""
    fence = LedgerServing.fences[ctx.workflow_id, ctx.step_id, ctx.attempt]
    about = {"key": ctx.idempotency_key, "attempt": ctx.attempt, "fence": fence, "tool": tool}
    LedgerServing.ledger.write(event="started", **about)
    try:
        yield
    except BaseException:
        LedgerServing.ledger.write(event="failed", **about)
        raise
    LedgerServing.ledger.write(event="finished", **about)


async def until(event, within_s):
    """Wait for an event, at most for so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()


app = podium.Executor("ledger", instance_id=f"ledger-{os.getpid()}", max_parallel=16)
released = asyncio.Event()
never = asyncio.Event()


@app.tool
async def quick(text: str, ctx: podium.Context) -> str:
    """Say it again, a moment later."""
    with recorded(ctx, "quick"):
        await until(never, MOMENT_S)
        return text


@app.tool
async def pieces(count: int, ctx: podium.Context):
    """Stream so many pieces, a moment between them."""
    with recorded(ctx, "pieces"):
        for number in range(count):
            await until(never, MOMENT_S / 4)
            yield f"piece {number};"


@app.tool(idempotent=True)
async def unsteady(text: str, ctx: podium.Context) -> str:
    """Fail at first, then say it again."""
    with recorded(ctx, "unsteady"):
        await until(never, MOMENT_S / 2)
        if ctx.attempt == 1:
            raise podium.ToolFailed("not yet")
        return text


@app.tool
async def hold(ctx: podium.Context) -> str:
    """Run for as long as the session lasts in which it was assigned, or until all are let go."""
    over = LedgerServing.session_over
    with recorded(ctx, "hold"):
        waits = [asyncio.ensure_future(each.wait()) for each in (over, released)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        return "held"


@app.tool
async def patient(ctx: podium.Context) -> str:
    """Run until all are let go, whatever becomes of the session."""
    with recorded(ctx, "patient"):
        await released.wait()
        return app.name


@app.tool
async def gated(gate: str, ctx: podium.Context) -> str:
    """Run until there is a file of this name."""
    with recorded(ctx, "gated"):
        while not os.access(gate, os.F_OK):
            await until(never, MOMENT_S)
        return app.name


def end_with_stdin():
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)


async def main(address, token, ledger, name):
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    LedgerServing.ledger = Ledger(ledger, echo=sys.stdout)
    LedgerServing.fences = {}
    serving.Serving = LedgerServing
    # The services here live for a second; each comes back at once.
    serving.STABLE_S = 0.0
    app.name = name
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, released.set)
    await app.serve(address, token)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
