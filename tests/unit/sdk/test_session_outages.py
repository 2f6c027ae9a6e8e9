"""Whatever moment the connection breaks at, every chunk arrives once and in order, and every outcome is told."""

import asyncio
import random

import pytest

import podium
from podium.v1 import executor_service_pb2 as pb
from tests.unit.sdk.executor_peer import WITHIN_S, assignment, connected, running_peer

ATTEMPTS = 12
KEEP = pb.HeldVerdict.ACTION_KEEP


class Record:
    """What a service would have made durable, and how it answers."""

    def __init__(self, chance):
        self.chance = chance
        self.chunks = {}
        self.outcomes = {}
        self.known = {}
        self.complete = asyncio.Event()

    def verdicts(self, hello):
        return [
            pb.HeldVerdict(
                attempt=held.attempt,
                action=KEEP,
                resume_after_chunk=len(self.chunks.get(held.attempt.step_id, [])),
            )
            for held in hello.holding
        ]

    def unassigned(self, hello):
        """What the executor does not hold and the service has no outcome of."""
        held = {attempt.attempt.step_id for attempt in hello.holding}
        for number in range(ATTEMPTS):
            step = f"step_{number}"
            if step not in held and step not in self.outcomes:
                assert step not in self.known, "an attempt was lost"
                yield assignment("stream", f'{{"pieces": {number}}}', step=step)

    def take(self, item):
        """Records an item; returns the answer to it, if there is one."""
        match item.WhichOneof("item"):
            case "accepted":
                self.known[item.accepted.attempt.step_id] = True
            case "chunk":
                chunks = self.chunks.setdefault(item.chunk.attempt.step_id, [])
                assert item.chunk.sequence <= len(chunks) + 1, "a chunk is missing"
                if item.chunk.sequence == len(chunks) + 1:
                    chunks.append(item.chunk.data)
                # Every other at least: the executor waits when too much is not acknowledged.
                if len(chunks) % 2 == 0 or self.chance.random() < 0.3:
                    acknowledged = pb.ChunksAcknowledged(attempt=item.chunk.attempt, sequence=len(chunks))
                    return ("chunks_acknowledged", acknowledged)
            case "result":
                step = item.result.attempt.step_id
                assert item.result.chunk_count == len(self.chunks.get(step, []))
                self.outcomes[step] = item.result.output.json
                if len(self.outcomes) == ATTEMPTS:
                    self.complete.set()
                return ("outcome_acknowledged", pb.OutcomeAcknowledged(attempt=item.result.attempt, accepted=True))
        return None


async def play(peer, record):
    """Serves sessions and breaks them, at a random item, in a random direction, until everything is recorded."""
    while not record.complete.is_set():
        session = await peer.session()
        hello = await session.receive("hello")
        welcome = pb.Welcome(
            session_id="s", heartbeat_interval_ms=1000, chunk_limit_bytes=3, held=record.verdicts(hello)
        )
        await session.send_items(("welcome", welcome), *(("assign", each) for each in record.unassigned(hello)))
        await exchange(session, record, items_left=record.chance.randrange(1, 25))
        session.end()


async def exchange(session, record, items_left):
    while items_left and not record.complete.is_set():
        item = await session._items.get()  # noqa: SLF001 -- the peer's own queue
        items_left -= 1
        answer = record.take(item)
        # The last answer is lost with the connection.
        if answer and items_left:
            await session.send_items(answer)


@pytest.fixture(autouse=True)
def haste(monkeypatch):
    """Reconnects at once, and little room for what is not acknowledged."""
    monkeypatch.setattr("podium.backoff.jittered", lambda _delay: 0.001)
    monkeypatch.setattr("podium.attempt.UNACKNOWLEDGED_MAX_BYTES", 8)


async def run_through_outages(seed):
    """Runs all attempts, and returns what was recorded and which of them were called."""
    app = podium.Executor("outages", max_parallel=5)
    calls = []

    @app.tool
    async def stream(pieces: int):
        calls.append(pieces)
        for number in range(pieces):
            yield f"piece {number};"
            await asyncio.sleep(0)
        yield podium.Output(pieces)

    record = Record(random.Random(seed))
    async with (
        running_peer() as peer,
        connected(peer.address) as connection,
        asyncio.timeout(WITHIN_S),
        asyncio.TaskGroup() as group,
    ):
        playing = group.create_task(play(peer, record))
        serving = group.create_task(serve(app, connection))
        await record.complete.wait()
        playing.cancel()
        serving.cancel()
    return record, calls


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_lost_and_nothing_comes_twice(seed):
    record, calls = await run_through_outages(seed)
    for number in range(ATTEMPTS):
        expected = "".join(f"piece {each};" for each in range(number)).encode()
        assert b"".join(record.chunks.get(f"step_{number}", [])) == expected
        assert record.outcomes[f"step_{number}"] == str(number)
    assert sorted(calls) == list(range(ATTEMPTS)), "every attempt ran once"


@pytest.mark.parametrize(
    ("broken", "found"),
    [("podium.transcript.Transcript.after", "a chunk is missing"), ("podium.attempt.Attempt.held", "lost")],
)
async def test_a_loss_would_be_found(monkeypatch, broken, found):
    nothing = pb.HeldAttempt() if broken.endswith("held") else ()
    monkeypatch.setattr(broken, lambda *_: nothing)
    with pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match=found)):
        await run_through_outages(seed=0)


async def serve(app, connection):
    async with app.attached(connection):
        await asyncio.get_running_loop().create_future()
