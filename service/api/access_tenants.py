"""AccessService about tenants: made, changed and looked at from the operator's tenant."""

from __future__ import annotations

from podium.v1 import access_service_pb2 as pb
from service.admission.token_claims import is_tenant_name
from service.api import parts as p
from service.api.page_tokens import page_begins, page_token
from service.domain.errors import InvalidInput
from service.engine.tenants import Tenant

_DISPLAY_NAME_LENGTH = 200


async def configure(parts: p.ApiParts, request: pb.ConfigureTenantRequest) -> pb.ConfigureTenantResponse:
    """Make a tenant, or change its name and quotas."""
    violations = []
    if not is_tenant_name(request.name):
        violations.append(("name", "must be 1 to 64 of the characters A-Z a-z 0-9 _ -"))
    if len(request.display_name) > _DISPLAY_NAME_LENGTH:
        violations.append(("display_name", f"is longer than {_DISPLAY_NAME_LENGTH} characters"))
    if violations:
        field, problem = violations[0]
        raise InvalidInput("INVALID_TENANT", f"{field} {problem}", violations=violations)
    tenant, position = await parts.tenants.configure(
        request.name, request.display_name, request.quotas, p.cause_of_request(), create=request.create
    )
    return pb.ConfigureTenantResponse(tenant=_message(tenant), event=p.event_name(position))


def listed(parts: p.ApiParts, request: pb.ListTenantsRequest) -> pb.ListTenantsResponse:
    """A page of the tenants that were made, by name."""
    size = p.page_size(request.page_size)
    tenants = parts.tenants.listed(page_begins("tenants", request.page_token), size + 1)
    token = page_token("tenants", tenants[size - 1].name) if tenants[size:] else ""
    return pb.ListTenantsResponse(tenants=[_message(tenant) for tenant in tenants[:size]], next_page_token=token)


def read(parts: p.ApiParts, request: pb.GetTenantRequest) -> pb.GetTenantResponse:
    """A tenant and what it uses now."""
    tenant = parts.tenants.get(request.name)
    tools = parts.catalog.of_tenant(tenant.name)
    sessions = parts.engine.dispatcher.sessions
    executors = {id(executor) for tool in tools for executor in sessions(tenant.name, tool.definition.name)}
    usage = pb.TenantUsage(
        open_workflows=parts.engine.open_counts.of(tenant.name), tools=len(tools), executors=len(executors)
    )
    return pb.GetTenantResponse(tenant=_message(tenant), usage=usage)


def _message(tenant: Tenant) -> pb.Tenant:
    return pb.Tenant(
        name=tenant.name, display_name=tenant.display_name, quotas=tenant.quotas, created_at_us=tenant.created_at_us
    )
