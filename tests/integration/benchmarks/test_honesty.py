"""The benchmarks' figures count only with a log that holds what was measured. Each check is shown to fail."""

import shutil
import sqlite3
from dataclasses import replace

import pytest

from store.contract import CorruptLogError
from tests.benchmarks.honesty import DishonestRunError, check_log, check_round, recorded
from tests.benchmarks.rig import database, deployed


@pytest.fixture(scope="module")
def measured():
    """The database of a run that has ended, where its one round began in the log, and what it found."""
    with database("sqlite") as on:
        with deployed(on) as rig:
            rig.load("a", quick=True)
            position = recorded(on.url).last_position
            cpu, flushes = rig.cpu(), rig.flushes()
            found = rig.load("a", quick=True)
            cpu = rig.cpu() - cpu
            flushes = None if flushes is None else rig.flushes() - flushes
        yield on, position, found, flushes, cpu


@pytest.fixture
def doctored(measured, tmp_path):
    """Makes a copy of the log in which an SQL statement has changed something behind the service's back."""
    on, _, _, _, _ = measured

    def doctor(statement):
        copy = tmp_path / "copy"
        shutil.copytree(on.folder, copy)
        connection = sqlite3.connect(copy / "podium.db")
        with connection:
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
                connection.execute(f'DROP TRIGGER "{name}"')
            assert connection.execute(statement).rowcount == 1
        connection.close()
        return replace(on, url=f"sqlite:///{copy}/podium.db", folder=copy)

    return doctor


def test_a_round_that_did_its_work_is_believed(measured):
    on, position, found, flushes, cpu = measured
    log = recorded(on.url, position)
    check_round(log, found, flushes)
    assert log.types.total() == 3 * found.steps + 3 * found.workflows
    assert check_log(on) == log.last_position
    assert min(cpu.service_s, cpu.executor_s) > 0


@pytest.mark.parametrize("claim", [{"steps": 501}, {"steps": 499}, {"workflows": 51}, {"workflows": 49}])
def test_a_claim_that_the_log_does_not_hold_is_refused(measured, claim):
    on, position, found, flushes, _ = measured
    with pytest.raises(DishonestRunError, match="instead of"):
        check_round(recorded(on.url, position), replace(found, **claim), flushes)


def test_more_group_commits_than_flushes_are_refused(measured):
    on, position, found, _, _ = measured
    log = recorded(on.url, position)
    assert log.commits > 1
    with pytest.raises(DishonestRunError, match="flushes of the disk"):
        check_round(log, found, log.commits - 1)


def test_work_of_others_in_the_round_is_refused(measured):
    on, _, found, flushes, _ = measured
    everything = recorded(on.url)
    with pytest.raises(DishonestRunError, match="tool_registered"):
        check_round(everything, found, flushes)


def test_an_event_that_was_taken_away_is_missed(doctored):
    on = doctored("DELETE FROM events WHERE position = 700")
    with pytest.raises(CorruptLogError, match="position 700"):
        recorded(on.url)
    with pytest.raises(DishonestRunError):
        check_log(on)


def test_an_event_that_was_made_another_is_found(doctored):
    on = doctored("UPDATE events SET record = (SELECT record FROM events WHERE position = 701) WHERE position = 700")
    with pytest.raises(CorruptLogError, match="position 700"):
        recorded(on.url)
    with pytest.raises(DishonestRunError):
        check_log(on)
