"""Whoever can write the database changes it at every position of a log, and verification has to find each change.

Two kinds of forger. One changes bytes and rows. The other knows everything but the signing key: it fixes positions,
versions, sequences and columns, computes the tiles anew, and takes away the signed checkpoints that would tell. What it
cannot reach are the checkpoints that were copied outside.

The cases run on the verification itself, over rows in memory: it is one fold, so it is brought to the position once
and forked there for every case.
"""

import itertools
import pickle
import random
from functools import cache

from podium.v1 import events_pb2
from store.checkpoints import Checkpoint
from store.contract import SHARD, RecordedEvent
from store.log_verification import Claim, LogVerification
from store.merkle import leaf_hash
from store.records import encode_envelope, encode_record, type_number
from store.tiles import TILE_WIDTH, GrowingTree
from store.verify import LogExtent

EVENTS = 10_000
CHECKPOINT_EVERY = 500
TENANTS = ("acme", "globex", "initech")
STREAMS = 150
CONTROLS = 4
"""Tries of a kind without anything kept outside."""

_CHUNK = 32


class Log:
    """An honest log, with its tiles, and the checkpoints that were signed while it grew."""

    def __init__(self, seed, events=EVENTS):
        chance = random.Random(seed)
        tree = GrowingTree()
        self.rows, self.tiles, self.checkpoints = [], {}, []
        self.sequences = dict.fromkeys(TENANTS, 0)
        versions = {}
        for position in range(1, events + 1):
            tenant = chance.choice(TENANTS)
            stream_id = f"wf_{chance.randrange(STREAMS)}"
            version = versions[tenant, stream_id] = versions.get((tenant, stream_id), 0) + 1
            self.sequences[tenant] += 1
            payload = events_pb2.StepSkipped(step_id=f"step_{position}")
            stamp = 1_700_000_000_000_000 + position // 7
            record = encode_record(
                payload,
                encode_envelope(shard=SHARD, tenant=tenant, stream_id=stream_id),
                position=position,
                tenant_sequence=self.sequences[tenant],
                stream_version=version,
                recorded_at_us=stamp,
            )
            self.rows.append(RecordedEvent(position, tenant, stream_id, version, type_number(payload), stamp, record))
            for tile in tree.extend([leaf_hash(record)]):
                self.tiles[tile[:2]] = tile.hashes
            if position % CHECKPOINT_EVERY == 0 or position == events:
                self.checkpoints.append(Checkpoint("a-test", position, tree.root()))

    def extent(self):
        head = len(self.rows)
        return LogExtent(head, 1, head, head // TILE_WIDTH, head, self.sequences)

    def verification(self, *, stored, outside):
        """A pass that begins, and will meet these of the checkpoints."""
        verification = LogVerification(tiled_size=len(self.rows) if stored else 0)
        for is_kept, source in ((stored, "the stored checkpoint"), (outside, "the outside checkpoint")):
            if is_kept:
                verification.expect([Claim(checkpoint, source) for checkpoint in self.checkpoints])
        return verification


def is_found(verification, rows, extent, tiles=None):
    """Whether verification finds something in the rest of a log. Without tiles they are computed from the records."""
    rows = iter(rows)
    while not verification.findings_count and (chunk := list(itertools.islice(rows, _CHUNK))):
        filled, _ = verification.take(chunk)
        verification.compare_tiles(filled, {tile[:2]: tile.hashes for tile in filled} if tiles is None else tiles)
    if not verification.findings_count:
        verification.close(extent)
    return verification.findings_count > 0


# The forger who changes bytes and rows. Each gives the rows from a position on, and how far everything goes.


def flipped(log, position, chance):
    row = log.rows[position - 1]
    altered = bytearray(row.record)
    altered[chance.randrange(len(altered))] ^= 1 << chance.randrange(8)
    yield row._replace(record=bytes(altered))
    yield from itertools.islice(log.rows, position, None)


def deleted(log, position, _chance):
    return itertools.islice(log.rows, position, None)


def reordered(log, position, _chance):
    row, following = log.rows[position - 1 : position + 1]
    yield following._replace(position=row.position)
    yield row._replace(position=following.position)
    yield from itertools.islice(log.rows, position + 1, None)


def truncated(_log, _position, _chance):
    return iter(())


# The forger who knows everything but the key.


def written(row, **changed):
    """The row as the service would have written it."""
    event = events_pb2.Event.FromString(row.record)
    columns = {name: value for name, value in changed.items() if name in RecordedEvent._fields}
    for name, value in changed.items():
        setattr(event, name, value)
    return row._replace(record=event.SerializeToString(), **columns)


class Forger:
    """Rewrites what follows a change so that nothing in the database contradicts anything else in it."""

    def __init__(self, log):
        self._log = log
        self._moved = cache(self._moved)

    def _moved(self, index, is_of_tenant, is_of_stream):
        """A row as it would be without an event ahead of it, of its tenant, of its stream, or of neither."""
        row = self._log.rows[index]
        sequence = events_pb2.Event.FromString(row.record).tenant_sequence
        return written(
            row,
            position=row.position - 1,
            tenant_sequence=sequence - is_of_tenant,
            stream_version=row.stream_version - is_of_stream,
        )

    def flipped(self, position):
        row = self._log.rows[position - 1]
        # The last byte is a digit of the step's id: this is another event, and a good one.
        yield row._replace(record=row.record[:-1] + bytes([row.record[-1] ^ 1]))
        yield from itertools.islice(self._log.rows, position, None)

    def deleted(self, position):
        gone = self._log.rows[position - 1]
        for index in range(position, len(self._log.rows)):
            row = self._log.rows[index]
            is_of_tenant = row.tenant == gone.tenant
            yield self._moved(index, is_of_tenant, is_of_tenant and row.stream_id == gone.stream_id)

    def reordered(self, position):
        first, second = self._log.rows[position - 1 : position + 1]
        one, other = (events_pb2.Event.FromString(row.record) for row in (first, second))
        places = [{"position": row.position, "recorded_at_us": row.recorded_at_us} for row in (first, second)]
        earlier, later = dict(places[0]), dict(places[1])
        if first.tenant == second.tenant:
            earlier["tenant_sequence"], later["tenant_sequence"] = one.tenant_sequence, other.tenant_sequence
            if first.stream_id == second.stream_id:
                earlier["stream_version"], later["stream_version"] = first.stream_version, second.stream_version
        yield written(second, **earlier)
        yield written(first, **later)
        yield from itertools.islice(self._log.rows, position + 1, None)

    def truncated(self, _position):
        return iter(())

    def extent(self, kind, position):
        """How far everything goes, fixed to match."""
        rows = self._log.rows
        sequences = dict(self._log.sequences)
        head = len(rows)
        if kind == "truncated":
            head = position - 1
            for row in rows[head:]:
                sequences[row.tenant] -= 1
        elif kind == "deleted":
            head -= 1
            sequences[rows[position - 1].tenant] -= 1
        return LogExtent(head, 1, head, head // TILE_WIDTH, 0, sequences)


KINDS = ("flipped", "deleted", "reordered", "truncated")
_PLAIN = {"flipped": flipped, "deleted": deleted, "reordered": reordered, "truncated": truncated}


def positions(kind, log, step):
    last = len(log.rows) - 1 if kind == "reordered" else len(log.rows)
    return set(range(1, last + 1, step)) | {last}


def violations_of(log, seed, step):
    """Tries every kind at every `step`-th position, by both forgers. Returns how many, and which were not found."""
    chance = random.Random(seed)
    forger = Forger(log)
    chosen = {kind: positions(kind, log, step) for kind in KINDS}
    against_all = log.verification(stored=True, outside=True)
    against_outside = log.verification(stored=False, outside=True)
    cases, violations = 0, []
    for position in range(1, len(log.rows) + 1):
        kinds = [kind for kind in KINDS if position in chosen[kind]]
        if kinds:
            everything, outside = pickle.dumps(against_all), pickle.dumps(against_outside)
        for kind in kinds:
            cases += 2
            rows = _PLAIN[kind](log, position, chance)
            if not is_found(pickle.loads(everything), rows, log.extent(), log.tiles):
                violations.append(f"{kind} at {position}")
            rows = getattr(forger, kind)(position)
            if not is_found(pickle.loads(outside), rows, forger.extent(kind, position)):
                violations.append(f"{kind} at {position}, and all else fixed")
        for verification, tiles in ((against_all, log.tiles), (against_outside, None)):
            is_clean = not is_found_in_row(verification, log.rows[position - 1], tiles)
            assert is_clean, f"the honest log at {position}: {verification.findings}"
    assert not is_found(against_all, (), log.extent()), against_all.findings
    return cases, violations


def is_found_in_row(verification, row, tiles):
    filled, _ = verification.take([row])
    verification.compare_tiles(filled, {tile[:2]: tile.hashes for tile in filled} if tiles is None else tiles)
    return verification.findings_count > 0


def missed_without_outside(log, seed):
    """The control: what the second forger gets away with when nothing is kept outside, of how many tries."""
    chance = random.Random(seed)
    forger = Forger(log)
    tried = missed = 0
    for kind in KINDS:
        for position in chance.sample(sorted(positions(kind, log, 1)), CONTROLS):
            tried += 1
            honest = log.rows[: position - 1]
            rows = itertools.chain(honest, getattr(forger, kind)(position))
            verification = log.verification(stored=False, outside=False)
            missed += not is_found(verification, rows, forger.extent(kind, position))
    return tried, missed


def run(cases_scale=1.0, seed=1):
    """The fault row "tampering is found", at every position for a scale of 1, at every tenth for 0.1.

    Returns (cases, violations, control_found): how many logs were tampered with, how many of them passed, and whether
    the check without outside checkpoints failed as it must: it passed every log that was forged consistently.
    """
    log = Log(seed)
    cases, violations = violations_of(log, seed, max(1, round(1 / cases_scale)))
    tried, missed = missed_without_outside(log, seed)
    return cases, len(violations), missed == tried > 0
