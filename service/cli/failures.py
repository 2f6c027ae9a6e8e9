"""What a command says when it fails, and the exit code by which a script tells why.

Invariant: every failure that can be foreseen becomes one short message and one of these codes, never a traceback.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from service.cli.terminal_text import printable

if TYPE_CHECKING:
    import podium

Violation = tuple[str, str]
"""(path of a field, what is wrong with it)."""


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    """What was asked for did not succeed: a workflow failed, a replay differs."""
    BAD_INPUT = 2
    DENIED = 3
    """The caller may not do this, or did not prove who it is."""
    NOT_FOUND = 4
    UNAVAILABLE = 5
    """No service answers. The same command may succeed later."""
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(slots=True)
class CommandFailed(Exception):
    """A command cannot go on. Everything in it is for the user."""

    message: str
    code: ExitCode = ExitCode.FAILED
    reason: str = ""
    violations: Sequence[Violation] = ()
    event: str = ""
    retry_after_s: float | None = None
    hint: str = ""
    """What to do next."""
    context: str = field(default="", kw_only=True)
    """What the message is about, a file for example; stands before it."""

    def __str__(self) -> str:
        return self.message

    def text(self) -> str:
        """Return the failure for a person: a line, and one for each further field and remedy."""
        details = ", ".join(filter(None, (self.reason, self.event and f"event {self.event}")))
        lines = [f"{self.context}: " if self.context else ""]
        lines[0] += self.message + (f" ({details})" if details else "")
        violations = (" ".join(filter(None, violation)) for violation in self.violations)
        lines += [f"  {violation}" for violation in violations if violation not in self.message]
        if self.retry_after_s:
            lines.append(f"  try again in {self.retry_after_s:g} s")
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(printable(line) for line in lines)

    def json(self) -> str:
        """Return the failure for a program, on one line."""
        content = {
            "reason": self.reason or self.code.name,
            "message": self.message,
            "violations": [{"field": path, "description": problem} for path, problem in self.violations],
            "event": self.event,
            "retry_after_s": self.retry_after_s,
            "exit_code": int(self.code),
        }
        return json.dumps({"error": content}, ensure_ascii=False)


def failure_of(error: podium.PodiumError) -> CommandFailed:
    """Return how a command tells what the service, or the way to it, refused."""
    violations = error.violations
    if error.field and not violations and error.field not in error.message:
        violations = ((error.field, "is at fault"),)
    return CommandFailed(
        error.message, exit_code_of(error), error.reason, violations, error.event, error.retry_after, hint_for(error)
    )


def exit_code_of(error: podium.PodiumError) -> ExitCode:
    """Return the code for a refusal, or for the failure of a tool."""
    from podium import errors

    table: dict[type[errors.PodiumError], ExitCode] = {
        errors.InvalidInput: ExitCode.BAD_INPUT,
        errors.Unauthenticated: ExitCode.DENIED,
        errors.PermissionDenied: ExitCode.DENIED,
        errors.NotFound: ExitCode.NOT_FOUND,
        errors.Unavailable: ExitCode.UNAVAILABLE,
    }
    return table.get(type(error), ExitCode.FAILED)


def hint_for(error: podium.PodiumError) -> str:
    """Return what a user can do about a refusal; empty when its own words say it, or nothing helps."""
    from podium import errors

    if isinstance(error, errors.Unauthenticated):
        return "give a token with --token or PODIUM_TOKEN; `podium token mint` makes one beside the service"
    return ""
