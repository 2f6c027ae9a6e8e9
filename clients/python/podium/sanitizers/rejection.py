"""What a sanitizer raises for a value that it refuses.

No message holds the value or a part of it: it may be a secret, and messages are recorded.
"""

from __future__ import annotations


class Rejected(ValueError):
    """A value was refused.

    Attributes:
        sanitizer: The kind of the sanitizer that refused it.
        reason: Stable, in upper snake case.
        message: Why, for a person or a model to read.
        field: Where the value lies, for example `arguments.files[2].path`; empty when it was checked by itself.
    """

    def __init__(self, sanitizer: str, reason: str, message: str, field: str = "") -> None:
        super().__init__(f"{field} {message}" if field else message)
        self.sanitizer = sanitizer
        self.reason = reason
        self.message = message
        self.field = field


def text_of(kind: str, value: object, length_max: int) -> str:
    """The value as a text of at most `length_max` characters that can be written in UTF-8. Raises Rejected."""
    if not isinstance(value, str):
        raise Rejected(kind, "NOT_A_TEXT", "must be a text")
    if len(value) > length_max:
        raise Rejected(kind, "TOO_LONG", f"is longer than {length_max} characters")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise Rejected(kind, "NOT_UNICODE", "holds half of a surrogate pair")
    return value
