"""What the soaked service holds, read through its parts: everything that must be nothing when there is nothing to do.

It is counted in memory alone, so that no test sees it from outside; a leak of any of it is found in no answer.
"""
# ruff: noqa: SLF001 - counts what nobody is told

import asyncio


def holdings(service):
    """How much of each there is, by a name for findings."""
    return {"tasks": len(asyncio.all_tasks()), **_of_engine(service), **_of_guards(service)}


def _of_engine(service):
    engine, executors = service._parts.engine, service._executors
    places = [session.place for session in executors._sessions if session.place is not None]
    waiting = engine.effects.waiting
    return {
        "sessions": len(executors),
        "places": sum(place.taken for place in places),
        "promised": executors.promised,
        "attempts": len(engine.attempts),
        "waiting": len(engine.dispatcher._waiting),
        "lines": len(waiting._tools) + len(waiting._lines),
        "timers": len(engine.timers),
        "ready": len(engine._ready),
        "residents": len(engine.residency),
        "watchers": sum(map(len, engine.watchers._watchers.values())),
        "streams": len(service._access.streams),
    }


def _of_guards(service):
    resilience, rates = service._resilience, service._rate_limits._lines
    bulkheads, flights = resilience.bulkheads, resilience.cache.guard.flights
    guard, breakers = resilience._breaker_guard, list(resilience.breakers._book)
    lines = [kept.line for kept in breakers]
    tenants = bulkheads._bulkheads.values()
    return {
        "breaker permits": sum(kept.breaker.permits_taken for kept in breakers),
        "breaker attempts": len(guard._under_way) + sum(len(kept.breaker.under_way) for kept in breakers),
        "breaker tickets": sum(len(line._tickets) for line in lines),
        "breaker lines": sum(len(line._waiting) + len(line._woken) for line in lines),
        "bulkhead running": len(bulkheads._running) + sum(each.running.total() for each in tenants),
        "bulkhead queued": len(bulkheads._queued) + sum(each.queued.total() for each in tenants),
        "bulkhead lines": len(bulkheads._lines),
        "limit tickets": len(rates._tickets),
        "limit lines": len(rates._lines),
        "flights": len(flights),
        "flights' steps": sum(map(len, (flights._leading, flights._ending, flights._waiting, flights._given))),
    }
