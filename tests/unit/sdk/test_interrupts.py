"""A KeyboardInterrupt that a tool raised is told from a Ctrl-C, whatever handles the signal."""

import asyncio
import contextlib
import functools
import signal
import threading

import pytest

from podium.failures import failure_of
from podium.interrupts import by_signal, of_tool


def raised(function):
    try:
        function()
    except KeyboardInterrupt as error:
        return error
    raise AssertionError


def by_a_tool():
    raise KeyboardInterrupt("x")


def again():
    try:
        by_a_tool()
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt from error


def pressed():
    signal.raise_signal(signal.SIGINT)


def pressed_and_passed_on():
    cleaned = []
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        cleaned.append(True)
        raise


def pressed_below():
    with contextlib.suppress(ValueError):
        sorted("a", key=lambda _: pressed())


def raises_it(number, frame, **_):
    raise KeyboardInterrupt


def calls_pythons_own(number, frame):
    signal.default_int_handler(number, frame)


class Handler:
    def __call__(self, number, frame):
        raise KeyboardInterrupt

    def method(self, number, frame):
        raise KeyboardInterrupt


HANDLERS = [
    signal.default_int_handler,
    raises_it,
    calls_pythons_own,
    functools.partial(functools.partial(raises_it, a=1), b=2),
    Handler(),
    Handler().method,
]


@pytest.fixture(params=HANDLERS, ids=["pythons_own", "raises", "calls_pythons_own", "partial", "object", "method"])
def handled(request):
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("how", [pressed, pressed_and_passed_on, pressed_below])
def test_a_ctrl_c_is_one_whoever_handles_it(how):
    assert by_signal(raised(how))


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("how", [by_a_tool, again])
def test_what_a_tool_raised_is_none(how):
    assert not by_signal(raised(how))


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_where_nobody_handles_it_there_is_none(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        assert not by_signal(raised(by_a_tool))
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_there_is_none():
    interrupt = raised(pressed)
    told = []
    thread = threading.Thread(target=lambda: told.append(by_signal(interrupt)))
    thread.start()
    thread.join()
    assert told == [False]
    assert by_signal(interrupt)


def test_anything_else_is_none():
    assert not by_signal(SystemExit())
    assert not by_signal(asyncio.CancelledError())


def test_one_that_cannot_be_told_from_a_ctrl_c_counts_as_one():
    assert by_signal(KeyboardInterrupt())


def test_what_stands_for_one_is_told_by_its_name():
    interrupt = raised(by_a_tool)
    assert failure_of(of_tool(interrupt)) == failure_of(interrupt)
    assert failure_of(interrupt).message == "KeyboardInterrupt: x"
