"""`podium tenants`: who shares the service, and how much of it each may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from podium.v1 import access_service_pb2
    from service.cli.connecting import Service

app = typer.Typer(
    help="Make tenants and set their quotas, as the operator.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The tenant, as tokens name it.")]
DisplayName = Annotated[str | None, typer.Option(metavar="TEXT", help="A name for people.")]
OpenWorkflows = Annotated[int | None, typer.Option(min=0, metavar="N", help="Workflows that have not ended; 0: any.")]
Tools = Annotated[int | None, typer.Option(min=0, metavar="N", help="Registered tools; 0: any number.")]
Executors = Annotated[int | None, typer.Option(min=0, metavar="N", help="Executors' sessions; 0: any number.")]
Requests = Annotated[
    int | None, typer.Option("--requests-per-minute", min=0, metavar="N", help="Requests a minute; 0: any number.")
]

_PAGE = 1000


@app.command(
    "create",
    epilog=example(
        "podium tenants create acme --display-name 'Acme Inc.' --open-workflows 500",
        "podium tenants create trial --requests-per-minute 60 --tools 10",
    ),
)
def create(
    name: Name,
    *,
    display_name: DisplayName = None,
    open_workflows: OpenWorkflows = None,
    tools: Tools = None,
    executors: Executors = None,
    requests: Requests = None,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Make a tenant. One that there is already is refused."""
    from podium.v1 import access_service_pb2
    from service.cli.connecting import with_service

    request = access_service_pb2.ConfigureTenantRequest(name=name, create=True)
    _set(request, display_name, open_workflows, tools, executors, requests)

    async def change(service: Service) -> access_service_pb2.Tenant:
        return await _configure(service, request)

    _tell(with_service(address, token, change), as_json=as_json)


@app.command("configure", epilog=example("podium tenants configure acme --open-workflows 1000"))
def configure(
    name: Name,
    *,
    display_name: DisplayName = None,
    open_workflows: OpenWorkflows = None,
    tools: Tools = None,
    executors: Executors = None,
    requests: Requests = None,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Change a tenant's name or quotas; what is not given stays as it is."""
    from podium.v1 import access_service_pb2
    from service.cli.connecting import with_service

    async def change(service: Service) -> access_service_pb2.Tenant:
        tenant = (await _read(service, name)).tenant
        request = access_service_pb2.ConfigureTenantRequest(
            name=name, display_name=tenant.display_name, quotas=tenant.quotas
        )
        _set(request, display_name, open_workflows, tools, executors, requests)
        return await _configure(service, request)

    _tell(with_service(address, token, change), as_json=as_json)


@app.command("list", epilog=example("podium tenants list", "podium tenants list --json | jq -r .name"))
def list_tenants(address: Address = None, token: Token = None, as_json: Json = False) -> None:
    """List the tenants that were made, by name."""
    from podium.v1 import access_service_pb2, access_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import moment, note, print_json, table

    async def read(service: Service) -> list[access_service_pb2.Tenant]:
        stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
        request = access_service_pb2.ListTenantsRequest(page_size=_PAGE)
        tenants: list[access_service_pb2.Tenant] = []
        while True:
            page = await service.connection.call(stub.ListTenants, request)
            tenants += page.tenants
            if not page.next_page_token:
                return tenants
            request.page_token = page.next_page_token

    tenants = with_service(address, token, read)
    if as_json:
        for tenant in tenants:
            print_json(_tenant_dict(tenant))
    elif not tenants:
        note("no tenant was made: whoever has a token works, without quotas")
    else:
        rows = [(each.name, each.display_name, _quotas(each), moment(each.created_at_us)) for each in tenants]
        table(("tenant", "name", "quotas", "made"), rows)


@app.command("show", epilog=example("podium tenants show acme", "podium tenants show acme --json | jq .usage"))
def show(name: Name, address: Address = None, token: Token = None, as_json: Json = False) -> None:
    """Show a tenant's quotas and what it uses now."""
    from service.cli.connecting import with_service
    from service.cli.output import print_json, table

    async def read(service: Service) -> access_service_pb2.GetTenantResponse:
        return await _read(service, name)

    answer = with_service(address, token, read)
    usage = {field: getattr(answer.usage, field) for field in ("open_workflows", "tools", "executors")}
    if as_json:
        print_json({**_tenant_dict(answer.tenant), "usage": usage})
        return
    quotas = _tenant_dict(answer.tenant)["quotas"]
    table(("quota", "may use", "uses"), [(what, most or "any", usage.get(what, "")) for what, most in quotas.items()])


async def _read(service: Service, name: str) -> access_service_pb2.GetTenantResponse:
    from podium.v1 import access_service_pb2, access_service_pb2_grpc

    stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
    return await service.connection.call(stub.GetTenant, access_service_pb2.GetTenantRequest(name=name))


async def _configure(service: Service, request: access_service_pb2.ConfigureTenantRequest) -> access_service_pb2.Tenant:
    from podium.v1 import access_service_pb2_grpc

    stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
    return (await service.connection.call(stub.ConfigureTenant, request)).tenant


def _set(
    request: access_service_pb2.ConfigureTenantRequest,
    display_name: str | None,
    open_workflows: int | None,
    tools: int | None,
    executors: int | None,
    requests: int | None,
) -> None:
    """Put what was given into a request."""
    if display_name is not None:
        request.display_name = display_name
    quotas = {
        "open_workflows": open_workflows,
        "tools": tools,
        "executors": executors,
        "requests_per_minute": requests,
    }
    for field, quota in quotas.items():
        if quota is not None:
            setattr(request.quotas, field, quota)


def _tell(tenant: access_service_pb2.Tenant, *, as_json: bool) -> None:
    from service.cli.output import print_json, say

    if as_json:
        print_json(_tenant_dict(tenant))
    else:
        say(f"{tenant.name}: {_quotas(tenant)}")


def _quotas(tenant: access_service_pb2.Tenant) -> str:
    quotas = _tenant_dict(tenant)["quotas"]
    return ", ".join(f"{what.replace('_', ' ')} {most}" for what, most in quotas.items() if most) or "no quotas"


def _tenant_dict(tenant: access_service_pb2.Tenant) -> dict[str, Any]:
    from service.cli.output import moment

    quotas = tenant.quotas
    return {
        "name": tenant.name,
        "display_name": tenant.display_name,
        "created_at": moment(tenant.created_at_us),
        "quotas": {
            "open_workflows": quotas.open_workflows,
            "tools": quotas.tools,
            "executors": quotas.executors,
            "requests_per_minute": quotas.requests_per_minute,
        },
    }
