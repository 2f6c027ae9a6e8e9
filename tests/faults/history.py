"""The history checker: what clients saw of their calls, in real time, against what the log says in the end.

A call begins with `invoke` and ends with `ok`, `fail` or `unknown`; one that never ends is unknown as well. Pure: it
reads two lists. The idea, and the words, are those of Jepsen's histories.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from podium.v1 import events_pb2

ENDS = {"ok", "fail", "unknown"}
COMMANDS = {"workflow_started", "steps_added", "workflow_finish_requested"}
"""The events that a request of a client's leaves in the log, whatever else follows from it."""


class Entry(NamedTuple):
    """A moment in the life of a call. A history lists them in the order in which they happened."""

    what: str
    """invoke, ok, fail or unknown."""
    call: str
    """The name of the call, which no other call has."""
    head: int | None = None
    """Of a read that is ok: how many places of the log it saw. None: the call is a write."""


class History:
    """Writes down calls. One that is repeated begins with the first try, and ends with the first answer."""

    def __init__(self):
        self.entries: list[Entry] = []
        self._begun: set[str] = set()
        self._ended: set[str] = set()

    def begin(self, call: str) -> None:
        if call not in self._begun:
            self._begun.add(call)
            self.entries.append(Entry("invoke", call))

    def end(self, call: str, what: str, head: int | None = None) -> None:
        if call not in self._ended:
            self._ended.add(call)
            self.entries.append(Entry(what, call, head))


def requests_in(events: Iterable[events_pb2.Event]) -> list[str]:
    """The ids of the requests whose commands are in the log, in its order, each once an append."""
    recorded = [event.request_id for event in events if event.WhichOneof("payload") in COMMANDS and event.request_id]
    return [request_id for request_id, _ in groupby(recorded)]


def refute(history: Sequence[Entry], log: Sequence[str]) -> Iterator[str]:
    """Everything that contradicts a history. `log` holds the writes' names by position, each once an append."""
    places = defaultdict(list)
    for place, call in enumerate(log, 1):
        places[call].append(place)
    yield from _malformed(history)
    yield from _wrongly_there(history, places)
    yield from _out_of_order(history, places, len(log))


def _malformed(history):
    begun, ended = set(), set()
    for what, call, _ in history:
        if what == "invoke" and call in begun:
            yield f"{call} was invoked twice"
        elif what in ENDS and (call not in begun or call in ended):
            yield f"{call} ended without having begun, or twice"
        elif what not in ENDS and what != "invoke":
            yield f"{call}: {what} is no entry of a history"
        (ended if what in ENDS else begun).add(call)


def _wrongly_there(history, places):
    invoked = {entry.call for entry in history if entry.what == "invoke"}
    for call, found in places.items():
        if call not in invoked:
            yield f"{call} is in the log and nobody asked for it"
        if len(found) > 1:
            yield f"{call} is in the log {len(found)} times"
    for what, call, head in history:
        if what == "ok" and head is None and call not in places:
            yield f"{call} was acknowledged and is not in the log"
        if what == "fail" and call in places:
            yield f"{call} was refused and is in the log"


def _out_of_order(history, places, length):
    """What was acknowledged before a call began comes before it in the log, and a read sees it."""
    newest, newest_call = 0, ""
    floors = {}
    for what, call, head in history:
        place = places[call][0] if call in places else 0
        if what == "invoke":
            floors[call] = newest, newest_call
            if 0 < place < newest:
                yield f"{call} began after {newest_call} was acknowledged, and comes before it in the log"
        elif what == "ok" and head is None and place > newest:
            newest, newest_call = place, call
        elif what == "ok" and head is not None:
            floor, before = floors.get(call, (0, ""))
            if head < floor:
                yield f"{call} read up to {head}, though {before} had been acknowledged at {floor}"
            if head > length:
                yield f"{call} read up to {head}, and the log ends at {length}"
