"""What an auditor should look at, and what it is judged from: the trail, and the tools and the policy as they are now.

Invariant: a finding names what it was found in, events of the trail where there are any, and nothing is found in what
could not be read; that is told apart, as not examined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podium.v1 import access_service_pb2
    from service.cli.security.trail import Trail
    from service.cli.tools.facts import ToolFacts
    from service.config import Settings


class Severity(IntEnum):
    """How bad a finding is."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at."""

    severity: Severity
    kind: str
    """Stable, for programs."""
    what: str
    why: str
    remedy: str
    count: int = 0
    events: Sequence[str] = ()
    """The first of the events behind it, shard:position; `count` tells how many there are."""


@dataclass(slots=True)
class Evidence:
    """What the judgement is made from."""

    now_us: int
    since_us: int
    trail: Trail | None = None
    tools: Sequence[ToolFacts] | None = None
    policy: access_service_pb2.PolicyRevision | None = None
    settings: Settings | None = None
    """Those of the service, when it is the one that runs here with them."""
    not_examined: list[str] = field(default_factory=list)
    """What could not be read, and why."""
