"""Every behaviour of the table holds; it has every setting and every transition, and finds broken breakers."""

import pytest

from podium.v1 import policy_pb2
from service.domain.breaker import Breaker
from tests.architecture.checkout import ROOT
from tests.unit.breaker.table import Play, cases, table_text

REASONS = {
    "FAILURES_IN_A_ROW",
    "FAILURE_RATE",
    "SLOW_CALL_RATE",
    "RECOVERY_TIMEOUT",
    "SUCCESSES_IN_A_ROW",
    "RATES_RECOVERED",
    "HALF_OPEN_FAILURE",
    "HALF_OPEN_TIMEOUT",
    "SET_BY_OPERATOR",
    "RESET_BY_OPERATOR",
    "POLICY_CHANGED",
}


def play(case, breaker_type=Breaker):
    stage = Play(breaker_type)
    for line in case.lines:
        stage.play(line)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_breaker_behaves_as_the_table_says(case):
    play(case)


def test_the_table_names_every_setting_of_a_rule_and_every_reason():
    text = " ".join(line for case in cases() for line in case.lines)
    not_of_the_domain = {"id", "tools", "when_open", "window"}
    settings = set(policy_pb2.BreakerRule.DESCRIPTOR.fields_by_name) - not_of_the_domain
    windows = {f"window.{name}" for name in policy_pb2.BreakerWindow.DESCRIPTOR.fields_by_name}
    assert {name for name in settings | windows if f" {name}=" not in f" {text}"} == set()
    assert {reason for reason in REASONS if reason not in text} == set()


class CountsEverything(Breaker):
    """Permits of any phase count."""

    def _note(self, key, started):
        super()._note(key, started)
        self._under_way[key] = started._replace(phase=self.phase)

    def recount(self, key, attempt, reason, now_us):
        if key in self._under_way:
            self._under_way[key] = self._under_way[key]._replace(phase=self.phase)
        return super().recount(key, attempt, reason, now_us)


class KeepsPermits(Breaker):
    """What counts nothing keeps its permit."""

    def recount(self, key, attempt, reason, now_us):
        taken = self.permits_taken
        counted = super().recount(key, attempt, reason, now_us)
        if not counted:
            self.permits_taken = taken
        return counted


class LetsACrowdThrough(Breaker):
    """Half-open has no bound."""

    def room(self, now_us):
        room = super().room(now_us)
        return 1_000 if self.state == 3 else room


class NeverGrows(Breaker):
    """It opens from half-open as if from closed."""

    def _open(self, reason, now_us, since_us=0):
        transition = super()._open(reason, now_us, since_us)
        self.open_until_us = (since_us or now_us) + self.settings.recovery_us
        return transition


@pytest.mark.parametrize("broken", [CountsEverything, KeepsPermits, LetsACrowdThrough, NeverGrows])
def test_the_table_finds_a_breaker_that_is_broken(broken):
    found = 0
    for case in cases():
        try:
            play(case, broken)
        except AssertionError:
            found += 1
    assert found


def test_the_documentation_has_the_table():
    assert table_text() in (ROOT / "docs" / "breakers.md").read_text()
