"""The refusals a caller may see: one family, each with a stable reason. The edge alone knows their gRPC statuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

Violation = tuple[str, str]
"""(path of the field or subject at fault, what is wrong with it)."""

INPUT_REJECTED = "INPUT_REJECTED"
"""The reason of a refusal by a sanitizer, at a submission as at an attempt."""


class RejectedInput(tuple[str, str]):  # noqa: SLOT001 - a tuple can have no slots beside its elements
    """The violation of an argument that a sanitizer refused, which knows what refused it and for what."""

    guard: str
    """The kind of the sanitizer."""
    reason: str
    """The sanitizer's stable reason."""

    def __new__(cls, field: str, message: str, guard: str, reason: str) -> Self:
        """A violation, (field, message), with what is recorded of it."""
        violation = super().__new__(cls, (field, message))
        violation.guard, violation.reason = guard, reason
        return violation

    def below(self, path: str) -> RejectedInput:
        """The same violation of what lies at a path."""
        field, message = self
        return RejectedInput(f"{path}.{field}", message, self.guard, self.reason)


class Basis(NamedTuple):
    """What a denial rests on, for its record."""

    required: str = ""
    """The permission that was needed."""
    resource: str = ""
    """What it was needed for."""
    rule: str = ""
    """The rule, limit, network or sanitizer that decided."""
    policy: str = ""
    policy_revision: int = 0
    sanitizer_reason: str = ""


class DomainError(Exception):
    """Something the service refuses, in terms of the domain.

    `reason` is stable and in upper snake case, `message` is for a person and holds no secret, `violations` are the
    fields (or, for a state or a limit, the subjects) at fault, `retry_after_ms` is the shortest wait before the same
    request may be accepted (None: waiting does not help), `event` is the recorded decision, shard:position, and `basis`
    what a denial rests on.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        violations: Sequence[Violation] = (),
        retry_after_ms: int | None = None,
        event: str = "",
        *,
        basis: Basis | None = None,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.violations = list(violations)
        self.retry_after_ms = retry_after_ms
        self.event = event
        self.basis = basis or Basis()


class InvalidInput(DomainError):
    """A field of the request is wrong, whatever the state of the service."""


class NotFound(DomainError):
    """What the request names does not exist for this caller."""


class AlreadyExists(DomainError):
    """What the request wants to make is there already, and is not the same."""


class Conflict(DomainError):
    """Someone else changed the same thing first; read again and decide again."""


class IllegalState(DomainError):
    """The request makes no sense in the state the thing is in."""


class LimitExceeded(DomainError):
    """A limit or a full queue. With retry_after_ms the same request may succeed later."""


class Unauthenticated(DomainError):
    """The caller did not prove who it is."""


class Denied(DomainError):
    """The caller is known and may not do this."""


class Unavailable(DomainError):
    """The service cannot answer now; the same request may succeed later."""
