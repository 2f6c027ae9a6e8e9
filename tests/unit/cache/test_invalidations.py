"""What invalidations speak of, in the log's order, and the bound on those for given arguments."""

import asyncio

from podium.v1 import events_pb2
from service.engine import cache_invalidations
from service.engine.cache_failures import WINDOW_US, CacheFailures
from service.engine.cache_invalidations import CacheInvalidations
from tests.unit.cache.remote import KeptJournal


def invalidated(tool="", digest=b""):
    return events_pb2.CacheInvalidated(tool=tool, arguments_digest=digest)


def test_the_last_that_speaks_of_a_call_counts():
    book = CacheInvalidations()
    assert book.generation_of("acme", "quote", b"a") == 0
    book.fold("acme", invalidated("quote", b"a"), 3)
    book.fold("acme", invalidated("other"), 4)
    assert [book.generation_of("acme", "quote", digest) for digest in (b"a", b"b")] == [3, 0]
    book.fold("acme", invalidated("quote"), 5)
    assert [book.generation_of("acme", "quote", digest) for digest in (b"a", b"b")] == [5, 5]
    book.fold("acme", invalidated("quote", b"b"), 6)
    book.fold("acme", invalidated(), 7)
    assert [book.generation_of("acme", tool, b"b") for tool in ("quote", "other", "any")] == [7, 7, 7]
    assert book.generation_of("other", "quote", b"a") == 0


def test_over_the_bound_the_oldest_speaks_of_its_whole_tool(monkeypatch):
    monkeypatch.setattr(cache_invalidations, "EXACT_MAX", 2)
    book = CacheInvalidations()
    for position, digest in enumerate((b"a", b"b", b"c"), start=1):
        book.fold("acme", invalidated("quote", digest), position)
    assert [book.generation_of("acme", "quote", digest) for digest in (b"a", b"b", b"c", b"d")] == [1, 2, 3, 1]


class Clock:
    """A time that a test sets."""

    def __init__(self):
        self.at_us = 1_000_000

    def now_us(self):
        return self.at_us


class FailingJournal(KeptJournal):
    """Takes nothing while it fails."""

    def __init__(self):
        super().__init__()
        self.fails = True

    def submit(self, tenant, stream_id, payload):
        if not self.fails:
            return super().submit(tenant, stream_id, payload)
        done = asyncio.get_running_loop().create_future()
        done.set_exception(OSError("the disk is full"))
        return done


async def test_the_first_failure_is_recorded_at_once_and_the_others_once_a_window():
    journal, clock = KeptJournal(), Clock()
    failures = CacheFailures(journal, clock)
    for number in range(5):
        clock.at_us += number
        failures.note("acme", "READ", f"problem {number}")
    failures.note("other", "READ", "theirs")
    failures.note("acme", "WRITE", "another")
    assert [(tenant, event.operation, event.count) for tenant, _, event in journal.recorded] == [
        ("acme", "READ", 1),
        ("other", "READ", 1),
        ("acme", "WRITE", 1),
    ]
    await failures.flush()
    [(_, _, event)] = journal.recorded[3:]
    assert (event.count, event.problem, event.first_at_us) == (4, "problem 4", 1_000_001)
    assert WINDOW_US == 60_000_000


async def test_failures_that_could_not_be_recorded_are_counted_with_those_that_follow():
    journal = FailingJournal()
    failures = CacheFailures(journal, Clock())
    failures.note("acme", "READ", "first")
    await failures.flush()
    journal.fails = False
    failures.note("acme", "READ", "second")
    await failures.flush()
    assert [event.count for _, _, event in journal.recorded] == [2]
