"""`cacheable`: a decorator that keeps the results of a plain Python function in this process.

It knows the arguments and nothing else: whatever else a result depends on, such as who asks, must be an argument. For
tools there is `Caching`, which the service applies, by tenant and by subject.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Never, TypeVar, cast

from podium.argument_keys import ArgumentKeys
from podium.clock import monotonic
from podium.durations import Duration, seconds
from podium.function_cache import CacheStats, Ending, Flight, FunctionCache, Landed

Cached = TypeVar("Cached", bound=Callable[..., Any])

_CACHE = "__podium_cache__"


def cacheable(
    *bare: Never,
    ttl: Duration | None = None,
    maxsize: int = 1024,
    stale: Duration = 0.0,
    clock: Callable[[], float] = monotonic,
) -> Callable[[Cached], Cached]:
    """Keeps what a function returns: `@cacheable(ttl="5m")`.

    Arguments are bound to the function's parameters first, so that f("AAPL") and f(symbol="AAPL") are one. Calls of the
    same at the same time run it once. What it raises is not kept; None is a result like any other. Callers get copies.
    The decorated function also has `get_cache_stats()` and `invalidate_cache(...)`.

    Args:
        bare: Nothing. How long a result is fresh is known to whoever wrote the function alone, so ttl has no default.
        ttl: How long a result is fresh. 0: nothing is kept, every call runs.
        maxsize: How many results are kept; beyond, the one that was used longest ago makes room.
        stale: How long after that an old result stands in when the function raises.
        clock: Where seconds come from.

    Raises:
        TypeError: There is no ttl, maxsize is no whole number, or the function is a generator.
        ValueError: A duration is none or negative, or maxsize is not positive.
    """
    if bare or ttl is None:
        raise TypeError('say how long a result is fresh: @cacheable(ttl="5m")')
    if type(maxsize) is not int:
        raise TypeError(
            f"maxsize must be a whole number, not {maxsize!r}: a cache without a bound would fill the memory"
        )
    ttl_s, stale_s = seconds(ttl), seconds(stale)
    if maxsize < 1:
        raise ValueError(f"maxsize must be at least 1, not {maxsize}; ttl=0 keeps nothing")

    def declare(function: Cached) -> Cached:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} is a generator: what it yields cannot be given twice")
        keys = ArgumentKeys(function)
        cache = FunctionCache(keys, ttl_s=ttl_s, stale_s=stale_s, maxsize=maxsize, clock=clock)
        wrap = _for_tasks if inspect.iscoroutinefunction(function) else _for_threads
        cached = wrap(function, keys, cache, kept=ttl_s > 0)

        def invalidate(*arguments: object, **keywords: object) -> int:
            return cache.invalidate(keys.of(arguments, keywords) if arguments or keywords else None)

        members = {_CACHE: (cache, keys), "get_cache_stats": cache.stats, "invalidate_cache": invalidate}
        for name, member in members.items():
            setattr(cached, name, member)
        return cast("Cached", cached)

    return declare


def get_cache_stats(function: Callable[..., object]) -> CacheStats:
    """Returns what the cache of a function that is `cacheable` did. Raises TypeError for any other."""
    return _cache_of(function)[0].stats()


def invalidate_cache(function: Callable[..., object], /, *arguments: object, **keywords: object) -> int:
    """Forgets the result for exactly these arguments; without any, all results of the function.

    A run that is under way gives its result to those who wait for it, and it is not kept. A method of an object
    (`invalidate_cache(shop.price, "tea")`) speaks of that object alone, unless there are no arguments.

    Returns:
        How many results were forgotten.

    Raises:
        TypeError: The function is not `cacheable`, or does not take these arguments.
    """
    cache, keys = _cache_of(function)
    if not (arguments or keywords):
        return cache.invalidate()
    owner = getattr(function, "__self__", None)
    return cache.invalidate(keys.of(arguments if owner is None else (owner, *arguments), keywords))


def _cache_of(function: Callable[..., object]) -> tuple[FunctionCache, ArgumentKeys]:
    found = getattr(function, _CACHE, None)
    if found is None:
        raise TypeError(f"{getattr(function, '__qualname__', function)} is not cacheable")
    return cast("tuple[FunctionCache, ArgumentKeys]", found)


def _for_threads(
    function: Callable[..., Any], keys: ArgumentKeys, cache: FunctionCache, *, kept: bool
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: object, **keywords: object) -> Any:  # noqa: ANN401 -- what the function returns
        key = keys.of(arguments, keywords) if kept else None
        ending: Flight | Ending | None = "abandoned"
        while key is not None and ending == "abandoned":
            entered = cache.enter(key, threading.get_ident())
            ending = entered.result() if isinstance(entered, Future) else entered
        if isinstance(ending, Landed):
            return ending.given()
        if isinstance(ending, Flight):
            return run(ending, arguments, keywords)
        with cache.passed():
            return function(*arguments, **keywords)

    def run(flight: Flight, arguments: tuple[object, ...], keywords: dict[str, object]) -> Any:  # noqa: ANN401 -- as above
        try:
            value = function(*arguments, **keywords)
        except Exception as error:
            if (old := cache.fail(flight, error)) is None:
                raise
            return old.given()
        except BaseException:
            cache.abandon(flight)
            raise
        cache.land(flight, value)
        return value

    return call


def _for_tasks(
    function: Callable[..., Any], keys: ArgumentKeys, cache: FunctionCache, *, kept: bool
) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*arguments: object, **keywords: object) -> Any:  # noqa: ANN401 -- what the function returns
        key = keys.of(arguments, keywords) if kept else None
        ending: Flight | Ending | None = "abandoned"
        while key is not None and ending == "abandoned":
            entered = cache.enter(key, asyncio.current_task())
            if isinstance(entered, Future):
                waiting: asyncio.Future[Ending] = asyncio.wrap_future(entered)
                ending = await waiting
            else:
                ending = entered
        if isinstance(ending, Landed):
            return ending.given()
        if isinstance(ending, Flight):
            return await run(ending, arguments, keywords)
        with cache.passed():
            return await function(*arguments, **keywords)

    async def run(flight: Flight, arguments: tuple[object, ...], keywords: dict[str, object]) -> Any:  # noqa: ANN401 -- as above
        try:
            value = await function(*arguments, **keywords)
        except Exception as error:
            if (old := cache.fail(flight, error)) is None:
                raise
            return old.given()
        except BaseException:
            # A cancel of this task is none of those who wait.
            cache.abandon(flight)
            raise
        cache.land(flight, value)
        return value

    return call
