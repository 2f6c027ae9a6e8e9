"""Compares a workflow as the live service told it with the same workflow folded from a file.

Invariant: every record counts. The first version at which one is missing, surplus, altered or does not fold is the
difference; only when there is none are the two final states compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.cli.failures import CommandFailed, ExitCode

_SHA256_HEX = 64


class Folded(Protocol):
    """A workflow folded from a file, as `service.main.replay_offline` returns it."""

    @property
    def stream_version(self) -> int:
        """How many events there are."""

    @property
    def state_digest(self) -> bytes:
        """The digest of the state they make; empty when they do not fold."""

    @property
    def record_digests(self) -> Sequence[bytes]:
        """The digest of each record."""

    @property
    def failed_version(self) -> int | None:
        """The first version that does not fold."""

    @property
    def problem(self) -> str:
        """Why it does not."""


@dataclass(frozen=True, slots=True)
class LiveReplay:
    """What the live service said of a workflow."""

    workflow_id: str
    stream_version: int
    state_digest: bytes
    record_digests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference, and what it is."""

    version: int
    problem: str

    def __str__(self) -> str:
        return f"differs at version {self.version}"


def compare(live: LiveReplay, folded: Folded) -> Difference | None:
    """Return the first difference; None when the file holds exactly what the live service said."""
    differences = [
        difference for difference in (_first_record(live, folded), _failure(folded)) if difference is not None
    ]
    if differences:
        return min(differences, key=lambda difference: difference.version)
    if folded.state_digest != live.state_digest:
        return Difference(live.stream_version, "the same records make another state")
    return None


def _failure(folded: Folded) -> Difference | None:
    return None if folded.failed_version is None else Difference(folded.failed_version, folded.problem)


def _first_record(live: LiveReplay, folded: Folded) -> Difference | None:
    mine = folded.record_digests
    for version, (theirs, other) in enumerate(zip(live.record_digests, mine, strict=False), start=1):
        if theirs != other:
            return Difference(version, "the record is another one")
    if len(mine) < len(live.record_digests):
        return Difference(len(mine) + 1, "the record is missing")
    if len(mine) > len(live.record_digests):
        return Difference(len(live.record_digests) + 1, "the live service had no such record")
    return None


def saved_replay(text: str, name: str) -> LiveReplay:
    """Read what `podium replay WORKFLOW --json` printed. Raises CommandFailed."""
    try:
        content: Mapping[str, Any] = json.loads(text)
        digests = tuple(_digest(each) for each in content["record_digests"])
        live = LiveReplay(
            str(content["workflow_id"]), int(content["stream_version"]), _digest(content["state_digest"]), digests
        )
    except (ValueError, KeyError, TypeError) as error:
        message = f"{name} is not what `podium replay WORKFLOW --json` prints: {error}"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_FILE") from None
    if live.stream_version != len(digests):
        message = f"{name} has {len(digests)} digests for {live.stream_version} versions"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_FILE")
    return live


def _digest(text: object) -> bytes:
    if not isinstance(text, str) or len(text) != _SHA256_HEX:
        raise ValueError("a digest has 64 hexadecimal digits")
    return bytes.fromhex(text)
