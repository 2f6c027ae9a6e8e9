"""Whether a round did what it was measured for: its events are in the log, the log is sound, the disk was told.

A figure of a service that lost an event, or answered before the disk had it, is worth nothing.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass

from service.cli.bench.target import Round
from service.main import open_reader, verifier_key, verify_log
from store.records import decode_record
from tests.benchmarks.served import settings_of

_BATCH = 2_000
_OF_A_STEP = ("permission_checked", "attempt_started", "step_succeeded")
_OF_A_WORKFLOW = ("workflow_started", "workflow_succeeded")
_OF_MORE_STEPS = ("steps_added", "workflow_finish_requested")


class DishonestRunError(Exception):
    """The log does not hold what a measurement claims. The message says what is missing."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the log holds after a position."""

    last_position: int
    types: Counter
    """How many events of each type."""
    commits: int
    """How many moments the events were recorded at: there were at least as many group commits."""


def recorded(database_url, after_position=0):
    """Read a log on. The reader compares every record with its columns, and finds a position that is missing."""

    async def read():
        types, moments, position = Counter(), set(), after_position
        async with open_reader(database_url) as log:
            while events := await log.read_all(position, _BATCH):
                types.update(decode_record(event.record).WhichOneof("payload") for event in events)
                moments.update(event.recorded_at_us for event in events)
                position = events[-1].position
        return Recorded(position, types, len(moments))

    return asyncio.run(read())


def check_round(found: Recorded, load: Round, flushes):
    """Raise DishonestRunError unless the log holds a round's work and nothing else, and the disk was told of it.

    Three events a step and three a workflow: permission checked, attempt started, step succeeded; workflow started,
    steps added, workflow succeeded. One that is open has a `steps_added` for each addition, and is told to finish.
    """
    expected = dict.fromkeys(_OF_A_STEP, load.steps) | dict.fromkeys(_OF_A_WORKFLOW, load.workflows)
    problems = [
        f"{found.types[name]} {name} instead of {count}"
        for name, count in expected.items()
        if found.types[name] != count
    ]
    if found.types["steps_added"] < load.workflows:
        problems.append(f"{found.types['steps_added']} steps_added, fewer than {load.workflows} workflows")
    if strangers := found.types.keys() - expected.keys() - set(_OF_MORE_STEPS):
        problems.append(f"events of other work: {', '.join(sorted(strangers))}")
    if flushes is not None and flushes < found.commits:
        problems.append(f"{flushes} flushes of the disk for {found.commits} group commits")
    if problems:
        raise DishonestRunError("; ".join(problems))


def check_log(on):
    """Verify the whole log of a database against its signed checkpoints. Returns how many events there are.

    Raises DishonestRunError.
    """
    settings = settings_of(on.url, on.folder)
    outside = settings.checkpoints.checkpoint_file.read_text()
    verified = verify_log(on.url, [verifier_key(settings)], outside=outside)
    if not verified.is_clean:
        raise DishonestRunError("; ".join(str(finding) for finding in verified.findings[:5]))
    return verified.events
