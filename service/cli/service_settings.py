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

    # As variables, so that all that is wrong with them and with what was found is told at once.
    options = {
        "PODIUM_LISTEN_ADDRESS": listen,
        "PODIUM_DATABASE_URL": database,
        "PODIUM_STATE_DIRECTORY": None if state_directory is None else str(state_directory),
    }
    return load_settings(file=config, options={name: text for name, text in options.items() if text is not None})
