"""`podium token`: make tokens with the service's key, look into them, and take them back."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Json, StateDirectory, Tenant, Token

if TYPE_CHECKING:
    from service.cli.connecting import Service

app = typer.Typer(help="Make tokens, look into them, and take them back.", no_args_is_help=True, rich_markup_mode=None)

_TIMES = ("iat", "nbf", "exp", "auth_time")
_JWT_PARTS = 3


@app.command(
    "mint",
    epilog=example(
        "podium token mint --subject ana --role agent --ttl 12h",
        "export PODIUM_TOKEN=$(podium token mint --subject billing --role executor)",
    ),
)
def mint(
    *,
    subject: Annotated[str, typer.Option(metavar="NAME", help="Who the token is for.")],
    roles: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help="admin, agent, executor, auditor or viewer; may be repeated."),
    ] = None,
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="PERMISSION", help="Narrows the roles to these permissions; may be repeated."),
    ] = None,
    lifetime: Annotated[str, typer.Option("--ttl", metavar="DURATION", help="How long it is valid: 12h, 30d.")] = "24h",
    tenant: Tenant = "default",
    agent: Annotated[str, typer.Option(metavar="NAME", help="The agent program that will use it.")] = "",
    session: Annotated[
        str, typer.Option(metavar="ID", help="The session it belongs to, to be revoked as a whole.")
    ] = "",
    on_behalf_of: Annotated[str, typer.Option(metavar="NAME", help="The person or system it acts for.")] = "",
    state_directory: StateDirectory = None,
    as_json: Json = False,
) -> None:
    """Make a token with the key of the service whose state is in --state-dir."""
    from podium.durations import seconds
    from service.cli.output import print_json, say
    from service.cli.service_settings import settings_with
    from service.main import mint_token

    try:
        token = mint_token(
            settings_with(state_directory=state_directory),
            subject=subject,
            tenant=tenant,
            roles=tuple(roles or ()),
            scopes=None if scopes is None else tuple(scopes),
            ttl_s=round(seconds(lifetime)),
            agent=agent,
            session_id=session,
            on_behalf_of=on_behalf_of,
        )
    except ValueError as error:
        raise CommandFailed(str(error), ExitCode.BAD_INPUT, "INVALID_ARGUMENT") from None
    if as_json:
        print_json({"token": token, "claims": claims_of(token)})
    else:
        say(token)


@app.command(
    "inspect",
    epilog=example(
        "podium token inspect",
        'podium token inspect "$PODIUM_TOKEN" --json | jq .claims.roles',
    ),
)
def inspect(
    held: Annotated[
        str | None, typer.Argument(metavar="[TOKEN]", help="The token; without it, the one that would be sent.")
    ] = None,
    address: Address = None,
    token: Token = None,
    state_directory: StateDirectory = None,
    as_json: Json = False,
) -> None:
    """Show what a token says, and whether the keys of --state-dir accept it, and the service if one answers."""
    from podium.discovery import find_server
    from service.cli.output import print_json, say
    from service.cli.service_settings import settings_with
    from service.main import check_token

    text = held or token or find_server(None, None).token
    claims = claims_of(text)
    refused_here = check_token(settings_with(state_directory=state_directory), text)
    asked, refused_there = _ask(address, text)
    if as_json:
        print_json(
            {
                "claims": claims,
                "verified": None if refused_here is None else not refused_here,
                "service": asked,
                "accepted": None if refused_there is None else not refused_there,
                "reason": refused_there or refused_here or "",
            }
        )
    else:
        for name, value in claims.items():
            say(f"{name:<14} {_readable(name, value)}")
        say(f"{'keys here':<14} {_verdict(refused_here, 'there is none to check it with')}")
        say(f"{'service':<14} {_verdict(refused_there, 'none answers')}{f', {asked}' if asked else ''}")
    if refused_here or refused_there:
        raise typer.Exit(ExitCode.DENIED)


@app.command(
    "revoke",
    epilog=example(
        'podium token revoke "$LOST_TOKEN" --reason "lost laptop"',
        "podium token revoke --session 3f9c --json",
        "podium token revoke --subject ana",
    ),
)
def revoke(
    held: Annotated[str | None, typer.Argument(metavar="[TOKEN]", help="The token itself; its id is revoked.")] = None,
    token_id: Annotated[str | None, typer.Option(metavar="ID", help="The id (jti) of a token.")] = None,
    session: Annotated[str | None, typer.Option(metavar="ID", help="A session (sid): all of its tokens.")] = None,
    subject: Annotated[
        str | None, typer.Option(metavar="NAME", help="A subject: all tokens that were issued until now.")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is recorded.")] = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Refuse credentials from now on, and cancel what runs under them. It cannot be taken back."""
    from podium.v1 import access_service_pb2, access_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import print_json, say

    if held is not None:
        token_id = token_id or _id_of(held)
    named = {"token_id": token_id, "session_id": session, "subject": subject}
    [*chosen] = [(field, name) for field, name in named.items() if name]
    if len(chosen) != 1:
        raise CommandFailed(
            "name one of a token, --token-id, --session and --subject", ExitCode.BAD_INPUT, "INVALID_ARGUMENT"
        )
    [(field, name)] = chosen
    request = access_service_pb2.RevokeCredentialsRequest(reason=reason)
    setattr(request, field, name)

    async def change(service: Service) -> access_service_pb2.RevokeCredentialsResponse:
        stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
        return await service.connection.call(stub.RevokeCredentials, request)

    done = with_service(address, token, change)
    if as_json:
        print_json(
            {
                field: name,
                "event": done.event,
                "canceled_workflows": done.canceled_workflows,
                "ended_streams": done.ended_streams,
            }
        )
    else:
        ended = f"{done.canceled_workflows} workflows canceled, {done.ended_streams} streams ended"
        say(f"{field.removesuffix('_id')} {name} is revoked (event {done.event}): {ended}")


def claims_of(token: str) -> dict[str, Any]:
    """Return what a token says, without verifying it. Raises CommandFailed."""
    parts = token.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError):
        claims = None
    if len(parts) != _JWT_PARTS or not isinstance(claims, dict):
        raise CommandFailed("this is no token: a token is a JWT", ExitCode.BAD_INPUT, "INVALID_TOKEN")
    return claims


def _id_of(token: str) -> str:
    """The id of a token, which need not be genuine. Raises CommandFailed."""
    token_id = claims_of(token).get("jti")
    if not isinstance(token_id, str) or not token_id:
        raise CommandFailed("the token has no id: revoke its session or subject", ExitCode.BAD_INPUT, "INVALID_TOKEN")
    return token_id


def _ask(address: str | None, token: str) -> tuple[str | None, str | None]:
    """The service that answered, and why it refuses a token; empty: it accepts it. None twice: no service answers."""
    from podium import PermissionDenied, Unauthenticated, Unavailable
    from podium.v1 import tool_service_pb2, tool_service_pb2_grpc
    from service.cli.connecting import with_service

    async def knock(service: Service) -> tuple[str, str]:
        stub = tool_service_pb2_grpc.ToolServiceStub(service.connection.channel)
        try:
            await service.connection.call(stub.ListTools, tool_service_pb2.ListToolsRequest(page_size=1))
        except Unauthenticated as refused:
            return service.address, refused.reason
        except PermissionDenied:
            # Whoever is denied is known: the token itself is accepted.
            return service.address, ""
        return service.address, ""

    try:
        return with_service(address, token, knock)
    except Unavailable:
        return None, None


def _verdict(refused: str | None, unknown: str) -> str:
    if refused is None:
        return f"not asked: {unknown}"
    return f"refused ({refused})" if refused else "accepted"


def _readable(name: str, value: object) -> str:
    from service.cli.output import moment

    if name in _TIMES and isinstance(value, int | float):
        return moment(round(value * 1e6))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
