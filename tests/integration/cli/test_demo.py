"""`podium demo research`, end to end: a service, an executor, a client and a witness, each a process of its own."""

import json
import re
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

NONCE = "zyzzogeton"
LAST_LINE = re.compile(r"succeeded: (\d+) steps, (\d+) events, replay matches")
DOCUMENTS = {
    "retries.md": "# Retries\n\nA call that failed may be sent again. Wait twice as long after every failure.\n",
    "queues.html": "<html><title>Queues</title><p>A bounded queue tells its producers to slow down.</p></html>",
    "nested/notes.txt": f"Notes\n=====\n\nThe secret word of the house is {NONCE}, and it is told once.\n",
    "timeouts.rst": "Timeouts\n========\n\nEvery wait has a limit. A limit that is reached is a terrible failure.\n",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    for name, text in DOCUMENTS.items():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def demo(place, podium_command):
    """Runs the demonstration in one place, so that later runs find what earlier ones left."""

    def run(query, *words, source=place / "source"):
        where = ("--source", source, "--state-dir", place / "state")
        return podium_command("demo", "research", "--query", query, *where, *words, cwd=place)

    return run


@pytest.fixture(scope="module")
def for_people(demo):
    return demo(f"secret {NONCE}")


@pytest.fixture(scope="module")
def for_programs(demo, for_people):
    return demo("failed call again queue limit", "--json")


def test_it_ends_with_the_outcome(for_people):
    assert for_people.code == 0, for_people.err
    assert LAST_LINE.fullmatch(for_people.out.splitlines()[-1])


def test_it_shows_the_steps_as_they_go_without_control_codes(for_people):
    for line in ("search           runs on research", "extract[0]       succeeded in", "extract[0]       | "):
        assert line in for_people.out
    assert "\x1b" not in for_people.out + for_people.err


def test_a_nonce_reaches_the_summary_with_its_document(for_people):
    summary = for_people.out.partition("\nSummary\n")[2]
    assert summary.splitlines()[:2] == [
        f"  • The secret word of the house is {NONCE}, and it is told once.",
        "      nested/notes.txt",
    ]


def test_it_prints_who_was_allowed_what_by_which_rule(for_people):
    trail = for_people.out.partition("Audit trail")[2]
    rows = {line.split()[4]: line.split() for line in trail.splitlines() if " allow " in line}
    assert rows["search"][2:] == ["demo", "search", "search", "role:agent", "default@0"]
    assert rows["sentiment"][5] == "no-permission-required"
    assert {"extract[0]", "summarize"} <= rows.keys()


def test_a_second_run_keeps_the_history_of_the_first(for_people, for_programs, place):
    assert for_programs.json["succeeded"] is True
    with sqlite3.connect(f"file:{place}/state/podium.db?mode=ro", uri=True) as database:
        streams = [stream for (stream,) in database.execute("SELECT stream_id FROM streams ORDER BY stream_key")]
    workflows = [stream for stream in streams if stream.startswith("wf_")]
    assert len(workflows) >= 2
    assert for_programs.json["workflow_id"] in workflows
    assert any(stream in for_people.out for stream in workflows)


def test_every_sentence_of_the_summary_stands_in_the_file_that_it_names(for_programs):
    sentences = for_programs.json["summary"]["sentences"]
    assert sentences
    for sentence in sentences:
        assert sentence["path"].endswith(sentence["document"])
        assert sentence["text"] in " ".join(Path(sentence["path"]).read_text().split())


def test_two_queries_rank_different_files_first(for_people, for_programs):
    ranked = for_people.out.partition("\nscore ")[2].splitlines()
    assert ranked[1].split()[1] == "nested/notes.txt"
    assert for_programs.json["search"]["hits"][0]["name"] == "retries.md"


def test_the_report_for_programs_is_complete(for_programs):
    report = for_programs.json
    outcome = LAST_LINE.fullmatch(report["outcome"])
    assert (int(outcome[1]), int(outcome[2])) == (report["step_count"], report["event_count"])
    assert report["step_count"] == len(report["states"])
    assert len(report["audit"]) == report["event_count"]
    assert report["replay"].startswith("replay matches")
    assert report["states"]["sentiment"] == "succeeded"


def test_extractions_overlap(for_programs):
    order = [(entry["type"], entry["step_id"]) for entry in for_programs.json["audit"]]
    starts = [n for n, (kind, step) in enumerate(order) if kind == "attempt_started" and step.startswith("extract[")]
    ends = [n for n, (kind, step) in enumerate(order) if kind == "step_succeeded" and step.startswith("extract[")]
    assert len(starts) > 1
    assert max(starts) < min(ends)


def test_a_skipped_sentiment_does_not_keep_the_summary_from_being_made(demo):
    report = demo("failure limit secret queue", "--no-sentiment", "--json").json
    assert report["succeeded"], report["outcome"]
    assert (report["states"]["sentiment"], report["sentiment"]) == ("skipped", None)
    assert report["summary"]["sentences"]


def test_nothing_found_is_a_result(demo):
    ended = demo("xylophone")
    assert ended.code == 0, ended.err
    assert "No document answers this" in ended.out
    assert "Sentiment: skipped" in ended.out
    assert LAST_LINE.fullmatch(ended.out.splitlines()[-1])


def test_a_source_that_is_no_folder_is_bad_input(demo, place):
    ended = demo("anything", source=place / "nowhere")
    assert (ended.code, ended.out) == (2, "")
    assert "is not a folder" in ended.err


def test_a_database_that_is_in_use_is_told(for_people, demo, place, program):
    server = program(
        "serve", "--json", "--listen", "127.0.0.1:0", "--database", place / "state" / "podium.db", "--state-dir", place
    )
    assert json.loads(server.says())["ready"]
    ended = demo("anything")
    assert ended.code == 1
    assert f"process {server.process.pid}" in ended.err
    assert server.end() == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_its_processes_end_with_it(place, program, processes, number):
    words = ("demo", "research", "--source", place / "source", "--state-dir", place / f"state-{number}")
    running = program(*words, errors=subprocess.PIPE)
    said = ""
    while not (found := re.search(r"The service \(process (\d+)\).*the executor is process (\d+)", said)):
        line = running.process.stderr.readline()
        assert line, said
        said += line
    children = processes([int(found[1]), int(found[2])])
    running.end(number)
    assert children.end_within(30) == []
