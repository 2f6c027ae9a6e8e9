"""Secrets for attempts: what a tool asked for by name goes to its executor with the assignment, and nowhere else.

The values are read in the turn that starts the attempt, kept in memory for as long as it runs, and never recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from podium.v1 import definition_pb2, value_pb2
from podium.v1 import executor_service_pb2 as wire
from service.engine.dispatch import Executor, Session
from service.engine.keys import ToolVersion


class SecretWithheld(Exception):
    """A secret that cannot be given. The failure names it, and says nothing of its value."""

    def __init__(self, failure: value_pb2.Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class SecretSource(Protocol):
    """Where the values of secrets come from."""

    def give(self, tenant: str, names: Sequence[str], session: Session) -> list[wire.Secret]:
        """The secrets of these names for a session that may use them. Raises SecretWithheld. Does not block."""


class Versions(Protocol):
    """The versions of tools."""

    def definition(self, tenant: str, name: str, version: int) -> definition_pb2.ToolDefinition | None:
        """The definition of a version of a tool."""


class NoSecrets:
    """The source of a service that has none."""

    def give(self, tenant: str, names: Sequence[str], session: Session) -> list[wire.Secret]:
        """See SecretSource."""
        del tenant, session
        raise SecretWithheld(missing(names[0]))


def secrets_for(
    place: Executor,
    tool: ToolVersion,
    pinned: definition_pb2.ToolDefinition,
    versions: Versions,
    source: SecretSource,
) -> Sequence[wire.Secret]:
    """The secrets of the version that an executor serves: they are for its code, and were checked at its hello.

    `pinned` is the definition of `tool`, the version that the step asks for. Raises SecretWithheld.
    """
    served = place.serves[tool.tool]
    definition = pinned if served == tool.version else versions.definition(tool.tenant, tool.tool, served)
    if definition is None or not definition.secrets:
        return ()
    return source.give(tool.tenant, definition.secrets, place.session)


def missing(name: str) -> value_pb2.Failure:
    """The failure of a step whose tool needs a secret that is not there. Another attempt would find the same."""
    return value_pb2.Failure(
        reason="SECRET_MISSING", message=f"the secret {name} is not there; the service's log says why"
    )
