"""Batches of calls in an executor: who is in one, and what a call that is given up does to the others."""

import asyncio
from dataclasses import dataclass

import podium
from podium.batching import Gatherer


@dataclass
class Look:
    symbol: str


async def test_a_call_that_comes_as_the_last_of_a_batch_is_given_up_is_made():
    made = []
    app = podium.Executor("quotes")

    @app.tool(read_only=True, batch=podium.Batch(max_calls=10, max_wait="10ms"))
    async def quote(calls: list[Look]) -> list[str]:
        made.append([each.symbol for each in calls])
        return [each.symbol for each in calls]

    gatherer = Gatherer(app.tools["quote"], asyncio.Semaphore(1), None)

    def call(symbol):
        return asyncio.create_task(gatherer.call(Look(symbol), None, lambda: None))

    given_up = call("A")
    # It has joined; its batch waits for others.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    given_up.cancel()
    others = [call("B"), call("C")]
    ended = await asyncio.gather(given_up, *others, return_exceptions=True)
    assert isinstance(ended[0], asyncio.CancelledError)
    assert ended[1:] == ['"B"', '"C"']
    assert made == [["B", "C"]]
