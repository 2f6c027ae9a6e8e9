"""The gauges of executors' pools: added up by name, bounded, and gone with their executor."""

from types import SimpleNamespace

from prometheus_client import CollectorRegistry, generate_latest

from podium.v1 import executor_service_pb2 as wire
from service.engine.dispatch import Dispatcher, Executor
from service.telemetry.pools import PoolMetrics
from tests.integration.rig.observed import Scrape


def figures(**of):
    return wire.PoolFigures(**{"size": 4, "in_use": 1, **of})


def scraped(pools, pools_max=10):
    registry = CollectorRegistry()
    PoolMetrics(registry).show(lambda: pools, pools_max)
    return Scrape(generate_latest(registry).decode())


def in_use(scrape):
    return scrape.sums("podium_executor_pool_in_use", "tenant", "executor", "pool")


def connected(name, **pools):
    """A session of an executor whose tools told of pools."""
    executor = Executor(SimpleNamespace(executor=name), "acme", {}, max_attempts=1)
    executor.pools |= pools
    return executor


def test_sessions_of_one_name_are_added_up():
    one, other = ("acme", "tools", "shop"), ("acme", "others", "shop")
    scrape = scraped([(one, figures(in_use=2)), (other, figures(in_use=3)), (one, figures(in_use=4))])
    assert in_use(scrape) == {one: 6, other: 3}
    assert scrape.sums("podium_executor_pool_size", "executor") == {("tools",): 8, ("others",): 4}


def test_there_are_no_more_series_than_are_allowed_and_no_figure_is_lost():
    names = [("acme", f"executor-{number}", "shop") for number in range(50)]
    scrape = scraped([(name, figures()) for name in names], pools_max=3)
    assert in_use(scrape) == {**dict.fromkeys(names[:3], 1), ("other", "other", "other"): 47}
    # The negative control: without the bound there is a series for each.
    assert len(in_use(scraped([(name, figures()) for name in names], pools_max=100))) == 50


def test_what_an_executor_told_goes_with_it():
    dispatcher = Dispatcher(lambda *_: None, lambda *_: True)
    leaving = connected("tools", sql_query={"shop": figures()})
    staying = connected("others", sql_query={"shop": figures(), "books": figures()}, again={"shop": figures(in_use=2)})
    for each in (leaving, staying):
        dispatcher.connect(each)
    told = {("acme", "others", "shop"): 2, ("acme", "others", "books"): 1}
    assert in_use(scraped(dispatcher.pools())) == {("acme", "tools", "shop"): 1, **told}
    leaving.gone = True
    dispatcher.disconnect(leaving)
    assert in_use(scraped(dispatcher.pools())) == told
