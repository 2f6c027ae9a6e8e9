"""The tokens that lead from one page of a list to the next: where the next begins, and of which list.

A token of another list, or of none, is refused rather than guessed at.
"""

from __future__ import annotations

import base64

from service.api.parts import is_number
from service.domain.errors import InvalidInput


def page_token(of: str, begins: object) -> str:
    """The token of a page of a list."""
    return base64.urlsafe_b64encode(f"{of}:{begins}".encode()).decode()


def page_begins(of: str, token: str) -> str:
    """Where a page of a list begins; empty: it is the first. Raises InvalidInput."""
    if not token:
        return ""
    try:
        kind, _, begins = base64.urlsafe_b64decode(token).decode().partition(":")
    except ValueError:
        raise _refusal() from None
    if kind != of:
        raise _refusal()
    return begins


def page_begins_at(of: str, token: str, *, first: int, last: int | None = None) -> int:
    """The number at which a page of a list begins, no higher than `last`. Raises InvalidInput."""
    if not token:
        return first
    begins = page_begins(of, token)
    if not is_number(begins) or (last is not None and int(begins) > last):
        raise _refusal()
    return int(begins)


def _refusal() -> InvalidInput:
    problem = "is not from this list"
    return InvalidInput("INVALID_PAGE_TOKEN", f"page_token {problem}", violations=[("page_token", problem)])
