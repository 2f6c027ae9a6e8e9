"""A sketch of latencies against the latencies themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.projections.sketch import BUCKETS_MAX, LONGEST_US, Sketch
from tests.integration.rig.tool_recount import exact_percentile

TIMES = st.integers(0, 5_000_000) | st.integers(0, LONGEST_US)
PERCENTS = (1, 50, 90, 99, 100)


def sketch_of(values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


def is_within_a_percent(sketch, values):
    told = sketch.percentiles(PERCENTS)
    exact = [exact_percentile(values, percent) for percent in PERCENTS]
    return all(abs(a - b) <= 0.0100001 * b for a, b in zip(told, exact, strict=True))


@given(st.lists(TIMES, min_size=1))
def test_every_percentile_is_within_a_percent_of_the_exact_one(values):
    assert is_within_a_percent(sketch_of(values), values)


def test_a_sketch_that_lost_a_value_is_noticed():
    values = [1_000, 2_000, 4_000]
    assert not is_within_a_percent(sketch_of(values[1:]), values)


@given(st.lists(st.lists(TIMES), max_size=5))
def test_sketches_that_are_merged_are_the_sketch_of_all(parts):
    merged = Sketch()
    for part in parts:
        merged.merge(Sketch.from_numbers(sketch_of(part).numbers()))
    whole = sketch_of([value for part in parts for value in part])
    assert (merged.numbers(), merged.count) == (whole.numbers(), whole.count)


def test_count_mean_and_longest_are_exact():
    sketch = sketch_of([1, 2, 6])
    assert (sketch.count, sketch.mean_us, sketch.longest_us) == (3, 3.0, 6)


def test_an_empty_sketch_tells_nothing():
    assert Sketch().percentiles(PERCENTS) == [0.0] * 5
    assert (Sketch().mean_us, Sketch().numbers()) == (0.0, [])


@pytest.mark.parametrize(("value", "counted"), [(-5, 0), (LONGEST_US * 9, LONGEST_US)])
def test_what_is_out_of_bounds_is_counted_at_the_bound(value, counted):
    assert sketch_of([value]).numbers() == sketch_of([counted]).numbers()


def test_the_buckets_are_bounded():
    assert max(sketch_of([LONGEST_US]).buckets) - min(sketch_of([0]).buckets) < BUCKETS_MAX < 1500
