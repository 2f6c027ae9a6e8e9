"""Tells a Ctrl-C from a KeyboardInterrupt that a tool raised: the one ends the executor, the other an attempt.

Python raises the first wherever the main thread happens to be, and that may be in a tool.
"""

from __future__ import annotations

import functools
import opcode
import signal
import threading
from types import CodeType, TracebackType


class Interrupted(Exception):
    """A KeyboardInterrupt that a tool raised, in a form that ends no loop when it is heard of there."""


# It is told under the name by which it was raised.
Interrupted.__name__ = KeyboardInterrupt.__name__


def of_tool(error: KeyboardInterrupt) -> Interrupted:
    """Returns what stands for a KeyboardInterrupt that is known to be a tool's."""
    interrupted = Interrupted(*error.args)
    interrupted.__cause__ = error
    return interrupted


def by_signal(error: BaseException) -> bool:
    """Whether a Ctrl-C raised it, in the thread that asks. One that nobody can tell from a Ctrl-C counts as one."""
    if not isinstance(error, KeyboardInterrupt) or threading.current_thread() is not threading.main_thread():
        return False
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        return False
    frames = _frames(error.__traceback__)
    if (code := _code_of(handler)) is not None:
        return any(each.tb_frame.f_code is code for each in frames)
    # Python's own handler has no frame: it raises between two instructions, or in a call, and never where `raise` is.
    return not (frames and _raises(frames[-1]))


def _frames(trace: TracebackType | None) -> list[TracebackType]:
    frames = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    return frames


def _code_of(handler: object) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    for each in (handler, type(handler).__call__):
        if isinstance(code := getattr(each, "__code__", None), CodeType):
            return code
    return None


def _raises(place: TracebackType) -> bool:
    instruction = place.tb_frame.f_code.co_code[place.tb_lasti]
    return opcode.opname[instruction] == "RAISE_VARARGS"
