"""Trace contexts as the W3C recommendation has them, and ids that follow from what a span is of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.trace_context import SpanContext, attempt_traceparent, parse_traceparent, span_id, trace_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"00-{TRACE}-{PARENT}-01", SpanContext(TRACE, PARENT, True)),
        (f"00-{TRACE}-{PARENT}-00", SpanContext(TRACE, PARENT, False)),
        (f"00-{TRACE}-{PARENT}-03", SpanContext(TRACE, PARENT, True)),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be", SpanContext(TRACE, PARENT, True)),
    ],
)
def test_a_traceparent_is_read(text, found):
    assert parse_traceparent(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01-more",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-0x",
        f"00-{TRACE}-{PARENT}-01\n",
        f"cc-{TRACE}-{PARENT}-01-{'x' * 256}",
    ],
)
def test_what_is_no_traceparent_is_none(text):
    assert parse_traceparent(text) is None


@given(st.text(max_size=80))
def test_no_text_is_read_as_something_that_cannot_be_written(text):
    found = parse_traceparent(text)
    assert found is None or parse_traceparent(found.traceparent) == found


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.booleans())
def test_what_is_written_is_read(trace, span, sampled):
    context = SpanContext(trace.hex(), span.hex(), sampled)
    assert parse_traceparent(context.traceparent) == (context if any(trace) and any(span) else None)


def test_ids_differ_by_everything_that_they_are_of():
    names = [("t", "wf"), ("t2", "wf"), ("t", "wf2"), ("t", "wf", "a"), ("t", "wf", "a", 1), ("t", "wf", "a", 2)]
    names += [("t", "wf", "a1"), ("t", "wf", "", 1)]
    assert len({span_id(*name) for name in names}) == len(names)


def test_the_caller_s_trace_goes_on_and_the_caller_has_decided_on_it():
    for sampled in (False, True):
        caller = SpanContext(TRACE, PARENT, sampled)
        trace = trace_of("t", "wf", caller.traceparent, ratio=0.0 if sampled else 1.0)
        assert trace == (TRACE, PARENT, sampled)
        given_to_tool = parse_traceparent(attempt_traceparent(trace, "t", "wf", "a", 1))
        assert given_to_tool == (TRACE, span_id("t", "wf", "a", 1), sampled)


def test_the_part_of_the_traces_that_is_asked_for_is_sampled():
    for ratio, low, high in ((0.0, 0, 0), (0.25, 400, 600), (1.0, 2_000, 2_000)):
        assert low <= sum(trace_of("t", f"wf_{n}", "", ratio).sampled for n in range(2_000)) <= high
    # A restart, or another replica, decides the same.
    assert trace_of("t", "wf_1", "", 0.25) == trace_of("t", "wf_1", "", 0.25)
