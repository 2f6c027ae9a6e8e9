"""Letting time pass, where how long something lasts is the fault itself."""

import asyncio
import contextlib


async def pass_time(seconds):
    """Let so much real time pass."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
