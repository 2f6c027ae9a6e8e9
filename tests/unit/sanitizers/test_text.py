"""Plain text: normalised, and without what a person does not see."""

import re

import pytest

from podium.sanitizers import Rejected, SpecificationRefused, compile_sanitizer
from podium.sanitizers.patterns import Pattern

ATTACKS = {
    "a\0b": "CONTROL_CHARACTER",
    "\x1b]0;title\x07": "CONTROL_CHARACTER",
    "\x1b[2J": "CONTROL_CHARACTER",
    "a\x08b": "CONTROL_CHARACTER",
    "a\x9b31m": "CONTROL_CHARACTER",
    "a\x7f": "CONTROL_CHARACTER",
    "a\uffff": "CONTROL_CHARACTER",
    "a\ufff9b\ufffac\ufffb": "CONTROL_CHARACTER",
    "access = 'user\u202e \u2066// check\u2069'": "DIRECTION_OVERRIDE",
    "\u202atext\u202c": "DIRECTION_OVERRIDE",
    "hello\U000e0069\U000e0067\U000e006e": "INVISIBLE_TEXT",
    "\U000e0001x": "INVISIBLE_TEXT",
    "x\U000e0100\U000e0110\U000e0120": "INVISIBLE_TEXT",
    "pass\u200bword": "INVISIBLE_TEXT",
    "pass\u00adword": "INVISIBLE_TEXT",
    "\ufeffx": "INVISIBLE_TEXT",
    "א\u200b\u200cב": "INVISIBLE_TEXT",
    "می\u200c\u200cگویم": "INVISIBLE_TEXT",
    "a\u2060\u2062\u2063b": "INVISIBLE_TEXT",
    "a\ufe0f\ufe01\ufe0eb": "INVISIBLE_TEXT",
    "😀\ufe01": "INVISIBLE_TEXT",
    "😀\ufe0f\ufe0f": "INVISIBLE_TEXT",
    "葛\U000e0100\U000e0101": "INVISIBLE_TEXT",
    "1\ufe0f": "INVISIBLE_TEXT",
    "\u3164": "INVISIBLE_TEXT",
    "a\uffa0\u115fb": "INVISIBLE_TEXT",
    "\U0001d173x\U0001d17a": "INVISIBLE_TEXT",
    "\U000e0fff": "INVISIBLE_TEXT",
    "x\u061cy": "INVISIBLE_TEXT",
    "עברית\u200f\u200e": "INVISIBLE_TEXT",
    "\u206a\u206f": "INVISIBLE_TEXT",
    "\u200d": "INVISIBLE_TEXT",
    "a\ud800": "NOT_UNICODE",
    "x" * 65_537: "TOO_LONG",
}
HARMLESS = [
    "",
    "plain\twith\nlines\r\n\x0cand pages",
    "<b>'; DROP TABLE users; --</b> ${steps.a} ../",
    "עברית \u200fعربي \u061c",
    "日本語 \u3000 한국어",
    "👩\u200d👩\u200d👧 ❤\ufe0f 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "葛\U000e0100",
    "می\u200cگویم क्\u200dष ភាសា\u200bខ្មែរ",
    "👩🏽\u200d🚀 ❤\ufe0f\u200d🔥 🏳\ufe0f\u200d🌈 👨\u200d⚕\ufe0f 1\ufe0f\u20e3 ‼\ufe0f \u2139\ufe0f ☺\ufe0e",
    "ᠮᠣᠩᠭᠣᠯ\u180b ᠠ",
]


def refusal(sanitizer, value):
    try:
        sanitizer.check(value)
    except Rejected as rejected:
        return rejected.reason
    return None


def test_each_attack_is_refused_with_its_reason():
    text = compile_sanitizer("text", {})
    assert {attack: refusal(text, attack) for attack in ATTACKS} == ATTACKS


def test_ordinary_text_of_many_scripts_is_let_through_unchanged():
    text = compile_sanitizer("text", {})
    assert [text.check(each) for each in HARMLESS] == HARMLESS


class Naive:
    """Drops what is below the space."""

    def check(self, value):
        if any(each < " " and each not in "\t\n\r\x0c" for each in value):
            raise Rejected("text", "CONTROL_CHARACTER", "holds a control character")


def test_a_naive_check_lets_many_of_the_attacks_through():
    assert sum(refusal(Naive(), attack) is None for attack in ATTACKS) > len(ATTACKS) / 2


def test_text_comes_out_in_the_form_that_was_asked_for():
    assert compile_sanitizer("text", {}).check("e\u0301") == "é"
    assert compile_sanitizer("text", {"normalize": "NFKC"}).check("ﬁ") == "fi"
    assert compile_sanitizer("text", {"normalize": "none"}).check("e\u0301") == "e\u0301"


def test_a_form_that_grows_beyond_the_limit_is_refused():
    text = compile_sanitizer("text", {"normalize": "NFKC", "max_length": 10})
    assert refusal(text, "\ufdfa") == "TOO_LONG"


@pytest.mark.parametrize("separator", ["\n", "\r", "\u2028", "\u2029", "\x85", "\x0c"])
def test_a_single_line_holds_no_break_of_any_kind(separator):
    assert refusal(compile_sanitizer("text", {"lines": False}), f"a{separator}b") == "LINE_BREAK"
    assert refusal(compile_sanitizer("text", {"lines": False}), "a\tb") is None


def test_the_operator_s_patterns_apply_at_once_and_are_named_without_the_text():
    patterns = {}
    text = compile_sanitizer("text", {}, patterns=patterns)
    card = "card 4111 1111 1111 1111"
    assert text.check(card) == card
    patterns["card"] = Pattern(r"\b(?:\d[ -]?){15}\d\b")
    with pytest.raises(Rejected) as raised:
        text.check(card)
    assert raised.value.reason == "CONTENT_PATTERN"
    assert "card" in raised.value.message
    assert "4111" not in str(raised.value)
    patterns.clear()
    patterns["other"] = re.compile("never")
    assert text.check(card) == card


def test_a_pattern_that_explodes_elsewhere_takes_linear_time_here():
    # The test's own time limit is the judge: a backtracking engine would take longer than the universe has been there.
    assert Pattern(r"^(a+)+$").search("a" * 60_000 + "b") is None


@pytest.mark.parametrize("expression", ["(?=a)", r"(a)\1", "(", "a" * 5000, "(?:a{1000}){1000}"])
def test_a_pattern_that_the_engine_cannot_bound_is_refused(expression):
    with pytest.raises(SpecificationRefused):
        Pattern(expression)
