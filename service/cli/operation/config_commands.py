"""`podium config`: the service's settings looked at without a service, and a file of them to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(help="Look at the service's settings.", no_args_is_help=True, rich_markup_mode=None)

COLUMNS = ("setting", "value", "from")
File = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="Without it: the one that PODIUM_CONFIG names, or the environment alone."),
]


@app.command(
    "check",
    epilog=example(
        "podium config check podium.toml",
        "podium config check podium.toml --json | jq -r '.settings[] | select(.from != \"default\").setting'",
    ),
)
def check(file: File = None, as_json: Json = False) -> None:
    """Tell everything that is wrong with the settings, or which of them are set, to what and where.

    The environment wins over the file. Exits with 2 when something is wrong. Secrets are hidden. Files that settings
    name are not opened, and nobody is asked: the service does that when it starts.
    """
    from service.cli.output import note, print_json, table

    rows = _effective(file)
    if as_json:
        print_json({"valid": True, "settings": rows})
        return
    chosen = [row for row in rows if row["from"] != "default"]
    if chosen:
        table(COLUMNS, map(_row, chosen))
    note(f"the settings are in order: {len(chosen)} of {len(rows)} are set, the others have their defaults")


@app.command(
    "show",
    epilog=example(
        "podium config show",
        "podium config show podium.toml --json | jq 'map(select(.section == \"timings\"))'",
    ),
)
def show(file: File = None, as_json: Json = False) -> None:
    """Show every setting, what it is for this service and where that comes from. Secrets are hidden."""
    from service.cli.output import print_json, table

    rows = _effective(file)
    if as_json:
        print_json(rows)
    else:
        table(COLUMNS, map(_row, rows))


@app.command("init", epilog=example("podium config init", "podium config init - | less"))
def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="The file to write, - for standard output.")] = Path(
        "podium.toml"
    ),
    as_json: Json = False,
) -> None:
    """Write a file of settings to begin with: each with what it does and its default, commented out."""
    from service.cli.output import note, print_json, say
    from service.settings.example import example_file

    if str(file) == "-":
        print_json({"text": example_file()}) if as_json else say(example_file().rstrip("\n"))
        return
    try:
        # A password may come to stand in it.
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(example_file(), encoding="utf-8")
    except FileExistsError:
        raise CommandFailed(f"there is a file {file}", ExitCode.BAD_INPUT, hint="name another") from None
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror}", ExitCode.BAD_INPUT) from None
    if as_json:
        print_json({"file": str(file)})
    else:
        note(f"wrote {file}: `podium serve --config {file}` reads it")


def _effective(file: Path | None) -> Sequence[dict[str, Any]]:
    """Return every setting with its value and its source. Raises ConfigurationError when they are not in order."""
    from service.config import Settings, find_settings
    from service.settings.example import shown
    from service.settings.reading import Origin, Source, all_settings

    settings, sources = find_settings(file=file)
    rows = []
    for setting in all_settings(Settings):
        source = sources.get(setting.key, Source(Origin.DEFAULT))
        value = shown(setting, getattr(getattr(settings, setting.section), setting.name))
        found = {"setting": setting.key, "section": setting.section, "variable": setting.variable}
        rows.append({**found, "value": value, "from": source.origin.value, "place": source.place})
    return rows


def _row(row: dict[str, Any]) -> tuple[str, str, str]:
    value = row["value"]
    text = ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return row["setting"], text, row["place"] or row["from"]
