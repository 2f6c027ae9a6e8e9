"""The service's settings as a command line changes them: those that are found, and over them the options given."""

from __future__ import annotations

from dataclasses import replace
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

    settings = load_settings(file=config)
    listening, storage = settings.listening, settings.storage
    if listen is not None:
        listening = replace(listening, listen_address=listen)
    if database is not None:
        storage = storage.at(database)
    if state_directory is not None:
        storage = replace(storage, state_directory=state_directory)
    return replace(settings, listening=listening, storage=storage).checked()
