"""A log with 100,000 open workflows, for what a start and the memory of a service cost with them."""

import time

from tests.benchmarks.bulk_log import Bulk, History, write_log
from tests.benchmarks.histories import open_history

OPEN = 100_000
PARKED_OF_A_HUNDRED = 99
DAY_US = 86_400 * 10**6
FAR_FUTURE_US = 2**62
"""The wake-up time of a parked workflow that only a message can move."""


def write_mostly_parked(on, workflows=OPEN):
    """A hundredth runs a step; of the others, all parked, half wait for tomorrow and half for a message."""
    recorded = open_history()
    idle, at_work = History(recorded), History(recorded[:-1])
    tomorrow_us = time.time_ns() // 1000 + DAY_US
    parked = workflows * PARKED_OF_A_HUNDRED // 100
    bulks = [
        Bulk(at_work, workflows - parked, is_open=True),
        Bulk(idle, parked // 2, is_open=True, wake_at_us=tomorrow_us),
        Bulk(idle, parked - parked // 2, is_open=True, wake_at_us=FAR_FUTURE_US),
    ]
    return write_log(on, bulks)


def write_unparked(on, workflows=OPEN):
    """All are idle, and none is parked yet: a start takes all of them into memory."""
    return write_log(on, [Bulk(History(open_history()), workflows, is_open=True)])
