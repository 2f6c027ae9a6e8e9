"""The words of the audit trail: a line, and how the texts and names of callers get into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from podium.v1 import events_pb2
from podium.v1.value_pb2 import Principal

TEXT_MAX = 200
"""The longest text of a caller's that a summary quotes, in characters."""


class Line(NamedTuple):
    """What an event adds to its envelope in the trail."""

    summary: str
    """A sentence a person can read."""
    step_id: str = ""
    tool: str = ""
    """Only where the event itself names it; otherwise it is that of the step."""
    decision: events_pb2.Decision.ValueType = events_pb2.DECISION_UNSPECIFIED
    rule: str = ""
    policy: str = ""
    """name@revision."""
    authority: Principal | None = None
    """Whose authority was checked."""
    details: Mapping[str, object] | None = None
    """More for a machine, as JSON: numbers, names and digests in hexadecimal. Exported only."""


def quoted(text: str) -> str:
    """A caller's text on one line and without control characters, so that no line can pass for another."""
    if len(text) <= TEXT_MAX and text.isprintable():
        return text
    flat = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * TEXT_MAX]).split())
    return flat if len(flat) <= TEXT_MAX else flat[: TEXT_MAX - 1] + "…"


def who(principal: Principal) -> str:
    """Who acts, and for whom."""
    roles = [f"agent {quoted(principal.agent)}"] if principal.agent else []
    if principal.on_behalf_of:
        roles.append(f"for {quoted(principal.on_behalf_of)}")
    name = quoted(principal.subject) or "the service"
    return f"{name} ({', '.join(roles)})" if roles else name
