"""`podium check --production`: the deployment checklist, item by item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Config, Database, Json, Listen, StateDirectory, Token

if TYPE_CHECKING:
    from service.cli.production.facts import Outcome
    from service.cli.production.items import Item
    from service.config import Settings

EXAMPLE = example(
    "podium check --production --prometheus http://127.0.0.1:9090",
    "podium check --production --json | jq -r 'select(.state == \"fail\") | .remedy'",
)


def check(
    production: Annotated[bool, typer.Option("--production", help="Go through the checklist for production.")] = False,
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", help="The Prometheus that has the alerts, as http://127.0.0.1:9090.")
    ] = None,
    *,
    listen: Listen = None,
    database: Database = None,
    state_directory: StateDirectory = None,
    config: Config = None,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Check whether this deployment is ready. Exit code 1 when an item fails.

    Run it beside the service, with the service's environment or the options that it was started with, and with an
    administrator's token: it looks at the settings and files here, and at the tools and the policy of the token's
    tenant. What it cannot look at has failed, and so have settings that are not those of the service that answers.
    """
    from service.cli.output import print_json, say, table
    from service.cli.production.facts import NotSeen, State, gather
    from service.cli.production.items import ITEMS, examine
    from service.cli.production.monitoring import read_rules
    from service.cli.service_settings import settings_with

    if not production:
        message = "say what to check for: --production"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_ARGUMENT")

    def found() -> Settings:
        options = {"listen": listen, "database": database}
        return settings_with(**options, state_directory=state_directory, config=config)

    facts = gather(address, token, found)
    try:
        if prometheus:
            facts.read_rules = read_rules(prometheus)
        else:
            facts.unread.append("the alerts: name the Prometheus that has them with --prometheus")
    except NotSeen as unseen:
        facts.unread.append(f"the alerts: {unseen}")
    outcomes = [(item, examine(item, facts)) for item in ITEMS]
    if as_json:
        for item, outcome in outcomes:
            print_json(_dict(item, outcome))
    else:
        rows = [(o.state, item.area, item.title, o.looked_at, o.remedy) for item, o in outcomes]
        table(("state", "area", "item", "looked at", "remedy"), rows)
        counts = [(state, sum(outcome.state is state for _, outcome in outcomes)) for state in State]
        say(", ".join(f"{count} {state}" for state, count in counts))
    if any(outcome.state is State.FAIL for _, outcome in outcomes):
        raise typer.Exit(ExitCode.FAILED)


def _dict(item: Item, outcome: Outcome) -> dict[str, str]:
    return {
        "id": item.id,
        "area": item.area,
        "title": item.title,
        "state": outcome.state.value,
        "looked_at": outcome.looked_at,
        "remedy": outcome.remedy,
    }
