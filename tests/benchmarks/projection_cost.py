"""What each read model costs an event: CPU of its thread, in process, on SQLite.

    PYTHONPATH=.:clients/python .venv/bin/python -m tests.benchmarks.projection_cost

The log is 1,000 workflows of 10 steps of 5 tools, 50 at a time. Batches are as large as they are when so many events
come within the time that commits are let gather.
"""

import tempfile
import time
from pathlib import Path
from random import Random

from sqlalchemy import create_engine

from podium.v1 import events_pb2 as e
from podium.v1.value_pb2 import Authority, Value
from service.projections.audit import AuditTrail
from service.projections.tool_statistics import ToolStatistics
from service.projections.workflows import WorkflowList
from tests.unit.projections.memory_log import MemoryLog
from tests.unit.projections.samples import ANA, attempt, check, step

WORKFLOWS, STEPS, AT_ONCE = 1000, 10, 50
TOOLS = [f"tool_{number}" for number in range(5)]
BATCHES = (2000, 500, 100)
ROUNDS = 5


def the_log():
    """A log as a busy service writes it: 10,000 events a second."""
    chance, log = Random(1), MemoryLog(event_every_us=100)
    waiting, running = [_workflow(number, chance) for number in range(WORKFLOWS)], []
    while waiting or running:
        running += [waiting.pop() for _ in range(min(len(waiting), AT_ONCE - len(running)))]
        each = chance.choice(running)
        try:
            log.record("acme", *next(each), principal=ANA)
        except StopIteration:
            running.remove(each)
    return log.events


def _workflow(number, chance):
    stream_id = f"wf_{number:026}"
    steps = [step(f"step_{place}", chance.choice(TOOLS)) for place in range(STEPS)]
    yield stream_id, e.WorkflowStarted(name="busy")
    yield stream_id, e.StepsAdded(steps=steps, authority=Authority(principal=ANA))
    for each in steps:
        yield stream_id, check(each.id, each.tool, e.DECISION_ALLOW)
        yield stream_id, attempt(each.id)
        yield stream_id, e.StepSucceeded(step_id=each.id, attempt=1, output=Value(json='{"found":1}'))
    yield stream_id, e.WorkflowSucceeded()


def cost_us(make, events, batch_events):
    """Microseconds of CPU that an event costs."""
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{Path(folder) / 'projections'}")
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
        model = make(1)
        model.metadata.create_all(engine)
        began_s = time.thread_time()
        for first in range(0, len(events), batch_events):
            with engine.begin() as connection:
                model.apply(connection, events[first : first + batch_events])
        took_s = time.thread_time() - began_s
        engine.dispose()
    return took_s / len(events) * 1e6


def main():
    """Print the least of some rounds, because whatever else the machine does only adds to it."""
    events = the_log()
    print(f"{len(events)} events, µs of CPU each, in batches of {BATCHES}")
    for make in (WorkflowList, AuditTrail, ToolStatistics):
        least = [min(cost_us(make, events, batch) for _ in range(ROUNDS)) for batch in BATCHES]
        print(f"{make.name:<12}", *(f"{each:8.2f}" for each in least))


if __name__ == "__main__":
    main()
