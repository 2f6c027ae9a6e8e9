"""The service's settings as a command line changes them: those that are found, and over them the options given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.config import Settings


def settings_with(
    *,
    listen: str | None = None,
    database: str | None = None,
    state_directory: Path | None = None,
    config: Path | None = None,
) -> Settings:
    """Return the settings. Raises service.config.ConfigurationError.

    Args:
        listen: host:port or unix:path.
        database: A URL, or the path of a SQLite file.
        state_directory: Where keys are kept.
        config: A file of settings in place of the one that the environment names.
    """
    from service.config import load_settings
    from service.settings.reading import Option

    # With what was found and not over it, so that all that is wrong is told at once, each with its own name.
    said = {
        "PODIUM_LISTEN_ADDRESS": ("--listen", listen),
        "PODIUM_DATABASE_URL": ("--database", database),
        "PODIUM_STATE_DIRECTORY": ("--state-dir", None if state_directory is None else str(state_directory)),
    }
    options = {variable: Option(name, text) for variable, (name, text) in said.items() if text is not None}
    return load_settings(file=config, options=options)
