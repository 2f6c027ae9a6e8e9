"""Text for a terminal."""

import pytest

from service.cli import terminal_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä → ✓", "plain ä → ✓"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("a\rb\x08c\x07", "a bc"),
        ("\x9b2J", "2J"),
        ("a\tb", "a    b"),
        ("left\u202eright", "leftright"),
        ("a\nb", "a b"),
    ],
)
def test_no_control_character_is_printed(text, shown):
    assert terminal_text.printable(text) == shown


def test_lines_stay_where_they_are_wanted():
    assert terminal_text.printable("a\n\x1bb", lines=True) == "a\nb"


def test_a_line_is_cut_to_its_length():
    assert terminal_text.one_line("one  two\nthree", 9) == "one two…"
    assert terminal_text.one_line("one two", 7) == "one two"
    assert len(terminal_text.one_line("word " * 1_000_000, 80)) <= 80


def test_the_last_line_is_the_newest_that_says_something():
    assert terminal_text.last_line("first\nsecond\n \n") == "second"
    assert terminal_text.last_line("") == ""


@pytest.mark.parametrize(
    ("microseconds", "shown"),
    [
        (-5, "0.00 s"),
        (840_000, "0.84 s"),
        (12_340_000, "12.3 s"),
        (185_000_000, "3 min 05 s"),
        (7_800_000_000, "2 h 10 min"),
    ],
)
def test_a_duration_has_the_digits_that_matter(microseconds, shown):
    assert terminal_text.duration(microseconds) == shown


def test_one_is_no_plural():
    assert [terminal_text.counted(n, "step") for n in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]
