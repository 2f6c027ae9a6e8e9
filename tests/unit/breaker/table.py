"""Reads the table of behaviours, and plays its cases on a breaker."""

from itertools import count
from pathlib import Path
from typing import NamedTuple

from podium.v1 import events_pb2, policy_pb2
from service.domain.breaker import ANY_NUMBER, Breaker
from service.domain.breaker_settings import settings_of

FILE = Path(__file__).with_name("behaviours.txt")
EPOCH_US = 1_700_000_000_000_000
STATES = {name.removeprefix("BREAKER_STATE_").lower(): number for name, number in events_pb2.BreakerState.items()}


class Case(NamedTuple):
    """A behaviour by name, and the lines that show it."""

    name: str
    lines: tuple[str, ...]

    @property
    def rule(self):
        """The settings it begins with, as they are written."""
        return self.lines[0].removeprefix("rule").strip()


def cases():
    found = []
    for line in FILE.read_text().splitlines():
        if line.startswith("case: "):
            found.append((line.removeprefix("case: "), []))
        elif line.strip() and not line.startswith("#"):
            found[-1][1].append(line.strip())
    return [Case(name, tuple(lines)) for name, lines in found]


def rule_of(words):
    """A rule from its settings as they are written."""
    rule = policy_pb2.BreakerRule(id="table")
    for word in words:
        name, _, value = word.partition("=")
        part, _, field = name.rpartition(".")
        message = rule.window if part else rule
        descriptor = message.DESCRIPTOR.fields_by_name[field]
        if descriptor.is_repeated:
            getattr(message, field).extend(value.split(","))
        else:
            is_float = descriptor.cpp_type == descriptor.CPPTYPE_DOUBLE
            setattr(message, field, float(value) if is_float else int(value))
    return rule


class Play:
    """A breaker on which a case is played."""

    def __init__(self, breaker_type=Breaker):
        self._type = breaker_type
        self._breaker = None
        self._now_us = EPOCH_US
        self._reason = "-"
        self._numbers = count()

    def play(self, line):
        word, *rest = line.split()
        getattr(self, {"=>": "_is"}.get(word, f"_{word}"))(*rest)

    def _moved(self, transition):
        if transition is not None:
            assert transition.to_state == self._breaker.state
            self._reason = transition.reason

    def _rule(self, *words):
        settings = settings_of(rule_of(words))
        if self._breaker is None:
            self._breaker = self._type(settings)
        else:
            self._moved(self._breaker.adopt(settings, self._now_us))

    def _at(self, seconds):
        self._now_us = EPOCH_US + round(float(seconds) * 1_000_000)

    def _ask(self, expected):
        self._moved(self._breaker.pass_time(self._now_us))
        room = self._breaker.room(self._now_us)
        assert room == (ANY_NUMBER if expected == "any" else int(expected))

    def _bound(self, expected_ms):
        assert self._breaker.timeout_us == int(expected_ms) * 1_000

    def _start(self, *keys):
        for key in keys:
            assert self._breaker.room(self._now_us) > 0
            self._moved(self._breaker.start(key, 1, self._now_us))

    def _end(self, key, reason):
        self._moved(self._breaker.end(key, 1, reason, self._now_us))

    def _ok(self, *keys):
        for key in keys:
            self._end(key, "")

    def _fail(self, key, reason):
        self._end(key, reason)

    def _drop(self, *keys):
        for key in keys:
            self._end(key, None)

    def _calls(self, outcomes):
        for outcome in outcomes:
            key = f"call-{next(self._numbers)}"
            self._start(key)
            self._end(key, "TOOL_ERROR" if outcome == "x" else "")

    def _figures(self, *words):
        figures = self._breaker.figures(self._now_us)
        for word in words:
            name, value = word.split("=")
            assert getattr(figures, name) == int(value), name

    def _operated(self, state, reason):
        transition = self._breaker.operated(state, reason, self._now_us)
        message = events_pb2.BreakerTransitioned(to_state=state, reason=reason)
        self._breaker.restore(message, self._now_us)
        self._moved(transition)

    def _open(self):
        self._operated(STATES["forced_open"], "SET_BY_OPERATOR")

    def _close(self):
        self._operated(self._breaker.settings.initial, "SET_BY_OPERATOR")

    def _reset(self):
        self._operated(self._breaker.settings.initial, "RESET_BY_OPERATOR")

    def _is(self, state, reason):
        assert (self._breaker.state, self._reason) == (STATES[state], reason)
        self._reason = "-"


def table_text():
    """The table as it is in the documentation."""
    lines = ["| behaviour | settings it is shown with |", "|---|---|"]
    for case in cases():
        settings = " ".join(f"`{setting}`" for setting in case.rule.split()) or "none"
        lines.append(f"| {case.name} | {settings} |")
    return "\n".join(lines)
