"""Secrets for attempts: what a tool asked for by name goes to its executor with the assignment, and nowhere else.

The values are read in the turn that starts the attempt, kept in memory for as long as it runs, and never recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from podium.v1 import executor_service_pb2 as wire
from podium.v1 import value_pb2
from service.engine.dispatch import Session


class SecretWithheld(Exception):
    """A secret that cannot be given. The failure names it, and says nothing of its value."""

    def __init__(self, failure: value_pb2.Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class SecretSource(Protocol):
    """Where the values of secrets come from."""

    def give(self, tenant: str, names: Sequence[str], session: Session) -> list[wire.Secret]:
        """The secrets of these names for a session that may use them. Raises SecretWithheld. Does not block."""


class NoSecrets:
    """The source of a service that has none."""

    def give(self, tenant: str, names: Sequence[str], session: Session) -> list[wire.Secret]:
        """See SecretSource."""
        del tenant, session
        raise SecretWithheld(missing(names[0]))


def missing(name: str) -> value_pb2.Failure:
    """The failure of a step whose tool needs a secret that is not there. Another attempt would find the same."""
    return value_pb2.Failure(
        reason="SECRET_MISSING", message=f"the secret {name} is not there; the service's log says why"
    )
