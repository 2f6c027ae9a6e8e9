"""The fault table, small: every row finds nothing, and its negative control is caught."""

import pytest

from tests.faults import table, table_text
from tests.faults.row import Row, Violation

GOOD = Row("one", 7, 100, 100, (), control_found=True)


@pytest.mark.timeout(420)
async def test_every_row_meets_its_target_without_a_violation_and_catches_what_is_broken_on_purpose():
    """In one test, so that the rows run side by side: those of one file would wait for each other."""
    results = await table.run_all(table.ROWS, "make", 1)
    assert [row.name for row, _ in results] == list(table.ROWS)
    assert all(row.is_good for row, _ in results), table_text.verdict(results, "make")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (Row("one", 7, 99, 100, (), control_found=True), "MISSED  one: 99 of 100 cases"),
        (Row("one", 7, 100, 100, (), control_found=False), "BLIND   one: what was broken on purpose was not found"),
        (Row("one", 7, 100, 100, (Violation("lost"),), control_found=True), "FAILED  one: lost"),
    ],
)
def test_a_row_that_is_not_good_says_what_is_wrong(row, complaint):
    assert not row.is_good
    assert complaint in table_text.verdict([(row, 1.0)], "faults")


def test_a_violation_comes_with_the_command_that_shows_it_again():
    row = Row("one", 7, 1, 1, (Violation("lost"), Violation("doubled", "python -m other 12")), control_found=True)
    told = table_text.verdict([(row, 1.0)], "faults")
    assert "again: python -m tests.faults.table --only one --scale faults --seed 7\n" in told
    assert "again: python -m other 12\n" in told


def test_rounds_add_up_and_a_control_that_was_missed_once_stays_missed():
    blind = Row("one", 8, 50, 50, (Violation("lost"),), control_found=False)
    [(both, seconds)] = table_text.cumulated([(blind, 1.0)], [(GOOD, 2.0)])
    assert (both.cases, both.target, len(both.violations), both.control_found) == (150, 150, 1, False)
    assert seconds == 3.0
    assert table_text.cumulated([], [(GOOD, 2.0)]) == [(GOOD, 2.0)]


def test_the_table_takes_its_place_in_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table_text.BEGIN}\nold\n{table_text.END}\nafter\n")
    text = table_text.markdown([(GOOD, 61.0)])
    table_text.replace_table(page, text)
    assert page.read_text() == f"before\n{table_text.BEGIN}\n{text}{table_text.END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="needs the lines"):
        table_text.replace_table(page, text)
