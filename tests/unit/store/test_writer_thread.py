"""The thread that writes: one call after the other, and what runs when there are none."""

import asyncio
import threading

import pytest

from store.writer_thread import WriterThread


async def test_calls_run_in_order_on_one_other_thread():
    thread = WriterThread("test", lambda: None, quiet_s=1)
    ran = []
    futures = [thread.run(lambda number=number: ran.append((number, threading.get_ident()))) for number in range(50)]
    await asyncio.gather(*futures)
    assert [number for number, _ in ran] == list(range(50))
    assert len({ident for _, ident in ran} - {threading.get_ident()}) == 1
    await thread.stop()


async def test_an_error_reaches_whoever_called():
    thread = WriterThread("test", lambda: None, quiet_s=1)
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 / 0)
    assert await thread.run(lambda: "still there") == "still there"
    await thread.stop()


async def test_a_call_runs_although_whoever_waits_is_cancelled():
    thread = WriterThread("test", lambda: None, quiet_s=1)
    go_on, ran = threading.Event(), []
    held = thread.run(go_on.wait)
    waiting = thread.run(lambda: ran.append("ran"))
    waiting.cancel()
    go_on.set()
    await held
    await thread.run(lambda: None)
    assert ran == ["ran"]
    await thread.stop()


async def test_quiet_is_told_once_after_work_and_never_without():
    quiet = threading.Semaphore(0)
    thread = WriterThread("test", quiet.release, quiet_s=0.001)
    for _ in range(2):
        await thread.run(lambda: None)
        await asyncio.to_thread(quiet.acquire)
    await thread.stop()
    assert not quiet.acquire(blocking=False)


async def test_stopping_lets_the_calls_that_wait_run():
    thread = WriterThread("test", lambda: None, quiet_s=1)
    ran = []
    for number in range(10):
        thread.post(lambda number=number: ran.append(number))
    await thread.stop()
    assert ran == list(range(10))
