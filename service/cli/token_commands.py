"""`podium token`: make tokens with the service's key, and look into them."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Json, StateDirectory, Tenant, Token

app = typer.Typer(help="Make tokens, and look into them.", no_args_is_help=True, rich_markup_mode=None)

_TIMES = ("iat", "nbf", "exp")
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
            on_behalf_of=on_behalf_of,
        )
    except ValueError as error:
        raise CommandFailed(str(error), ExitCode.BAD_INPUT, "INVALID_ARGUMENT") from None
    if as_json:
        print_json({"token": token, "claims": claims_of(token)})
    else:
        say(token)


@app.command(
    "show",
    epilog=example(
        "podium token show",
        'podium token show "$PODIUM_TOKEN" --json',
    ),
)
def show(
    held: Annotated[
        str | None, typer.Argument(metavar="[TOKEN]", help="The token; without it, the one that would be sent.")
    ] = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show what a token says. Whether it is genuine, only the service can tell."""
    from podium.discovery import find_server
    from service.cli.output import print_json, say

    claims = claims_of(held or token or find_server(None, None).token)
    if as_json:
        print_json(claims)
        return
    for name, value in claims.items():
        say(f"{name:<14} {_readable(name, value)}")


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


def _readable(name: str, value: object) -> str:
    from service.cli.output import moment

    if name in _TIMES and isinstance(value, int | float):
        return moment(round(value * 1e6))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
