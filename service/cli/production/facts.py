"""What the production checklist looks at: the service's settings and files here, and the running service.

Invariant: what could not be read raises NotSeen when an item asks for it, so that it never passes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from podium.v1 import access_service_pb2, policy_pb2
    from service.cli.connecting import Service
    from service.cli.tools.facts import ToolFacts
    from service.config import Settings

Seen = TypeVar("Seen")
OTHERS, OTHERS_WRITE = 0o077, 0o022
"""The bits of a file's mode that let anybody but its owner at it, and that let them change it."""


class NotSeen(Exception):
    """Something that an item asks for could not be read. The message says why."""


class State(StrEnum):
    """What came of an item."""

    PASS = "pass"  # noqa: S105 - no secret
    WARN = "warn"
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an item: what was looked at, and what to do where it is not in order."""

    state: State
    looked_at: str
    remedy: str = ""


def passed(looked_at: str) -> Outcome:
    """In order."""
    return Outcome(State.PASS, looked_at)


def warned(looked_at: str, remedy: str) -> Outcome:
    """It works, and would be better otherwise."""
    return Outcome(State.WARN, looked_at, remedy)


def failed(looked_at: str, remedy: str) -> Outcome:
    """Not to be taken into production so."""
    return Outcome(State.FAIL, looked_at, remedy)


def not_applicable(looked_at: str) -> Outcome:
    """There is nothing of the kind to look at."""
    return Outcome(State.NOT_APPLICABLE, looked_at)


@dataclass(slots=True)
class Facts:
    """Everything that items look at. None: it could not be read, and `unread` says why."""

    read_settings: Settings | None = None
    read_database: Mapping[str, Any] | None = None
    read_tools: Sequence[ToolFacts] | None = None
    read_policy: access_service_pb2.PolicyRevision | None = None
    read_tenants: Sequence[str] | None = None
    read_rules: Sequence[str] | None = None
    unread: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        """The settings of the service, as this command found them. Raises NotSeen, also for another's."""
        return self._seen(self.read_settings, "the settings")

    @property
    def database(self) -> Mapping[str, Any]:
        """What the database that the settings name tells of itself. Raises NotSeen."""
        return self._seen(self.read_database, "the database")

    @property
    def tools(self) -> Sequence[ToolFacts]:
        """The tools of the caller's tenant. Raises NotSeen."""
        return self._seen(self.read_tools, "the tools")

    @property
    def revision(self) -> access_service_pb2.PolicyRevision:
        """The policy in force in the caller's tenant. Raises NotSeen."""
        return self._seen(self.read_policy, "the policy")

    @property
    def policy(self) -> policy_pb2.Policy:
        """What the policy in force says. Raises NotSeen."""
        return self.revision.policy

    @property
    def tenants(self) -> Sequence[str]:
        """The names of the tenants that were made. Raises NotSeen."""
        return self._seen(self.read_tenants, "the tenants")

    @property
    def rules(self) -> Sequence[str]:
        """The expressions of the alerts in the operator's Prometheus. Raises NotSeen."""
        return self._seen(self.read_rules, "the alerts")

    def _seen(self, value: Seen | None, what: str) -> Seen:
        if value is None:
            raise NotSeen(next((why for why in self.unread if why.startswith(what)), f"{what}: not read"))
        return value


def is_open(path: Path, bits: int) -> bool:
    """Whether the mode of a file or folder has any of the bits. Raises NotSeen when it is not there."""
    try:
        return bool(path.stat().st_mode & bits)
    except OSError as error:
        raise NotSeen(f"{path}: {error.strerror}") from None


def gather(address: str | None, token: str | None, find_settings: Callable[[], Settings]) -> Facts:
    """Read everything that can be read. `find_settings` may raise ConfigurationError."""
    from podium import PodiumError
    from service.cli.connecting import with_service
    from service.config import ConfigurationError
    from service.main import ServeError, describe_database

    facts = Facts()
    try:
        facts.read_settings = find_settings()
        facts.read_database = describe_database(facts.read_settings)
    except ConfigurationError as error:
        facts.unread += ["the settings: " + "; ".join(error.problems), "the database: there are no settings"]
    except ServeError as error:
        facts.unread.append(f"the database: {error}")

    async def read(service: Service) -> None:
        await _read_running(service, facts)

    try:
        with_service(address, token, read)
    except PodiumError as error:
        facts.unread += [f"{what}: {error.message}" for what in ("the tools", "the policy", "the tenants")]
    return facts


async def _read_running(service: Service, facts: Facts) -> None:
    from podium.v1 import access_service_pb2, access_service_pb2_grpc
    from service.cli.tools.reading import read_or_note, read_policy, read_tools

    stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)

    async def tenants() -> list[str]:
        request, names = access_service_pb2.ListTenantsRequest(), []
        while True:
            page = await service.connection.call(stub.ListTenants, request)
            names += [tenant.name for tenant in page.tenants]
            if not page.next_page_token:
                return names
            request.page_token = page.next_page_token

    await _compare(service, facts)
    facts.read_policy = await read_policy(service, facts.unread)
    facts.read_tools = await read_tools(service, facts.unread)
    facts.read_tenants = await read_or_note("the tenants", tenants, facts.unread)


async def _compare(service: Service, facts: Facts) -> None:
    """Forget settings, and what their database tells, that are not those of the service that answers."""
    from podium.v1 import monitoring_service_pb2, monitoring_service_pb2_grpc
    from service.cli.production.comparison import Here, difference
    from service.cli.tools.reading import read_or_note
    from service.main import database_name

    if facts.read_settings is None:
        return
    stub = monitoring_service_pb2_grpc.MonitoringServiceStub(service.connection.channel)
    request = monitoring_service_pb2.GetStatusRequest()
    ask = functools.partial(service.connection.call, stub.GetStatus, request)
    status = await read_or_note("the status", ask, facts.unread)
    here = Here(facts.read_settings.listening, database_name(facts.read_settings), facts.read_database)
    if why := difference(here, service.address, status):
        facts.read_settings = facts.read_database = None
        # Before whatever else was said of them, which is of another service.
        others = [
            f"{what}: not those of the service at {service.address}: {why}" for what in ("the settings", "the database")
        ]
        facts.unread[:0] = others
