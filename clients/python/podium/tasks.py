"""Background tasks that outlive the call that starts them.

The loop keeps only weak references to tasks: a task started and dropped can vanish in the middle of its work, and its
failure with it. Here each is held until it ends, and what it raises is logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TypeVar

Result = TypeVar("Result")

_logger = logging.getLogger(__name__)
_running: set[asyncio.Task[object]] = set()


def spawn(work: Coroutine[object, object, Result], *, name: str) -> asyncio.Task[Result]:
    """Starts `work` in the background. Whoever starts it also ends it."""
    task = asyncio.create_task(work, name=name)  # noqa: TID251 -- the one place; see above
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def spawn_held(
    work: Coroutine[object, object, Result], loop: asyncio.AbstractEventLoop, *, name: str
) -> asyncio.Task[Result]:
    """Starts `work` in the background, for a starter that holds the task until it has ended and hears its failure.

    It costs half of what `spawn` does, which tells where there is a task for each of many calls.
    """
    return loop.create_task(work, name=name)


def _ended(task: asyncio.Task[Result]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _logger.debug("%s ended with an error", task.get_name(), exc_info=error)


async def end(task: asyncio.Task[Result]) -> None:
    """Cancels a task and waits until it has ended, however it ends."""
    task.cancel()
    await asyncio.wait({task})
