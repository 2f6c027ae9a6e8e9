"""Waits until a service has done what it does by itself, after a start for example. Nothing tells when that is."""

import time

from tests.benchmarks.rig import cpu_s

LOOK_EVERY_S = 1.0
QUIET_CPU_S = 0.05
"""A service that used no more than this since the last look has nothing to do but its regular rounds."""
QUIET_WITHIN_S = 300


def until_quiet(pid):
    """Wait until a process uses next to no CPU. Raises TimeoutError."""
    give_up_at = time.monotonic() + QUIET_WITHIN_S
    before = cpu_s(pid)
    while True:
        time.sleep(LOOK_EVERY_S)
        now = cpu_s(pid)
        if now - before <= QUIET_CPU_S:
            return
        before = now
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"process {pid} is still at work after {QUIET_WITHIN_S} s")
