"""The machine's time and chance."""

import time
from concurrent.futures import ThreadPoolExecutor

from service.clock import SystemClock, SystemRandomness


def test_the_time_is_in_microseconds_since_the_epoch():
    before = time.time_ns() // 1000
    now = SystemClock().now_us()
    assert before <= now <= time.time_ns() // 1000


def test_durations_never_go_back():
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(1000)]
    assert readings == sorted(readings)


def test_what_the_thread_computes_is_told_and_what_others_compute_is_not():
    clock = SystemClock()

    def compute():
        before = clock.worked_us()
        sum(range(2_000_000))
        return clock.worked_us() - before

    before = clock.worked_us()
    with ThreadPoolExecutor(1) as other:
        of_the_other = other.submit(compute).result()
    waited_us = clock.worked_us() - before
    assert of_the_other > waited_us
    assert compute() > waited_us


def test_tokens_are_lower_case_letters_and_digits_and_never_the_same():
    tokens = {SystemRandomness().token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(len(token) == 26 and token.isascii() and token.isalnum() and token == token.lower() for token in tokens)


def test_chances_lie_in_their_interval_and_spread():
    chances = [SystemRandomness().chance() for _ in range(1000)]
    assert all(0 <= chance < 1 for chance in chances)
    assert min(chances) < 0.1
    assert max(chances) > 0.9


def test_as_many_random_bytes_come_as_were_asked_for():
    randomness = SystemRandomness()
    assert len(randomness.bytes(32)) == 32
    assert randomness.bytes(32) != randomness.bytes(32)
