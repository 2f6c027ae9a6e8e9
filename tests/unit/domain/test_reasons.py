"""What is a reason of a failure, and what is an executor's own text."""

import pytest

from service.domain.reasons import INVALID_REASON, is_reason


@pytest.mark.parametrize("text", ["TIMEOUT", "E2BIG", "A", "HTTP_503", "X_", "X" * 63, INVALID_REASON])
def test_upper_snake_case_is_a_reason(text):
    assert is_reason(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "timeout",
        "Timeout",
        "2BIG",
        "_X",
        "TIME OUT",
        "TIME-OUT",
        "TIME.OUT",
        "X" * 64,
        "TIMEOUT\n",
        "\u0391\u0392",
        "X\u0660",
    ],
)
def test_anything_else_is_none(text):
    assert not is_reason(text)
