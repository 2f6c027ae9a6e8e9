"""Reads the tools and the policy in force through the API, as far as the caller may.

Invariant: what cannot be read is named with its reason, and never taken for nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from service.cli.connecting import Service
from service.cli.tools.facts import ToolFacts, tool_facts

if TYPE_CHECKING:
    from podium.v1 import access_service_pb2

Read = TypeVar("Read")


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
