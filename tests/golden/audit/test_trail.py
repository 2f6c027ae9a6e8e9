"""The trail of a history with every type of event, line for line: its wording and its fields are a promise.

To accept a change, from the checkout:

    PYTHONPATH=.:clients/python .venv/bin/python tests/golden/audit/test_trail.py
"""

import asyncio
import tempfile
from pathlib import Path

from podium.v1.audit_service_pb2 import AuditFilter
from service.projections.audit import AuditTrail
from service.projections.audit_query import AuditQuery
from service.projections.read_model import ReadModel
from service.projections.runner import ProjectionRunner
from service.projections.sqlite_database import SqliteProjections
from tests.unit.projections.memory_log import LogClock, MemoryLog, next_epoch
from tests.unit.projections.samples import record_history

WAIT_S = 30
TRAIL = Path(__file__).with_name("trail.jsonl")


async def trail_of_the_history(path):
    log = MemoryLog()
    record_history(log)
    database = SqliteProjections(path)
    await database.open(next_epoch())
    model = ReadModel(AuditTrail, database)
    runner = ProjectionRunner(model, log, LogClock(log))
    await runner.open()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(runner.run())
        await runner.wait_for(log.head, WAIT_S)
        task.cancel()
    blocks = [block async for block in AuditQuery(model, log).export("acme", AuditFilter())]
    await database.close()
    return b"".join(blocks)


async def test_the_trail_reads_as_it_did(tmp_path):
    found = await trail_of_the_history(tmp_path / "projections")
    assert found.decode().splitlines() == TRAIL.read_text().splitlines()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        TRAIL.write_bytes(asyncio.run(trail_of_the_history(Path(folder) / "projections")))
