"""The research example's tools and workflow, without a service."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import podium
from podium.context import AttemptFacts, Context

sys.path.insert(0, str(Path(__file__).parents[3] / "clients" / "python" / "examples"))

from research import tools
from research.extract import Section
from research.library import Library, most_telling
from research.workflow import research_input, research_workflow


@dataclass
class Told:
    """What a tool tells while it runs, and whether it is still wanted."""

    cancelled: bool = False
    progresses: list = field(default_factory=list)

    def progress(self, fraction, message):
        self.progresses.append((fraction, message))

    def heartbeat(self):
        pass


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def context(told):
    return Context(AttemptFacts("tool", "wf_1", "step", 1, "key"), told)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "good.md").write_text(
        "# Good\n\nRetries are a wonderful and happy thing.\n\n# More\n\nBackoff helps.\n"
    )
    (documents / "bad.md").write_text("# Bad\n\nRetries without an end are a terrible, sad failure.\n")
    monkeypatch.setattr(tools, "library", Library(documents, tmp_path / "state"))
    return documents


def extracted(document, context, **options):
    *pieces, last = tools.extract_text(document, context, **options)
    assert isinstance(last, podium.Output)
    return pieces, last.value


def test_searching_ranks_and_tells_how_far_the_index_is(folder, context, told):
    result = tools.search("happy retries", context)
    assert (result.document_count, result.count, result.hits[0].name) == (2, 2, "good.md")
    assert told.progresses[0] == (-1.0, "listing the documents")
    assert told.progresses[-1] == (1.0, "indexing document 2 of 2")


def test_a_search_sees_the_documents_as_they_are_now(folder, context):
    tools.search("retries", context)
    (folder / "new.txt").write_text("A new word: xylophone.\n")
    assert [hit.name for hit in tools.search("xylophone", context).hits] == ["new.txt"]
    assert extracted("new.txt", context)[1].word_count == 4


def test_a_canceled_search_stops_indexing(folder, context, told):
    told.cancelled = True
    with pytest.raises(podium.Canceled):
        tools.search("retries", context)


def test_text_comes_section_by_section_and_then_whole(folder, context):
    pieces, output = extracted("good.md", context)
    assert pieces == ["Good\n\nRetries are a wonderful and happy thing.\n\n", "More\n\nBackoff helps.\n\n"]
    assert output.text == "".join(pieces).strip()
    assert (output.title, output.shortened) == ("Good", False)


def test_a_document_that_does_not_exist_fails_for_good(folder, context):
    with pytest.raises(podium.ToolFailed) as caught:
        list(tools.extract_text("nowhere.md", context))
    assert (caught.value.reason, caught.value.retryable) == ("UNKNOWN_DOCUMENT", False)


def test_a_source_that_does_not_exist_fails_for_good(tmp_path, monkeypatch, context):
    monkeypatch.setattr(tools, "library", Library(tmp_path / "nowhere", tmp_path))
    with pytest.raises(podium.ToolFailed) as caught:
        tools.search("retries", context)
    assert (caught.value.reason, caught.value.retryable) == ("SOURCE_NOT_FOUND", False)


def test_sentiment_and_summary_pass_over_documents_that_failed(folder, context):
    texts = [extracted("good.md", context)[1], None, extracted("bad.md", context)[1]]
    sentiment = tools.analyze_sentiment(texts, context)
    assert [each.sentiment.label for each in sentiment.documents] == ["positive", "negative"]
    summary = tools.summarize("retries", texts, context, sentiment=sentiment)
    assert summary.document_count == 2
    assert summary.sentiment == sentiment.overall.label
    assert all(each.text in Path(each.path).read_text() for each in summary.sentences)
    assert {each.document for each in summary.sentences} == {"good.md", "bad.md"}


def test_a_summary_of_nothing_is_empty(folder, context):
    assert tools.summarize("retries", [], context).sentences == []


def test_a_long_document_keeps_what_is_rare_in_the_query():
    sections = [Section("", f"common words {n} " + "filler " * 20, 20) for n in range(50)]
    sections[40] = Section("", "the needle " + "filler " * 20, 20)
    kept = most_telling(sections, "common needle", 1000)
    assert sections[40] in kept
    assert kept == [section for section in sections if section in kept], "in their order"
    assert sum(len(section.text) for section in kept) <= 1000


def test_a_short_document_stays_whole():
    sections = [Section("", "a b", 2), Section("", "c", 1)]
    assert most_telling(sections, "nothing", 100) == sections


def test_only_what_reads_files_needs_the_permission_for_it():
    needs = {tool.name: list(tool.definition.permissions) for tool in tools.app.tools.values()}
    assert needs.pop("analyze_sentiment") == []
    assert set(map(tuple, needs.values())) == {("read_files",)}


def test_the_workflow_is_the_one_of_the_mission():
    request = research_workflow(max_parallel=4).request(research_input("retries"))
    steps = {step.id: step for step in request.steps}
    assert [step.tool for step in request.steps] == ["search", "extract_text", "analyze_sentiment", "summarize"]
    assert steps["extract"].for_each.max_parallel == 4
    assert steps["sentiment"].condition == "input.sentiment && steps.search.output.count > 0"
    assert podium.v1.definition_pb2.Join.Name(steps["summarize"].join) == "JOIN_DONE"
