"""The benchmark that every change passes says no when it should."""

import pytest

from tests.benchmarks.smoke import ROW, STATED_IN, NotStatedError, problem_of, stated_ratio


def test_the_document_states_a_ratio():
    assert 0 < stated_ratio(STATED_IN.read_text()) < 1


def test_the_number_of_its_row_is_read():
    text = f"# Performance\n\n| what | budget | held by |\n|---|---|---|\n| other | 7 | x |\n| {ROW} | 0.25 | y |\n"
    assert stated_ratio(text) == 0.25


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{ROW} 0.25",
        f"| {ROW} | a quarter | y |",
        f"| {ROW} | 0 | y |",
        f"| {ROW} | nan | y |",
        f"| {ROW} | 0.25 | y |\n| {ROW} | 0.3 | y |",
    ],
)
def test_a_ratio_that_is_not_stated_once_as_a_number_is_an_error(text):
    with pytest.raises(NotStatedError):
        stated_ratio(text)


@pytest.mark.parametrize("ratio", [0.121, 0.2, 0.4])
def test_what_has_fallen_by_less_than_two_fifths_passes(ratio):
    assert problem_of(ratio, 0.2) == ""


@pytest.mark.parametrize("ratio", [0.119, 0.01, 0])
def test_what_has_fallen_further_is_told_with_both_numbers(ratio):
    problem = problem_of(ratio, 0.2)
    assert f"{ratio:.3f}" in problem
    assert "states 0.2" in problem
