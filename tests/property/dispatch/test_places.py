"""Places on executors against a naive model: a list of all who wait, looked through from the beginning each time."""

from types import SimpleNamespace

from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from podium.v1 import definition_pb2
from service.domain.priorities import PATIENCE
from service.engine.dispatch import Dispatcher, Executor
from service.engine.keys import StepKey, ToolVersion
from service.engine.place_queue import PlaceQueue

PRIORITIES = (definition_pb2.PRIORITY_HIGH, definition_pb2.PRIORITY_NORMAL, definition_pb2.PRIORITY_LOW)
TOOLS = ("alpha", "beta")
SPECS = {"both": (TOOLS, 2), "one": (("alpha",), 1), "other": (("beta",), 3)}
BOUND = 2

ACTIONS = st.one_of(
    st.tuples(st.just("enqueue"), st.sampled_from(TOOLS), st.sampled_from(range(3))),
    st.tuples(st.just("recorded"), st.sampled_from(TOOLS), st.sampled_from(range(3)), st.integers(1, 20)),
    st.tuples(st.just("give_back"), st.integers(0, 5)),
    st.tuples(st.just("forget"), st.integers(0, 20)),
    st.tuples(st.just("unfit"), st.sampled_from(list(SPECS)), st.sampled_from(TOOLS)),
    st.tuples(st.just("fit"), st.sampled_from(list(SPECS)), st.sampled_from(TOOLS)),
)


class Naive:
    """Whom a free place is for, the slow way."""

    def __init__(self):
        self.waiting = []
        self.free = {name: places for name, (_, places) in SPECS.items()}
        self.unfit = set()
        self.passed_over = [0, 0, 0]

    def fits(self, name, tool):
        return tool in SPECS[name][0] and (name, tool) not in self.unfit

    def has_room(self, name):
        # Only "other" has a bulkhead.
        return self.free[name] > 0 and (name != "other" or SPECS[name][1] - self.free[name] < BOUND)

    def serve(self, name):
        served = []
        while self.has_room(name):
            fitting = [each for each in self.waiting if self.fits(name, each[1])]
            if not fitting:
                break
            ranks = sorted({rank for _, _, rank in fitting})
            impatient = [rank for rank in ranks[1:] if self.passed_over[rank] >= PATIENCE]
            rank = max(impatient, default=ranks[0])
            self.passed_over = [
                0 if each not in ranks or each == rank else count + (each > rank)
                for each, count in enumerate(self.passed_over)
            ]
            chosen = next(each for each in fitting if each[2] == rank)
            self.waiting.remove(chosen)
            self.free[name] -= 1
            served.append((chosen[0], name))
        return served


def a_dispatcher(offers):
    bounds = {"other": BOUND}
    dispatcher = Dispatcher(
        lambda key, executor: offers.append((key, executor)), lambda *_: False, lambda _: bounds.get
    )
    executors = {}
    for name, (tools, places) in SPECS.items():
        executors[name] = Executor(SimpleNamespace(executor=name), "acme", dict.fromkeys(tools, 1), places)
        dispatcher.connect(executors[name])
    return dispatcher, executors


def key_of(number):
    return StepKey("acme", "wf", f"s{number}")


FULL = [("enqueue", tool, 1) for tool in ("alpha", "alpha", "alpha", "beta", "beta", "beta")]
"""Every place is taken, so that who comes next waits."""
WALKS = st.tuples(st.sampled_from(([], FULL)), st.lists(ACTIONS, max_size=80)).map(lambda both: [*both[0], *both[1]])


SEARCH = settings(max_examples=2_000, deadline=None, database=None, phases=[Phase.generate], derandomize=True)


@settings(max_examples=300, deadline=None)
@given(WALKS)
def test_places_go_to_whom_the_naive_model_gives_them(actions):
    take(actions)


def is_found(actions):
    try:
        take(actions)
    except AssertionError:
        return True
    return False


def test_a_queue_in_the_order_of_joining_is_found_out(monkeypatch):
    monkeypatch.setattr(PlaceQueue, "_put_in_order", lambda _queue, _rank: None)
    find(WALKS, is_found, settings=SEARCH)


def take(actions):
    offers, naive, expected = [], Naive(), []
    dispatcher, executors = a_dispatcher(offers)
    arrived = latest = 0
    since = {}
    for action, *rest in actions:
        if action in ("enqueue", "recorded"):
            tool, rank, position = (*rest, 0)[:3]
            dispatcher.enqueue(key_of(arrived), ToolVersion("acme", tool, 1), PRIORITIES[rank], position)
            latest = max(latest, position)
            since[key_of(arrived)] = position or latest
            naive.waiting.append((key_of(arrived), tool, rank))
            naive.waiting.sort(key=lambda each: since[each[0]])
            arrived += 1
            for name in SPECS:
                expected += naive.serve(name) if tool in SPECS[name][0] else []
        elif action == "give_back" and offers:
            _, executor = offers[rest[0] % len(offers)]
            if executor.taken:
                dispatcher.give_back(executor)
                naive.free[executor.session.executor] += 1
                expected += naive.serve(executor.session.executor)
        elif action == "forget":
            dispatcher.forget(key_of(rest[0]))
            naive.waiting = [each for each in naive.waiting if each[0] != key_of(rest[0])]
        elif action == "unfit":
            executors[rest[0]].unfit[rest[1]] = "no"
            naive.unfit.add(tuple(rest))
        elif action == "fit":
            executors[rest[0]].unfit.pop(rest[1], None)
            naive.unfit.discard(tuple(rest))
            dispatcher.serve_tool("acme", rest[1])
            for name in SPECS:
                expected += naive.serve(name) if rest[1] in SPECS[name][0] else []
        assert [(key, executor.session.executor) for key, executor in offers] == expected
        assert {key for key, _, _ in naive.waiting} == {
            key for key in map(key_of, range(arrived)) if dispatcher.is_waiting(key)
        }


def turns_served(arrivals, patience_matters):
    """Serves one place again and again while high ones keep coming; the ranks in the order in which they went."""
    offers = []
    dispatcher = Dispatcher(lambda key, executor: offers.append((key, executor)), lambda *_: False)
    executor = Executor(SimpleNamespace(executor="one"), "acme", {"alpha": 1}, 1)
    dispatcher.connect(executor)
    tool = ToolVersion("acme", "alpha", 1)
    dispatcher.enqueue(key_of("first"), tool)
    for rank in patience_matters:
        dispatcher.enqueue(key_of(f"waits-{rank}"), tool, PRIORITIES[rank])
    for number in range(arrivals):
        dispatcher.enqueue(key_of(f"high-{number}"), tool, PRIORITIES[0])
        dispatcher.give_back(executor)
    return [key.step_id for key, _ in offers]


def test_who_waits_with_low_priority_has_its_turn_although_others_keep_coming():
    served = turns_served(2 * PATIENCE, (1, 2))
    assert {"swaits-1", "swaits-2"} <= set(served)
    assert served.index("swaits-2") <= PATIENCE + 2


def test_nobody_with_low_priority_goes_before_others_have_gone_often_enough():
    served = turns_served(PATIENCE, (1, 2))
    assert not {"swaits-1", "swaits-2"} & set(served)
