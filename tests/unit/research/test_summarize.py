import html

import pytest
from research.corpus import open_corpus
from research.documents import MAX_DOCUMENT_BYTES, MediaType
from research.extract import extract
from research.quotation import Source
from research.search import open_index
from research.summarize import summarize


def source_of(document):
    return Source(document.name, extract(document.text(), document.media_type).text, document.source())


def sources_of(corpus):
    return [source_of(document) for document in corpus.documents]


def plain(name, text):
    return Source(name, extract(text, MediaType.PLAIN).text, text)


def stands_in(sentence, path):
    contents = path.read_text(encoding="utf-8")
    return any(sentence in " ".join(form.split()) for form in (contents, html.unescape(contents)))


def test_every_sentence_stands_in_the_file_that_it_names(folder):
    corpus = open_corpus(folder)
    summary = summarize(sources_of(corpus), "limits for queues and retries", sentence_limit=20)
    assert len(summary.sentences) >= 6
    for sentence in summary.sentences:
        assert stands_in(sentence.text, corpus.document(sentence.document).path), sentence
    assert not stands_in("The queue that was never written about.", folder / "queues.html")


@pytest.mark.parametrize("query", ["cancel a task after a timeout", "parse options", "zebra", ""])
def test_every_sentence_stands_in_the_documentation_that_it_names(query):
    corpus = open_corpus()
    names = ["stdlib:asyncio/tasks.py", "stdlib:argparse.py", "stdlib:datetime.py", "package:typer", "package:pytest"]
    summary = summarize([source_of(corpus.document(name)) for name in names], query, sentence_limit=30)
    assert len(summary.sentences) == 30
    for sentence in summary.sentences:
        assert stands_in(sentence.text, corpus.document(sentence.document).path), sentence


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("note.txt", "Nothing here.\n\nThe zqx9137 retry waits\n   for ten seconds. Nothing there."),
        ("note.md", "# Note\n\nSome words. The zqx9137 retry waits\nfor ten seconds."),
        ("note.md", "- item\n- The zqx9137 retry waits for ten seconds.\n"),
        ("note.html", "<h1>Note</h1><p>Some words.\n The zqx9137 retry waits for\n ten seconds."),
        ("note.rst", "Note\n====\n\nText\n\n.. note::\n\n   The zqx9137 retry waits for ten seconds.\n"),
    ],
)
def test_a_nonce_planted_in_a_file_is_searched_and_comes_first_in_the_summary(folder, tmp_path, name, contents):
    (folder / name).write_text(contents)
    (folder / "guides" / "retries.md").write_text("A retry is a retry. Never retry twice. To retry is to try again.\n")
    corpus = open_corpus(folder)
    hits = open_index(corpus, tmp_path / "index.db").search("zqx9137 retry")
    assert hits[0].name == name
    summary = summarize([source_of(corpus.document(hit.name)) for hit in hits], "zqx9137 retry")
    assert summary.sentences[0].text == "The zqx9137 retry waits for ten seconds."
    assert summary.sentences[0].document == name


def test_a_nonce_without_a_sentence_around_it_reaches_the_summary(folder):
    (folder / "list.txt").write_text("zqx9137\n")
    summary = summarize(sources_of(open_corpus(folder)), "zqx9137 retry")
    assert (summary.sentences[0].text, summary.sentences[0].document) == ("zqx9137", "list.txt")


def test_a_nonce_in_a_text_without_punctuation_is_quoted_with_its_surroundings(folder):
    (folder / "log.txt").write_text("word " * 3000 + "then zqx9137 retry came " + "word " * 3000)
    sentence = summarize(sources_of(open_corpus(folder)), "zqx9137 retry came").sentences[0]
    assert "then zqx9137 retry came" in sentence.text
    assert len(sentence.text.split()) <= 80


@pytest.mark.parametrize(
    ("name", "contents", "quotation"),
    [
        ("a.html", "<p>We said <b>once</b> that zqx9137 retries <i>never</i> end.</p>", "that zqx9137 retries"),
        ("a.md", "We said **once** that zqx9137 retries *never* end.", "that zqx9137 retries"),
    ],
)
def test_a_nonce_between_markup_is_quoted_as_far_as_the_file_goes(folder, name, contents, quotation):
    (folder / name).write_text(contents)
    sentence = summarize(sources_of(open_corpus(folder)), "zqx9137 retry").sentences[0]
    assert sentence.text == quotation
    assert stands_in(sentence.text, folder / name)


def test_a_sentence_with_markup_inside_is_not_quoted_as_a_whole(folder):
    summary = summarize(sources_of(open_corpus(folder)), "unbounded memory trouble", sentence_limit=30)
    assert all("hides the trouble" not in each.text for each in summary.sentences)


def test_character_references_do_not_keep_a_sentence_from_being_quoted(folder):
    summary = summarize(sources_of(open_corpus(folder)), "back-pressure")
    assert summary.sentences[0].text == "Back-pressure & limits belong together."


def test_a_query_decides_what_is_said_first(folder):
    sources = sources_of(open_corpus(folder))
    assert "timeouts" in summarize(sources, "How may I choose timeouts?").sentences[0].text
    assert summarize(sources, "idempotent").sentences[0].text == "Never retry a call that is not idempotent."


def test_what_is_said_twice_is_told_once():
    said = [plain(str(n), f"A lease ends after {n} seconds of total silence from its absent owner.") for n in (5, 6)]
    others = [plain(f"other {n}", f"Queue number {n} of all these feeds worker {n} in zone {n}.") for n in range(40)]
    said_by = {each.document for each in summarize([*said, *others], "silence", sentence_limit=20).sentences}
    assert len(said_by & {"5", "6"}) == 1


def test_a_query_that_nothing_answers_gives_the_beginnings_of_all_documents(folder):
    summary = summarize(sources_of(open_corpus(folder)), "xylophone", sentence_limit=3)
    assert len({each.document for each in summary.sentences}) > 1


def test_a_summary_is_the_same_every_time(folder):
    sources = sources_of(open_corpus(folder))
    assert summarize(sources, "queue limits") == summarize(sources, "queue limits")


def test_scores_are_between_zero_and_one(folder):
    summary = summarize(sources_of(open_corpus(folder)), "limits for queues", sentence_limit=10)
    assert all(0 <= each.score <= 1 for each in summary.sentences)
    assert max(each.score for each in summary.sentences) == 1


def test_nothing_gives_an_empty_summary():
    assert summarize([], "queue").sentences == ()
    assert summarize([plain("empty", "")], "queue").sentences == ()
    assert summarize([plain("marks", "?! -- ...")], "queue").sentences == ()


def test_a_summary_of_no_sentences_is_refused():
    with pytest.raises(ValueError, match="0 sentences"):
        summarize([], "queue", sentence_limit=0)


def test_large_documents_are_summarized_in_a_bounded_time():
    text = "\n\n".join(f"Lease {n} is held by worker {n * 7919 % 1009} in zone {n % 7}." for n in range(8_000))
    assert len(text) < MAX_DOCUMENT_BYTES
    assert summarize([plain("leases", text)], "worker 17 zone 3").sentences
