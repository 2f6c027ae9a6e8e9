"""Whoever alters a copy of the log is found out: at every version, whatever is done to it."""

import json
import sqlite3

import pytest

from podium.v1 import events_pb2
from service.cli import main

SOURCE = {"one.md": "# One\n\nRetries wait longer each time.\n", "two.txt": "Retries need a budget. It ends them.\n"}


@pytest.fixture(scope="module")
def original(tmp_path_factory, podium_command):
    """The database of a demonstration, the id of its workflow, and what the live service said of it."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "source").mkdir()
    for name, text in SOURCE.items():
        (folder / "source" / name).write_text(text)
    where = ("--source", folder / "source", "--state-dir", folder / "state")
    ended = podium_command("demo", "research", "--query", "retries", *where, "--json")
    assert ended.code == 0, ended.err
    return folder / "state" / "podium.db", ended.json["workflow_id"], folder / "state" / "replay.json"


@pytest.fixture
def copy(original, tmp_path):
    """A copy of the database, without the triggers that keep its events as they are."""
    path = tmp_path / "copy.db"
    with sqlite3.connect(f"file:{original[0]}?mode=ro", uri=True) as source, sqlite3.connect(path) as target:
        source.backup(target)
        triggers = target.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            target.execute(f'DROP TRIGGER "{name}"')
    source.close()
    target.close()
    return path


@pytest.fixture
def versions(original):
    return range(1, len(json.loads(original[2].read_text())["record_digests"]) + 1)


@pytest.fixture
def command(capsys):
    """Runs a command in this process; returns what it printed and its exit code."""

    def run(*words):
        with pytest.raises(SystemExit) as exited:
            main.run([str(word) for word in words])
        return capsys.readouterr().out.strip(), exited.value.code

    return run


@pytest.fixture
def replay(original, copy, command):
    """What `podium replay` says of the copy, and its exit code."""

    def run(*words):
        return command("replay", original[1], "--database", copy, *(words or ("--against", original[2])))

    return run


@pytest.fixture
def tampering(original, copy):
    """Changes the copy in a transaction for as long as a block lasts: `with tampering(sql, ...)`."""
    return lambda *statements: Tampering(copy, original[1], statements)


class Tampering:
    """Statements over the workflow's events; `:stream` is its key. What they did is undone."""

    def __init__(self, path, workflow_id, statements):
        self._path, self._workflow_id, self._statements = path, workflow_id, statements

    def __enter__(self):
        self._kept = self._path.read_bytes()
        with sqlite3.connect(self._path) as database:
            query = "SELECT stream_key FROM streams WHERE stream_id = ?"
            (key,) = database.execute(query, (self._workflow_id,)).fetchone()
            for sql, *values in self._statements:
                database.execute(sql, {"stream": key, **(values[0] if values else {})})
        database.close()

    def __exit__(self, *_failure):
        self._path.write_bytes(self._kept)


OF_VERSION = "stream_key = :stream AND stream_version = :version"


def record_of(copy, workflow_id, version):
    with sqlite3.connect(copy) as database:
        (record,) = database.execute(
            "SELECT record FROM events JOIN streams USING (stream_key) WHERE stream_id = ? AND stream_version = ?",
            (workflow_id, version),
        ).fetchone()
    database.close()
    return record


def test_an_untouched_copy_matches(replay):
    said, code = replay()
    assert said.startswith("replay matches: ")
    assert code == 0


def test_the_original_matches_in_a_process_of_its_own(original, podium_command):
    database, workflow_id, saved = original
    ended = podium_command("replay", workflow_id, "--database", database, "--against", saved, "--json")
    assert (ended.code, ended.json["matches"], ended.json["differs_at_version"]) == (0, True, None)
    assert ended.json["state_digest"] == json.loads(saved.read_text())["state_digest"]


def test_a_removed_event_is_found_at_every_version(replay, tampering, versions):
    for version in versions:
        with tampering((f"DELETE FROM events WHERE {OF_VERSION}", {"version": version})):
            assert replay()[0].startswith(f"differs at version {version}:"), version
            assert replay()[1] == 1
    assert replay()[1] == 0, "what was removed is back"


def test_an_altered_byte_is_found_at_every_version(replay, tampering, versions, original, copy):
    for version in versions:
        record = bytearray(record_of(copy, original[1], version))
        record[-1] ^= 0x20
        values = {"version": version, "record": bytes(record)}
        with tampering((f"UPDATE events SET record = :record WHERE {OF_VERSION}", values)):
            assert replay() == (f"differs at version {version}: the record is another one", 1)


def test_a_forged_event_that_folds_is_found_at_every_version(replay, tampering, versions, original, copy):
    for version in versions:
        event = events_pb2.Event.FromString(record_of(copy, original[1], version))
        event.principal.subject = "mallory"
        values = {"version": version, "record": event.SerializeToString()}
        with tampering((f"UPDATE events SET record = :record WHERE {OF_VERSION}", values)):
            assert replay() == (f"differs at version {version}: the record is another one", 1)


def test_bytes_that_are_no_event_are_found_without_anything_to_compare_with(replay, tampering, versions):
    for version in versions:
        with tampering((f"UPDATE events SET record = x'ff' WHERE {OF_VERSION}", {"version": version})):
            assert replay("--json")[1] == 1
            assert replay("--tenant", "default")[0].startswith(f"differs at version {version}:")


def test_a_gap_is_found_without_anything_to_compare_with(replay, tampering, versions):
    for version in versions[:-1]:
        with tampering((f"DELETE FROM events WHERE {OF_VERSION}", {"version": version})):
            assert replay("--tenant", "default")[0].startswith(f"differs at version {version}:")


def test_two_events_that_changed_places_are_found(replay, tampering):
    swap = "UPDATE events SET stream_version = :to WHERE stream_key = :stream AND stream_version = :version"
    changes = [(swap, {"version": 3, "to": 999}), (swap, {"version": 4, "to": 3}), (swap, {"version": 999, "to": 4})]
    with tampering(*changes):
        assert replay()[0].startswith("differs at version 3:")


def test_a_surplus_event_is_found(replay, tampering, versions):
    last = versions[-1]
    columns = "shard, stream_key, type, recorded_at_us, tenant_key, record"
    surplus = (
        f"INSERT INTO events (position, stream_version, {columns}) "
        f"SELECT 1000000, :version + 1, {columns} FROM events WHERE {OF_VERSION}"
    )
    with tampering((surplus, {"version": last})):
        assert replay()[0].startswith(f"differs at version {last + 1}:")


def test_a_workflow_that_is_gone_differs_from_its_first_version(replay, tampering):
    with tampering(("DELETE FROM events WHERE stream_key = :stream",)):
        assert replay() == ("differs at version 1: the record is missing", 1)


def test_the_live_state_is_compared_too(original, replay, tmp_path):
    saved = json.loads(original[2].read_text())
    saved["state_digest"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(saved))
    said = f"differs at version {saved['stream_version']}: the same records make another state"
    assert replay("--against", tmp_path / "other.json") == (said, 1)


def test_the_program_itself_finds_an_altered_and_a_removed_event(original, copy, tampering, podium_command, versions):
    words = ("replay", original[1], "--database", copy, "--against", original[2])
    alter = f"UPDATE events SET record = substr(record, 1, length(record) - 1) WHERE {OF_VERSION}"
    for statement, version in ((alter, 2), (f"DELETE FROM events WHERE {OF_VERSION}", versions[-1])):
        with tampering((statement, {"version": version})):
            ended = podium_command(*words)
            assert (ended.code, ended.out.partition(":")[0]) == (1, f"differs at version {version}")


def test_a_workflow_or_a_file_that_is_not_there_is_not_found(original, command, tmp_path):
    assert command("replay", "wf_nope", "--database", original[0]) == ("", 4)
    assert command("replay", original[1], "--database", tmp_path / "nowhere.db") == ("", 4)


def test_what_was_saved_of_another_workflow_is_bad_input(original, command):
    assert command("replay", "wf_other", "--database", original[0], "--against", original[2]) == ("", 2)
    assert command("replay", original[1], "--against", original[2]) == ("", 2)
