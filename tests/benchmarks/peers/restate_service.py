"""The service that Restate's server calls: a handler with sequential steps and one with parallel ones."""

import restate

service = restate.Service("Bench")


async def step(i: int) -> dict:
    """Do nothing."""
    return {"i": i, "ok": True}


@service.handler()
async def chain(context: restate.Context, steps: int) -> dict:
    """Run steps one after the other."""
    output = {}
    for i in range(steps):
        output = await context.run_typed("step", step, i=i)
    return output


@service.handler()
async def fan(context: restate.Context, steps: int) -> int:
    """Run steps side by side."""
    return len(await restate.gather(*[context.run_typed("step", step, i=i) for i in range(steps)]))


app = restate.app([service])
