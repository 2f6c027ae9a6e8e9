"""The reason of a failure: the word by which policies, statistics and programs tell it from others."""

from __future__ import annotations

import re

INVALID_REASON = "INVALID_REASON"
"""Stands in the place of what an executor called a failure, where that is no reason."""
CANCELED = "CANCELED"
"""The tool was told to stop, and did."""
TIMEOUT = "TIMEOUT"
"""An attempt took longer than it might."""
WORKFLOW_TIMEOUT = "WORKFLOW_TIMEOUT"
"""A workflow took longer than it might, and what still ran in it failed with it."""

_FORM = re.compile(r"[A-Z][A-Z0-9_]{0,62}")


def is_reason(text: str) -> bool:
    """Whether the text has a reason's form: upper snake case, at most 63 characters, as in google.rpc.ErrorInfo."""
    return _FORM.fullmatch(text) is not None


def reason_problem(text: str) -> str:
    """What is wrong with what should name a reason, and the remedy; empty: nothing is."""
    if is_reason(text):
        return ""
    upper = re.sub(r"[^A-Z0-9]+", "_", text.upper()).strip("_")
    remedy = (
        f"write {upper}" if is_reason(upper) else "write it as TIMEOUT, in capitals, digits and _, at most 63 of them"
    )
    return f"{text[:80]!r} is no reason of a failure and would never fit one: {remedy}"
