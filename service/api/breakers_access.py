"""ResilienceService about breakers: what they do, and what an operator tells them."""

from __future__ import annotations

from podium.v1 import resilience_service_pb2 as pb
from service.api import parts as p
from service.api.authentication import current_caller
from service.api.page_tokens import page_begins, page_token
from service.domain.errors import InvalidInput, NotFound

_REASON_LENGTH = 1000
_ACTIONS = (pb.BREAKER_ACTION_OPEN, pb.BREAKER_ACTION_CLOSE, pb.BREAKER_ACTION_RESET)


def listed(parts: p.ApiParts, request: pb.ListBreakersRequest) -> pb.ListBreakersResponse:
    """A page of the breakers of tools that were called or set, by tool."""
    size, states = p.page_size(request.page_size), sorted(set(request.states))
    of = f"breakers {states}"
    after = page_begins(of, request.page_token)
    found = parts.breakers.listed(current_caller().tenant, after)
    if states:
        found = [breaker for breaker in found if breaker.state in states]
    token = page_token(of, found[size - 1].tool) if len(found) > size else ""
    return pb.ListBreakersResponse(breakers=found[:size], next_page_token=token)


def read(parts: p.ApiParts, request: pb.GetBreakerRequest) -> pb.GetBreakerResponse:
    """The breaker of a tool."""
    tenant = current_caller().tenant
    _require_tool(parts, tenant, request.tool)
    return pb.GetBreakerResponse(breaker=parts.breakers.read(tenant, request.tool))


async def change(parts: p.ApiParts, request: pb.SetBreakerRequest) -> pb.SetBreakerResponse:
    """Open, close or reset the breaker of a tool; also of one of which no rule speaks, which it holds open then."""
    tenant = current_caller().tenant
    if request.action not in _ACTIONS:
        problem = "must be open, close or reset"
        raise InvalidInput("INVALID_ACTION", f"action {problem}", violations=[("action", problem)])
    if len(request.reason) > _REASON_LENGTH:
        problem = f"is longer than {_REASON_LENGTH} characters"
        raise InvalidInput("INVALID_REASON", f"reason {problem}", violations=[("reason", problem)])
    _require_tool(parts, tenant, request.tool)
    breaker = await parts.breakers.set(tenant, request.tool, request.action, request.reason, p.cause_of_request())
    return pb.SetBreakerResponse(breaker=breaker)


def _require_tool(parts: p.ApiParts, tenant: str, tool: str) -> None:
    if parts.catalog.newest(tenant, tool) is None:
        raise NotFound("TOOL_NOT_FOUND", f"there is no tool {tool[:100]!r}")
