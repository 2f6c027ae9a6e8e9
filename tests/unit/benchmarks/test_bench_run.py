"""`python -m tests.benchmarks`: what it refuses, and what becomes of a measure that fails."""

import pytest

from tests.benchmarks.__main__ import ALONE, main, run
from tests.benchmarks.measurement import Options, Report


@pytest.mark.parametrize(
    ("words", "problem"), [(["--only", "a,x"], "--only x is no measure"), (["--rounds", "0"], "1")]
)
def test_what_makes_no_sense_is_refused_before_anything_starts(words, problem, capsys):
    with pytest.raises(SystemExit) as exited:
        main(words)
    assert exited.value.code == 2
    assert problem in capsys.readouterr().err


def test_a_measure_that_fails_is_told_and_fails_the_run(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(ALONE, "z", "tests.benchmarks.that_is_not_there")
    assert run(Options(), ["z"], Report(path=tmp_path / "results.jsonl")) == 1
    assert "z: could not be measured: ModuleNotFoundError" in capsys.readouterr().err
