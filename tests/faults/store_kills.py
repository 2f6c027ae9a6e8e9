"""SIGKILL of a writer, thousands of times: what it acknowledged is in the log, and nothing that nobody asked for.

Every life of the writer first tells what it finds. The parent holds that against what the lives before it told: by
the history checker, by the digest of every stream's state at every version, and byte for byte with what was found
before. Most of the kills are aimed at a point of a group commit, the others come at any time, also while it opens.
"""

import json
import os
import random
import select
import signal
import tempfile
import time
from itertools import count, groupby
from pathlib import Path

from store.migrate import migrate
from store.records import decode_record
from tests.faults.history import Entry, refute
from tests.faults.row import Row, Violation
from tests.faults.store_writer import fold, fork_writer

TARGETS = {"make": 40, "faults": 5_000, "nightly": 1_000}
LIVES_A_DATABASE = 250
AIMED = 0.7
"""How many of the kills are aimed at a point of a group commit. Of the others many come while the log is opened."""
LOOK_AT_EVERYTHING = 50
WITHIN_S = 30.0
CONTROL_KILLS = 40


class Judge:
    """What the lives of the writers told, and what is wrong with it."""

    def __init__(self):
        self.violations = []
        self.killed = 0
        """Lives that were ended by SIGKILL."""
        self.answered = 0
        """Lives that had acknowledged something by then."""
        self.streams = {}
        """stream → (version, state), rebuilt from the log."""
        self.head = 0
        self._records = []
        self._rebuilt = {}
        self._live = {}
        self._epoch = 0
        self._history = []
        self._found = []

    def hear(self, line):
        """Take in a line of the writer's."""
        match line["what"]:
            case "opened":
                if line["epoch"] <= self._epoch:
                    self.blame(f"epoch {line['epoch']} came after epoch {self._epoch}")
                self._epoch = line["epoch"]
                self._found = []
            case "found":
                self._found += [(line["after"] + n, bytes.fromhex(each)) for n, each in enumerate(line["records"], 1)]
            case "looked":
                self._judge(line["head"])
            case "failed":
                self.blame(line["error"])
            case what:
                self._history.append(Entry(what, line["call"], line.get("head")))
                if "state" in line:
                    self._live[line["stream"], line["version"]] = line["state"]

    def _judge(self, head):
        for position, record in self._found:
            if position > len(self._records):
                self._take(record)
            elif self._records[position - 1] != record:
                self.blame(f"position {position} is not what it was")
        if head != len(self._records) or head < self.head:
            self.blame(f"the head is {head}, {len(self._records)} events are there, and {self.head} were before")
        # The positions of this part of the history begin where the last part ended.
        history = [entry._replace(head=self._appends_up_to(entry.head)) for entry in self._history]
        for complaint in refute(history, [call for call, _ in self._new_appends()]):
            self.blame(complaint)
        for call, events in self._new_appends():
            if len(events) != events[0].causation_position:
                self.blame(f"{len(events)} of {events[0].causation_position} events of {call} are there")
        for name, state in self._live.items():
            if self._rebuilt.get(name) != state:
                self.blame(f"stream {name[0]} was live in another state at version {name[1]} than rebuilt")
        self.head = len(self._records)
        self._history, self._live, self._rebuilt = [], {}, {}

    def _appends_up_to(self, head):
        if head is None:
            return None
        return len(self._new_appends(head)) + max(0, head - len(self._records))

    def _new_appends(self, head=None):
        """(call, events) of each append since the log was last looked at, perhaps up to a position only."""
        events = map(decode_record, self._records[self.head : head])
        return [(call, list(group)) for call, group in groupby(events, lambda event: event.correlation_id)]

    def _take(self, record):
        self._records.append(record)
        event = decode_record(record)
        version, digest = self.streams.get(event.stream_id, (0, b""))
        if event.stream_version != version + 1:
            self.blame(f"stream {event.stream_id} goes from version {version} to {event.stream_version}")
        self.streams[event.stream_id] = version + 1, fold(digest, record)
        self._rebuilt[event.stream_id, version + 1] = self.streams[event.stream_id][1].hex()

    def blame(self, what):
        self.violations.append(Violation(what))


def live_and_die(database, judge, order, kill_after_s):
    """One life of the writer, killed after so long unless it kills itself before; the judge hears all it told."""
    pid, pipe = fork_writer(database, order, judge.streams, judge.head)
    deadline = time.monotonic() + kill_after_s
    told = b""
    while (left_s := deadline - time.monotonic()) > 0 and select.select([pipe], [], [], left_s)[0]:
        if not (piece := os.read(pipe, 1 << 16)):
            break
        told += piece
    os.kill(pid, signal.SIGKILL)
    while piece := os.read(pipe, 1 << 16):
        told += piece
    os.close(pipe)
    _, status = os.waitpid(pid, 0)
    *lines, _cut_short = told.split(b"\n")
    for line in lines:
        judge.hear(json.loads(line))
    if order["writes"] and os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        judge.blame(f"a life ended by itself: {os.waitstatus_to_exitcode(status)}")
    elif order["writes"]:
        judge.killed += 1
        judge.answered += any(b'"ok"' in line and b'"state"' in line for line in lines)
    return lines


def order_for(life, chance, points, control=""):
    """How the next life goes: where it ends, and whether it looks at the whole log first."""
    aimed = chance.random() < AIMED or control == "hasty"
    return {
        "life": life,
        "control": control,
        "point": ("committing" if control == "hasty" else chance.choice(points)) if aimed else "",
        "nth": chance.randint(1, 12),
        "everything": life % LOOK_AT_EVERYTHING == 0,
        "writes": True,
    }


def kill(databases, cycles, seed, progress=lambda done: None, control=""):
    """So many lives and deaths, on a new database every now and then.

    Returns the violations, how many were killed, and how many had acknowledged something by then.
    """
    chance = random.Random(seed)
    violations, killed, answered = [], 0, 0
    for first in range(0, cycles, LIVES_A_DATABASE):
        database = databases.make()
        judge = Judge()
        for life in range(first, min(first + LIVES_A_DATABASE, cycles)):
            order = order_for(life, chance, databases.points, control)
            live_and_die(database, judge, order, WITHIN_S if order["point"] else chance.uniform(0, databases.life_s))
            progress(life + 1)
        last = {**order_for(first, chance, databases.points, control), "point": "", "everything": True, "writes": False}
        if b'"looked"' not in b"".join(live_and_die(database, judge, last, WITHIN_S)):
            judge.blame("the last life did not get to look at the log")
        violations += judge.violations
        killed, answered = killed + judge.killed, answered + judge.answered
        databases.drop(database)
    return violations, killed, answered


def run_on(databases, name, target, seed, progress):
    """The row of one kind of database."""
    violations, killed, answered = kill(databases, target, seed, progress)
    hasty, *_ = kill(databases, CONTROL_KILLS, seed, control="hasty")
    resetting, *_ = kill(databases, CONTROL_KILLS, seed, control="resetting")
    found = any("was acknowledged and is not in the log" in each.what for each in hasty)
    found = found and any(each.what.startswith("epoch ") for each in resetting)
    notes = f"{answered:,} of them had acknowledged something, the others died while they opened the log or waited"
    return Row(name, seed, killed, target, tuple(violations), found, notes)


class Files:
    """SQLite databases in a folder."""

    points = ("committing", "written", "committed", "acknowledged")
    life_s = 0.05
    """How long a writer lives at most that does not end itself."""

    def __init__(self, folder):
        self._numbers = count()
        self._folder = Path(folder)

    def make(self):
        path = self._folder / f"{next(self._numbers)}.db"
        migrate(f"sqlite:///{path}")
        return str(path)

    def drop(self, database):
        Path(database).unlink()


def run(scale, seed, progress):
    with tempfile.TemporaryDirectory() as folder:
        return run_on(Files(folder), "store_kills", TARGETS[scale], seed, progress)
