"""The health of tools that use a pool of connections, and the pool's figures for whoever runs them.

Invariant: what is told holds no address, no statement and no value; failures of the tools do not either.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from podium import Health, PodiumError
from podium.pool_use import PoolStatistics

_logger = logging.getLogger(__name__)


async def health_of(try_out: Callable[[], Awaitable[None]], pools: Callable[[], Iterable[PoolStatistics]]) -> Health:
    """Try a tool's means, and say how they are with the figures of their pools."""
    problem = ""
    try:
        await try_out()
    except PodiumError as error:
        problem = error.message
    used = list(pools())
    told = [str(each) for each in used]
    log_pools(used)
    return Health(not problem, "; ".join([problem, *told] if problem else told), used)


def log_pools(pools: Iterable[PoolStatistics]) -> None:
    """Say in the process's log how the pools are used."""
    for each in pools:
        _logger.info("%s", each)
