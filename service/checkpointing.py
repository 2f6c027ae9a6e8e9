"""Who signs the log, how often, and where its checkpoints are copied to, as the settings say."""

from __future__ import annotations

import logging

from service.config import CheckpointSettings
from store.checkpoint_copies import CheckpointCommand, CheckpointCopy, CheckpointFile
from store.checkpointer import Checkpointer
from store.checkpoints import Signer
from store.contract import EventStore

logger = logging.getLogger(__name__)


def checkpointer_of(settings: CheckpointSettings, store: EventStore, signer: Signer) -> Checkpointer:
    """Who signs the log, and does not run yet."""
    return Checkpointer(
        store,
        signer,
        _copies(settings),
        every_events=settings.checkpoint_every_events,
        interval_s=settings.checkpoint_interval_ms / 1000,
    )


def _copies(settings: CheckpointSettings) -> list[CheckpointCopy]:
    """The places outside of the database. Warns when there is none."""
    copies: list[CheckpointCopy] = []
    if settings.checkpoint_file is not None:
        copies.append(CheckpointFile(settings.checkpoint_file))
    if settings.command_words:
        copies.append(CheckpointCommand(settings.command_words))
    if not copies:
        logger.warning(
            "checkpoints are kept in the database alone, which proves nothing against whoever can change it: "
            "set PODIUM_CHECKPOINT_FILE or PODIUM_CHECKPOINT_COMMAND to copy them elsewhere"
        )
    return copies
