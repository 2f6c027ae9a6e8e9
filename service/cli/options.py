"""The options that many commands share, so that they are spelt and explained alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

Address: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        envvar="PODIUM_ADDRESS",
        help="Where the service listens. Without it: the development server of this user on this machine.",
    ),
]
Token: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TOKEN", envvar="PODIUM_TOKEN", help="Who you are.", show_envvar=True)
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for programs, one value a line.")]
OnBehalfOf: TypeAlias = Annotated[
    str, typer.Option("--on-behalf-of", metavar="NAME", help="The person or system for whom you act.")
]
Priority: TypeAlias = Annotated[
    Literal["low", "normal", "high"] | None,
    typer.Option("--priority", help="What goes first when there is too much: high before normal before low."),
]
Tenant: TypeAlias = Annotated[str, typer.Option(metavar="NAME", help="Whose data.")]
StateDirectory: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        envvar="PODIUM_STATE_DIRECTORY",
        help="Where keys are kept. Without it: .podium",
    ),
]
Database: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL|PATH",
        envvar="PODIUM_DATABASE_URL",
        help="postgresql://USER@HOST/NAME, sqlite:///PATH, or the path of a SQLite file. Without it: podium.db",
    ),
]
Listen: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        envvar="PODIUM_LISTEN_ADDRESS",
        help="host:port or unix:path; port 0 is any that is free. Without it: 127.0.0.1:7233",
    ),
]
Config: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", envvar="PODIUM_CONFIG", help="Settings that the environment does not set."
    ),
]
WaitFor: TypeAlias = Annotated[
    str,
    typer.Option("--wait-for", metavar="EVENT", help="Wait until the answer knows this event, SHARD:POSITION."),
]
ParentProcess: TypeAlias = Annotated[
    int | None, typer.Option("--parent", hidden=True, help="End when the process of this id ends.")
]
