"""Reads what is judged about security through the API: the trail in one pass, the tools, the policy.

Invariant: what cannot be read is named with its reason, and never taken for what is in order.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from service.cli.connecting import Service, told
from service.cli.security_trail import TYPES, Trail
from service.cli.tool_facts import ToolFacts, tool_facts

if TYPE_CHECKING:
    from podium.v1 import access_service_pb2

Read = TypeVar("Read")
PROGRESS_LINES = 50_000


async def read_or_note(what: str, read: Callable[[], Awaitable[Read]], unread: list[str]) -> Read | None:
    """Read something. Where it is refused, or not known to the service, that is noted and nothing returned."""
    from podium import NotFound, PodiumError, Unauthenticated, Unavailable

    try:
        return await read()
    except (Unauthenticated, Unavailable):
        raise
    except NotFound as error:
        unread.append(f"{what}: {error.message}")
    except PodiumError as error:
        unread.append(f"{what}: {error.message} ({error.reason})")
    return None


async def read_trail(service: Service, since_us: int, on_lines: Callable[[int], None]) -> Trail:
    """Count the lines of the trail since a time. `on_lines` is told from time to time how many there were."""
    from podium.v1 import audit_service_pb2, audit_service_pb2_grpc

    stub = audit_service_pb2_grpc.AuditServiceStub(service.connection.channel)
    wanted = audit_service_pb2.AuditFilter(from_us=since_us, types=TYPES)
    request = audit_service_pb2.ExportAuditRequest(filter=wanted)
    trail, due = Trail(), PROGRESS_LINES
    async for answer in told(stub.ExportAudit(request, metadata=service.connection.metadata())):
        for line in answer.data.splitlines():
            trail.add(json.loads(line))
        if trail.lines >= due:
            due += PROGRESS_LINES
            on_lines(trail.lines)
    return trail


async def read_tools(service: Service, unread: list[str]) -> list[ToolFacts] | None:
    """Read all tools of the tenant; where the caller may not see all, those that it may use, and note that."""
    from podium import PermissionDenied
    from podium.listing import list_tools
    from podium.v1 import tool_service_pb2

    async def read(everything: bool) -> list[ToolFacts]:
        request = tool_service_pb2.ListToolsRequest(include_denied=everything)
        return [tool_facts(tool) async for tool in list_tools(service.connection, request)]

    try:
        return await read(True)
    except PermissionDenied:
        unread.append("tools that you may not use yourself: needs tools.administer")
    return await read_or_note("the tools", lambda: read(False), unread)


async def read_policy(service: Service, unread: list[str]) -> access_service_pb2.PolicyRevision | None:
    """Read the policy in force."""
    from podium.v1 import access_service_pb2, access_service_pb2_grpc

    stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)

    async def read() -> access_service_pb2.PolicyRevision:
        return (await service.connection.call(stub.GetPolicy, access_service_pb2.GetPolicyRequest())).policy

    return await read_or_note("the policy", read, unread)
