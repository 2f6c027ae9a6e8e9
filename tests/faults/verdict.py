"""What the log and the ledgers must agree on after every crash. Reads only; each contradiction is one sentence."""

import hashlib
from collections import Counter, defaultdict

from service.domain.canonical import state_digest
from service.domain.rebuild import rebuild
from store.records import decode_record, known_payload
from store.sqlite_reader import SqliteReader
from tests.faults.history import History, refute, requests_in
from tests.faults.ledger import read_ledger

TENANT = "default"
ENDINGS = {"workflow_succeeded", "workflow_failed", "workflow_canceled"}


class Log:
    """The whole log of a file, opened read-only."""

    def __init__(self, recorded, chunks):
        self.recorded = recorded
        self.events = [decode_record(event.record) for event in recorded]
        self.streams = defaultdict(list)
        self.records = defaultdict(list)
        for event, stored in zip(self.events, recorded, strict=True):
            self.streams[event.stream_id].append(event)
            self.records[event.stream_id].append(stored.record)
        self.chunks = chunks
        """(workflow, step, attempt) → the data of its chunks."""

    def of_kind(self, kind, stream_id=None):
        """(event, payload) of every event of a kind, of all streams or of one."""
        events = self.events if stream_id is None else self.streams[stream_id]
        return [(event, known_payload(event)) for event in events if event.WhichOneof("payload") == kind]

    def workflows(self):
        return [event.stream_id for event, _ in self.of_kind("workflow_started")]

    def attempts(self):
        """(key, attempt, fence) of every attempt that was started."""
        return {
            (f"{event.stream_id}/{started.step_id}", started.attempt, started.fence)
            for event, started in self.of_kind("attempt_started")
        }


async def read_log(database):
    async with SqliteReader(database) as reader:
        recorded = []
        while page := await reader.read_all(len(recorded)):
            recorded += page
        log = Log(recorded, {})
        for event, done in log.of_kind("step_succeeded"):
            if done.chunk_count:
                name = (event.stream_id, done.step_id, done.attempt)
                log.chunks[name] = [each.data for each in await reader.read_attempt_chunks(TENANT, *name)]
        return log


def contradictions(log, client, tools):
    """Everything that is wrong, given the log and what clients and tools wrote down."""
    return [
        *numbering(log),
        *outcomes(log),
        *streamed(log),
        *acknowledged_to_clients(log, client),
        *shown_to_watchers(log, client),
        *request_ids(client),
        *refute(history_of(client), requests_in(log.events)),
        *stale_reads(log, client),
        *live_states(log, client),
        *executed(log, tools),
        *acknowledged_to_executors(log, tools),
    ]


def numbering(log):
    """Positions, versions and tenant sequences have no gaps."""
    for number, event in enumerate(log.events, 1):
        if event.position != number:
            yield f"position {number} is missing"
    for stream_id, events in log.streams.items():
        if [event.stream_version for event in events] != list(range(1, len(events) + 1)):
            yield f"the versions of {stream_id} have a gap"
    if [event.tenant_sequence for event in log.events] != list(range(1, len(log.events) + 1)):
        yield "the tenant's sequence has a gap"


def outcomes(log):
    """A step ends once, an attempt starts once, and a workflow ends once."""
    endings = ("step_succeeded", "step_failed", "step_denied", "step_skipped", "step_canceled")
    ended = Counter((event.stream_id, each.step_id) for kind in endings for event, each in log.of_kind(kind))
    yield from (f"step {name} ended {count} times" for name, count in ended.items() if count > 1)
    started = Counter((event.stream_id, each.step_id, each.attempt) for event, each in log.of_kind("attempt_started"))
    yield from (f"attempt {name} started {count} times" for name, count in started.items() if count > 1)
    for stream_id in log.workflows():
        count = sum(event.WhichOneof("payload") in ENDINGS for event in log.streams[stream_id])
        if count != 1:
            yield f"workflow {stream_id} ended {count} times"


def streamed(log):
    """What a success says about chunks is what is stored."""
    for event, done in log.of_kind("step_succeeded"):
        if not done.chunk_count:
            continue
        chunks = log.chunks[event.stream_id, done.step_id, done.attempt]
        if len(chunks) != done.chunk_count or hashlib.sha256(b"".join(chunks)).digest() != done.chunks_digest:
            yield f"the chunks of {event.stream_id}/{done.step_id} are not those of its success"


def acknowledged_to_clients(log, client):
    """Whatever a client was told is recorded."""
    for entry in client:
        if entry["event"] != "answered":
            continue
        stream = log.streams.get(entry["workflow"], [])
        name = f"{entry['call']} {entry['request_id']}"
        if not any(event.WhichOneof("payload") == "workflow_started" for event in stream):
            yield f"{name} was acknowledged and {entry['workflow']} is not in the log"
        elif entry["call"] == "AddStepsRequest":
            added = [step.id for _, each in log.of_kind("steps_added", entry["workflow"]) for step in each.steps]
            if not set(entry["steps"]) <= set(added):
                yield f"{name} was acknowledged and its steps are not in the log"
        elif entry["call"] == "FinishWorkflowRequest":
            if not log.of_kind("workflow_finish_requested", entry["workflow"]):
                yield f"{name} was acknowledged and is not in the log"
        elif entry["call"] == "CallToolRequest":
            proofs = [
                f"{event.shard}:{event.position}" for event, _ in log.of_kind("step_succeeded", entry["workflow"])
            ]
            if proofs != [entry["outcome"]]:
                yield f"{name} was answered with event {entry['outcome']}, the log says {proofs}"


def shown_to_watchers(log, client):
    """A watcher is shown what is recorded, byte for byte."""
    records = {event.SerializeToString(deterministic=True).hex() for event in log.events}
    shown = {(entry["workflow"], entry["record"]) for entry in client if entry["event"] == "shown"}
    for name, record in sorted(shown):
        if record not in records:
            yield f"a watcher of {name} was shown what is not in the log"


def request_ids(client):
    """The same request has the same answer, however often and to whichever process it was put."""
    answers = defaultdict(set)
    for entry in client:
        if entry["event"] == "answered":
            answers[entry["call"], entry["request_id"]].add(entry["workflow"])
    yield from (f"{name} made {sorted(made)}" for name, made in answers.items() if len(made) > 1)


def history_of(client):
    """The clients' requests as a history: each begins when it is sent first, and ends with its first answer."""
    history = History()
    for entry in client:
        if entry["event"] == "sent":
            history.begin(entry["request_id"])
        elif entry["event"] == "answered":
            history.end(entry["request_id"], "ok")
    return history.entries


def stale_reads(log, client):
    """A read of a workflow sees every request to it that was answered before."""
    answered = {entry["request_id"]: entry["workflow"] for entry in client if entry["event"] == "answered"}
    reads = {entry["read"]: entry["workflow"] for entry in client if entry["event"] == "replayed"}
    histories = defaultdict(History)
    for entry in client:
        match entry["event"]:
            case "sent" if entry["request_id"] in answered:
                histories[answered[entry["request_id"]]].begin(entry["request_id"])
            case "answered":
                histories[entry["workflow"]].end(entry["request_id"], "ok")
            case "asked" if entry["read"] in reads:
                histories[reads[entry["read"]]].begin(entry["read"])
            case "replayed":
                seen = requests_in(log.streams[entry["workflow"]][: entry["version"]])
                histories[entry["workflow"]].end(entry["read"], "ok", head=len(seen))
    for workflow_id, history in histories.items():
        yield from refute(history.entries, requests_in(log.streams[workflow_id]))


def live_states(log, client):
    """Every state that the service worked with is what the log gives up to that version."""
    for entry in client:
        if entry["event"] != "replayed":
            continue
        records = log.records[entry["workflow"]]
        rebuilt = rebuild(records[: entry["version"]], decode_record)
        if not entry["matches"] or state_digest(rebuilt).hex() != entry["live"] or len(records) < entry["version"]:
            yield f"{entry['workflow']} was live in another state at version {entry['version']} than rebuilt"


def executed(log, tools):
    """Nothing ran that was not assigned by the log, and every success is of something that ran."""
    attempts = log.attempts()
    ran = {event: {named(entry) for entry in tools if entry["event"] == event} for event in ("started", "finished")}
    yield from (f"{name} ran and was never started in the log" for name in sorted(ran["started"] - attempts))
    fences = {(key, attempt): fence for key, attempt, fence in attempts}
    for event, done in log.of_kind("step_succeeded"):
        key = f"{event.stream_id}/{done.step_id}"
        if (key, done.attempt, fences.get((key, done.attempt))) not in ran["finished"]:
            yield f"{key} succeeded in attempt {done.attempt}, which no tool finished"


def acknowledged_to_executors(log, tools):
    """An outcome that was acknowledged as accepted is recorded for that attempt."""
    recorded = {
        (f"{event.stream_id}/{each.step_id}", each.attempt)
        for kind in ("step_succeeded", "attempt_failed")
        for event, each in log.of_kind(kind)
    }
    for entry in tools:
        if entry["event"] == "acknowledged" and entry["accepted"]:
            key, attempt, _ = named(entry)
            if (key, attempt) not in recorded:
                yield f"the outcome of {key} attempt {attempt} was acknowledged and is not in the log"


def named(entry):
    return entry["key"], entry["attempt"], entry["fence"]


def unfair(kills, client, tools):
    """The kills that hit nobody: no attempt was running, or no client was waiting."""
    runs = [(named(e), e["at_ns"]) for e in tools if e["event"] == "started"]
    ends = {named(e): e["at_ns"] for e in tools if e["event"] in ("finished", "failed")}
    sent = {e["try"]: e["at_ns"] for e in client if e["event"] == "sent"}
    heard = {e["try"]: e["at_ns"] for e in client if e["event"] in ("answered", "unanswered")}
    never = float("inf")

    def hits(at_ns):
        is_running = any(begun < at_ns < ends.get(name, never) for name, begun in runs)
        return is_running and any(begun < at_ns < heard.get(number, never) for number, begun in sent.items())

    return [kill for kill in kills if not hits(kill["at_ns"])]


def read_client_and_tools(field):
    return read_ledger(field.ledger("client")), read_ledger(field.ledger("tools"))
