"""`podium.cacheable`: what is one call, who runs it, and what a caller may do with what it gets."""

import asyncio
import collections
import dataclasses
import datetime as dt
import enum
import functools
import gc
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

import podium
from podium.cached_function import cacheable, get_cache_stats, invalidate_cache

WITHIN_S = 10.0


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Source:
    """A function's inside: counts its runs, and raises when it is told to."""

    def __init__(self):
        self.runs = []
        self.error = None

    def __call__(self, *what):
        self.runs.append(what)
        if self.error is not None:
            raise self.error
        return {"run": len(self.runs)}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def source():
    return Source()


@dataclasses.dataclass
class Range:
    """Can be changed, and so has no hash."""

    first: int
    last: int


class Opaque:
    __hash__ = None


@dataclasses.dataclass(frozen=True)
class Fixed:
    """Cannot be changed, and so has a hash."""

    value: object
    note: object = dataclasses.field(default=None, compare=False)


class Colour(enum.Enum):
    RED = "red"


NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
BERLIN, PARIS = ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/Paris")


def counts(function):
    stats = get_cache_stats(function)
    return {name: value for name, value in dataclasses.asdict(stats).items() if value}


def test_arguments_are_bound_before_they_are_compared(source):
    @cacheable(ttl="1m")
    def price(symbol, currency="EUR", *rest, exact=False, **more):
        return source(symbol)

    same = [price("AAPL"), price(symbol="AAPL"), price("AAPL", "EUR"), price("AAPL", currency="EUR", exact=False)]
    assert same == [{"run": 1}] * 4
    assert price("AAPL", "USD") == {"run": 2}
    assert price("AAPL", "EUR", 1) == {"run": 3}
    assert price("AAPL", note="x") == {"run": 4}
    assert counts(price) == {"hits": 3, "misses": 4, "size": 4}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, {"a": [2]}], [1, {"a": [2]}]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2}, {2, 1}),
        (Range(1, 2), Range(1, 2)),
        (bytearray(b"x"), bytearray(b"x")),
        (collections.deque([1]), collections.deque([1])),
        (Colour.RED, Colour.RED),
        (None, None),
        (Fixed([1, {"a": Fixed(2)}]), Fixed([1, {"a": Fixed(2)}])),
        (Fixed(1, note=Opaque()), Fixed(1)),
        (Fixed, Fixed),
        (Decimal("1.0"), Decimal("1.0")),
        (NOON, NOON.replace()),
        (NOON.astimezone(BERLIN), NOON.astimezone(BERLIN)),
        (range(3), range(3)),
    ],
)
def test_what_is_equal_is_one_call_whether_or_not_it_has_a_hash(source, one, other):
    cached = cacheable(ttl=60)(source)
    assert cached(one) == cached(other)
    assert len(source.runs) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        ([1], (1,)),
        ([1], [True]),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, [("a", 1)]),
        ("1", 1),
        (b"x", bytearray(b"x")),
        (Range(1, 2), (1, 2)),
        ({1}, frozenset({1})),
        (Colour.RED, "red"),
        (Fixed(1), Fixed(True)),
        (Fixed(1), Fixed(1.0)),
        (Fixed((1, Fixed(0))), Fixed((1, Fixed(False)))),
        ({Fixed(1)}, {Fixed(True)}),
    ],
)
def test_what_is_of_another_type_is_another_call(source, one, other):
    cached = cacheable(ttl=60)(source)
    cached(one)
    cached(other)
    assert len(source.runs) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        (complex(0, 0.0), complex(0, -0.0)),
        (Decimal("1.0"), Decimal("1.00")),
        (NOON, NOON.astimezone(BERLIN)),
        (NOON.astimezone(PARIS), NOON.astimezone(BERLIN)),
        (NOON, NOON.replace(tzinfo=dt.timezone(dt.timedelta(0), "Z"))),
        (
            dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
            dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        ),
        (
            dt.time(1, tzinfo=dt.UTC),
            dt.time(2, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        ),
        (range(0), range(1, 1)),
    ],
)
def test_what_is_equal_and_can_be_told_apart_is_another_call(source, one, other):
    assert one == other
    cached = cacheable(ttl=60)(source)
    for each in (one, other, Fixed([one]), Fixed([other])):
        cached(each)
        cached(each)
    assert len(source.runs) == 4


def test_a_mapping_whose_order_counts_is_another_call_in_another_order(source):
    cached = cacheable(ttl=60)(source)
    cached(collections.OrderedDict(a=1, b=2))
    cached(collections.OrderedDict(b=2, a=1))
    assert len(source.runs) == 2


def test_an_argument_that_was_changed_is_another_argument(source):
    cached = cacheable(ttl=60)(lambda value: source())
    argument = [1]
    cached(argument)
    argument.append(2)
    assert cached(argument) == {"run": 2}
    assert cached([1]) == {"run": 1}


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        (Opaque(), "argument value: a Opaque can be neither hashed nor taken apart"),
        ([{"x": Opaque()}], "argument value: a Opaque can be neither hashed nor taken apart"),
        (nested(100_000), "argument value: it is nested too deeply"),
        (podium.Context(None, None), "a podium.Context is another for each call"),
    ],
)
def test_an_argument_that_cannot_be_compared_is_refused_by_name(source, argument, problem):
    cached = cacheable(ttl=60)(lambda value: source())
    with pytest.raises(TypeError, match=problem):
        cached(argument)
    assert source.runs == []


def test_arguments_that_the_function_would_refuse_are_refused():
    @cacheable(ttl=60)
    def one(symbol):
        return symbol

    with pytest.raises(TypeError, match="missing a required argument: 'symbol'"):
        one()
    with pytest.raises(TypeError, match="unexpected keyword"):
        one("a", other=1)
    assert counts(one) == {}


def test_a_result_is_fresh_until_its_time_is_over(source, clock):
    cached = cacheable(ttl="10s", clock=clock)(source)
    cached()
    clock.now += 9.999
    assert cached() == {"run": 1}
    clock.now += 0.001
    assert cached() == {"run": 2}
    assert counts(cached) == {"hits": 1, "misses": 2, "size": 1}


def test_with_no_time_nothing_is_kept(source, clock):
    cached = cacheable(ttl=0, clock=clock)(lambda value=None: source())
    assert [cached(), cached(Opaque())] == [{"run": 1}, {"run": 2}]
    assert counts(cached) == {"misses": 2}


@pytest.mark.parametrize("settings", [{"ttl": -1}, {"ttl": 1, "maxsize": 0}, {"ttl": 1, "stale": -1}, {"ttl": "soon"}])
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValueError, match=r"is no duration|must be at least 1"):
        cacheable(**settings)


def test_a_generator_is_refused():
    def numbers():
        yield 1

    with pytest.raises(TypeError, match="numbers is a generator"):
        cacheable(ttl=1)(numbers)


def test_the_one_used_longest_ago_makes_room(source):
    cached = cacheable(ttl=60, maxsize=2)(source)
    for value in ("a", "b", "a", "c", "a", "b"):
        cached(value)
    assert [value for (value,) in source.runs] == ["a", "b", "c", "b"]
    assert counts(cached) == {"hits": 2, "misses": 4, "evictions": 2, "size": 2}


def test_none_is_a_result():
    runs = []
    cached = cacheable(ttl=60)(lambda: runs.append(1))
    assert [cached(), cached()] == [None, None]
    assert runs == [1]


def test_an_exception_is_not_kept(source):
    cached = cacheable(ttl=60)(source)
    source.error = ValueError("down")
    for _ in range(2):
        with pytest.raises(ValueError, match="down"):
            cached()
    source.error = None
    assert cached() == {"run": 3}
    assert counts(cached) == {"misses": 3, "errors": 2, "size": 1}


def test_an_old_result_stands_in_for_a_failure_as_long_as_it_may(source, clock):
    cached = cacheable(ttl=10, stale=20, clock=clock)(source)
    cached()
    source.error = ValueError("down")
    clock.now += 29
    assert cached() == {"run": 1}
    assert counts(cached) == {"misses": 2, "errors": 1, "stale": 1, "size": 1}
    clock.now += 1
    with pytest.raises(ValueError, match="down"):
        cached()
    assert counts(cached) == {"misses": 3, "errors": 2, "stale": 1}


def test_nobody_changes_what_another_gets(source):
    cached = cacheable(ttl=60)(lambda: {"rows": [source()]})
    first = cached()
    first["rows"].append("mine")
    second = cached()
    second["rows"].append("mine")
    assert cached() == {"rows": [{"run": 1}]}


def test_what_cannot_be_copied_is_given_and_not_kept():
    @cacheable(ttl=60)
    def cached():
        return threading.Lock()

    assert cached() is not cached()
    assert counts(cached) == {"misses": 2, "errors": 2}


def test_a_result_is_forgotten_by_its_arguments_and_all_are_without(source):
    @cacheable(ttl=60)
    def price(symbol, currency="EUR"):
        return source(symbol)

    for symbol in ("a", "b", "c"):
        price(symbol)
    assert invalidate_cache(price, symbol="a", currency="EUR") == 1
    assert price.invalidate_cache("a") == 0
    price("b")
    price("a")
    assert [symbol for (symbol,) in source.runs] == ["a", "b", "c", "a"]
    assert price.invalidate_cache() == 3
    assert price.get_cache_stats() == podium.get_cache_stats(price)
    assert price.get_cache_stats().size == 0


@pytest.mark.parametrize("ask", [get_cache_stats, invalidate_cache])
def test_a_function_without_a_cache_has_no_figures(ask):
    with pytest.raises(TypeError, match="is not cacheable"):
        ask(nested)


class Shop:
    """Equal to all others, and without a hash."""

    def __init__(self, name):
        self.name = name
        self.runs = 0

    def __eq__(self, other):
        return isinstance(other, Shop)

    __hash__ = None

    @cacheable(ttl=60)
    def price(self, article):
        self.runs += 1
        return [self.name, article]

    @classmethod
    @cacheable(ttl=60)
    def of_class(cls, article):
        return cls.__name__

    @staticmethod
    @cacheable(ttl=60)
    def anywhere(article):
        return article


class Market(Shop):
    pass


def test_a_method_belongs_to_its_object_and_does_not_keep_it_alive():
    invalidate_cache(Shop.price)
    one, other = Shop("one"), Shop("other")
    assert one.price("tea") == one.price(article="tea") == ["one", "tea"]
    assert other.price("tea") == ["other", "tea"]
    assert (one.runs, other.runs) == (1, 1)
    assert invalidate_cache(one.price, "tea") == 1
    other.price("tea")
    assert other.runs == 1
    one.price("tea")
    assert get_cache_stats(Shop.price).size == 2
    del one
    gc.collect()
    assert get_cache_stats(Shop.price).size == 1
    assert Shop("new").price("tea") == ["new", "tea"], "maybe at the same place in memory"


def test_a_method_of_a_class_knows_its_class_and_a_static_one_its_arguments():
    assert [Shop.of_class("tea"), Market.of_class("tea"), Shop("s").of_class("tea")] == ["Shop", "Market", "Shop"]
    assert [Shop.anywhere("tea"), Market("m").anywhere("tea")] == ["tea", "tea"]
    assert get_cache_stats(Shop.anywhere).misses == 1


def test_an_object_that_would_be_kept_alive_is_refused():
    class Slotted:
        __slots__ = ("x",)

        @cacheable(ttl=60)
        def method(self):
            return 1

    with pytest.raises(TypeError, match="__weakref__"):
        Slotted().method()


def test_calls_of_many_threads_at_once_are_one_run(source):
    entered, gate = threading.Event(), threading.Event()

    @cacheable(ttl=60)
    def slow(value):
        entered.set()
        assert gate.wait(WITHIN_S)
        return source(value)

    with ThreadPoolExecutor(32) as pool:
        first = pool.submit(slow, "a")
        assert entered.wait(WITHIN_S)
        others = [pool.submit(slow, value="a") for _ in range(31)]
        while get_cache_stats(slow).coalesced < 31:
            assert not first.done()
        gate.set()
        results = [each.result(WITHIN_S) for each in (first, *others)]
    assert results == [{"run": 1}] * 32
    assert len({id(each) for each in results}) == 32, "each has its own"
    assert counts(slow) == {"misses": 1, "coalesced": 31, "size": 1}


async def test_a_thousand_tasks_at_once_are_one_run(source):
    gate = asyncio.Event()

    @cacheable(ttl=60)
    async def slow(value):
        await gate.wait()
        return source(value)

    tasks = [asyncio.create_task(slow("a")) for _ in range(1000)]
    await asyncio.sleep(0)
    assert get_cache_stats(slow).coalesced == 999
    gate.set()
    results = await asyncio.gather(*tasks)
    assert results == [{"run": 1}] * 1000
    assert len({id(each) for each in results}) == 1000
    assert counts(slow) == {"misses": 1, "coalesced": 999, "size": 1}


async def test_without_the_cache_each_of_many_tasks_is_a_run(source):
    uncached = cacheable(ttl=0)(functools.partial(asyncio.to_thread, source))
    await asyncio.gather(*(uncached() for _ in range(100)))
    assert len(source.runs) == 100


async def test_those_who_wait_share_the_failure_and_the_next_call_runs_anew():
    gate, runs = asyncio.Event(), []

    @cacheable(ttl=60)
    async def fails():
        runs.append(1)
        await gate.wait()
        raise ValueError("down")

    tasks = [asyncio.create_task(fails()) for _ in range(5)]
    await asyncio.sleep(0)
    assert get_cache_stats(fails).coalesced == 4
    gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(each) for each in results] == ["down"] * 5
    with pytest.raises(ValueError, match="down"):
        await fails()
    assert len(runs) == 2


async def test_a_task_that_is_cancelled_leaves_the_run_to_another():
    gate, runs = asyncio.Event(), []

    @cacheable(ttl=60)
    async def slow():
        runs.append(1)
        await gate.wait()
        return "done"

    first = asyncio.create_task(slow())
    others = [asyncio.create_task(slow()) for _ in range(3)]
    await asyncio.sleep(0)
    assert get_cache_stats(slow).coalesced == 3
    others[0].cancel()
    first.cancel()
    await asyncio.wait({first, others[0]})
    gate.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(each) for each in results[:2]] == [asyncio.CancelledError] * 2
    assert results[2:] == ["done", "done"]
    assert len(runs) == 2


async def test_what_began_before_an_invalidation_is_not_kept():
    gate, runs = asyncio.Event(), []

    @cacheable(ttl=60)
    async def slow(value):
        runs.append(1)
        await gate.wait()
        return len(runs)

    before = asyncio.create_task(slow("a"))
    await asyncio.sleep(0)
    invalidate_cache(slow, "a")
    after = asyncio.create_task(slow("a"))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(before, after)
    assert len(runs) == 2, "who asks after it does not get what began before it"
    assert counts(slow) == {"misses": 2, "size": 1}


def test_a_function_that_calls_itself_does_not_wait_for_itself():
    calls = []

    @cacheable(ttl=60)
    def factorial(n):
        calls.append(n)
        if calls == [3]:
            factorial(3)
        return n * factorial(n - 1) if n else 1

    assert factorial(3) == 6
    assert factorial(2) == 2


async def test_tasks_of_two_loops_share_a_run(source):
    entered, gate = threading.Event(), threading.Event()

    @cacheable(ttl=60)
    async def slow():
        entered.set()
        await asyncio.to_thread(gate.wait, WITHIN_S)
        return source()

    elsewhere = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(slow())))
    await asyncio.to_thread(entered.wait, WITHIN_S)
    here = asyncio.create_task(slow())
    await asyncio.sleep(0)
    assert get_cache_stats(slow).coalesced == 1
    gate.set()
    assert await asyncio.gather(elsewhere, here) == [{"run": 1}, {"run": 1}]


async def test_a_run_whose_loop_was_closed_is_waited_for_by_nobody(source):
    entered = threading.Event()

    @cacheable(ttl=60)
    async def slow():
        entered.set()
        if source()["run"] == 1:
            await asyncio.get_running_loop().create_future()
        return "done"

    def leave(loop):
        lost = loop.create_task(slow())
        loop.run_until_complete(asyncio.sleep(0))
        return lost

    loop = asyncio.new_event_loop()
    lost = await asyncio.to_thread(leave, loop)
    waiting = asyncio.create_task(slow())
    await asyncio.sleep(0)
    assert get_cache_stats(slow).coalesced == 1
    loop.close()
    async with asyncio.timeout(WITHIN_S):
        assert await slow() == "done"
        assert await waiting == "done", "who comes later wakes those who wait"
    assert len(source.runs) == 2
    # The task ends where it is thrown away, and tells nobody.
    lost.get_coro().close()
    assert await slow() == "done"


def test_it_stays_the_function_that_it_was():
    @cacheable(ttl=60)
    async def search(query: str, limit: int = 3) -> list[str]:
        """Find it."""
        return [query] * limit

    assert inspect.iscoroutinefunction(search)
    assert (search.__name__, search.__doc__) == ("search", "Find it.")
    app = podium.Executor("e")
    app.tool(search)
    assert '"limit"' in app.tools["search"].definition.input_schema_json


def test_without_a_lifetime_the_remedy_is_told():
    for misuse in (lambda: cacheable(len), cacheable, lambda: cacheable(len, ttl="1s")):
        with pytest.raises(TypeError, match=r'@cacheable\(ttl="5m"\)'):
            misuse()


@pytest.mark.parametrize("maxsize", [None, "10", 1.5, True])
def test_a_cache_has_a_bound_that_is_a_whole_number(maxsize):
    with pytest.raises(TypeError, match="maxsize must be a whole number, not"):
        cacheable(ttl=1, maxsize=maxsize)


@pytest.mark.parametrize("members", [{"ttl": True}, {"ttl": False}, {"ttl": 1, "stale": True}])
def test_a_truth_value_is_no_lifetime(members):
    with pytest.raises(ValueError, match="is no duration"):
        cacheable(**members)
