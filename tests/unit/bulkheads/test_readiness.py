"""Load, and when the service calls itself serving."""

import pytest

from podium.v1 import definition_pb2
from service.domain.errors import LimitExceeded
from service.domain.tool_health import ToolHealth
from service.engine.load import Load, MemoryFill
from service.readiness import Readiness


def test_it_stops_serving_only_when_full_for_a_while_and_begins_again_only_well_below():
    readiness = Readiness()
    seen = [(0.99, 0.0), (0.99, 0.9), (0.99, 1.1), (0.8, 1.2), (0.71, 9.0), (0.69, 9.1), (0.94, 9.2), (0.99, 9.3)]
    told = [readiness.look(load, at_s, owns_log=True) for load, at_s in seen]
    assert told == [True, True, False, False, False, True, True, True]


def test_it_does_not_serve_when_it_may_not_own_the_log():
    readiness = Readiness()
    assert [readiness.look(0.0, 1.0, owns_log=owns) for owns in (True, False, True)] == [True, False, True]


def test_a_moment_is_no_load():
    fills = iter([0.0, 1.0, 0.0, 0.0])
    load = Load([lambda: next(fills)], lambda: 0.0)
    assert max(load.look(0.1) for _ in range(4)) < 0.5


def test_one_late_look_is_no_load_and_what_lasts_is():
    load = Load([lambda: 1.0], lambda: 0.0)
    assert load.look(30.0) < 0.5
    levels = [load.look(30.0) for _ in range(20)]
    assert (levels == sorted(levels), levels[3] > 0.8, levels[-1]) == (True, True, 1.0)


@pytest.mark.parametrize(
    ("level", "refused"),
    [(0.49, []), (0.5, [1]), (0.79, [1]), (0.8, [0, 1, 2]), (0.99, [0, 1, 2]), (1.0, [0, 1, 2, 3])],
)
def test_who_is_refused_at_which_load(level, refused):
    load = Load([lambda: level], lambda: 0.5)
    for _ in range(20):
        load.look(3600.0)
    for priority in definition_pb2.Priority.values():
        if priority in refused:
            with pytest.raises(LimitExceeded, match="takes no more work") as caught:
                load.admit(priority)
            assert (caught.value.reason, caught.value.retry_after_ms) == ("OVERLOADED", 1500)
        else:
            load.admit(priority)


def test_memory_counts_as_load_only_when_most_of_it_is_used():
    assert [round(MemoryFill(100, lambda used=used: used)(), 2) for used in (0, 60, 80, 100)] == [0, 0, 0.5, 1]
    assert MemoryFill(0, lambda: 1 << 40)() == 0, "without a bound it is never full"


def test_answers_in_a_row_change_the_health_and_begin_anew_each_time():
    health = ToolHealth(definition_pb2.Probing(unhealthy_after=3, healthy_after=2))
    answers = [False, False, True, False, False, False, True, False, True, True, False]
    assert [health.answered(healthy=each) for each in answers] == [0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0]
