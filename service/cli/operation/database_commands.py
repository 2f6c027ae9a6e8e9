"""`podium database`: make the tables of the log, check them, and see what is in them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed
from service.cli.options import Database, Json

app = typer.Typer(
    help="Make the tables of the log, check them, and see what is in them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("migrate", epilog=example("podium database migrate --database postgresql://podium@localhost/podium"))
def migrate(database: Database = None, as_json: Json = False) -> None:
    """Bring a database up to this version's tables, or make them. Does nothing when they are there.

    `podium serve` does this by itself, unless its role may not.
    """
    from service.cli.service_settings import settings_with
    from service.main import migrate_database

    _tell(migrate_database(settings_with(database=database)), as_json=as_json)


@app.command("check", epilog=example("podium database check --database podium.db && echo as it should be"))
def check(database: Database = None, as_json: Json = False) -> None:
    """Compare a database's tables, keys and triggers with this version's. Exit code 1 when they differ."""
    from service.cli.output import print_json, say
    from service.cli.service_settings import settings_with
    from service.main import check_database

    differences = check_database(settings_with(database=database))
    if as_json:
        print_json({"differences": differences})
    elif not differences:
        say("the tables are those of this version")
    if differences:
        raise CommandFailed("the database differs: " + "; ".join(differences), reason="SCHEMA_DIFFERS")


@app.command("info", epilog=example("podium database info --database podium.db", "podium database info --json"))
def info(database: Database = None, as_json: Json = False) -> None:
    """Tell what a database holds, and who owns the log in it."""
    from service.cli.service_settings import settings_with
    from service.main import describe_database

    _tell(describe_database(settings_with(database=database)), as_json=as_json)


@app.command("grants", epilog=example("podium database grants podium_service | psql postgresql://localhost/podium"))
def grants(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The role the service connects as.")],
    as_json: Json = False,
) -> None:
    """Print the SQL that lets a Postgres role run the service without being able to change or remove an event.

    The tables stay owned by whoever ran `podium database migrate`.
    """
    from service.cli.output import print_json, say
    from service.main import database_grants

    statements = database_grants(role)
    if as_json:
        print_json({"statements": statements})
    else:
        say("\n".join(statements))


def _tell(described: dict[str, Any], *, as_json: bool) -> None:
    from service.cli.output import moment, print_json, say

    if as_json:
        print_json(described)
        return
    say(f"{described['address']}  {described['server']}, {described['size_bytes'] / 2**20:.1f} MiB")
    say(f"revision {described['revision']}, this version works with {described['wanted_revision']}")
    for shard in described["shards"]:
        owner = shard["owner"] or "nobody yet"
        ends_us = shard["lease_expires_at_us"]
        lease = f", lease until {moment(ends_us)}" if ends_us else ""
        say(f"shard {shard['shard']}: {shard['head']} events, epoch {shard['epoch']}, last owned by {owner}{lease}")
    say(f"{described['tenants']} tenants, {described['streams']} streams, {described['open_workflows']} open workflows")
