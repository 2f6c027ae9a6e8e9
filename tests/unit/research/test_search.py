import shutil
import sqlite3
import threading

import pytest
from research.corpus import Corpus, open_corpus
from research.errors import SearchUnavailable
from research.search import MAX_HITS, match_expressions, open_index


@pytest.fixture
def index(folder, tmp_path):
    return open_index(open_corpus(folder), tmp_path / "index.db")


def found(index, query):
    return [hit.name for hit in index.search(query)]


def test_two_queries_rank_different_files_first(index):
    assert found(index, "retry policy")[0] == "guides/retries.md"
    assert found(index, "bounded queue")[0] == "queues.html"


def test_a_hit_says_what_and_where_it_is(index, folder):
    (hit,) = index.search("producers")
    assert (hit.title, hit.media_type) == ("Queues & pressure", "text/html")
    assert hit.path == str(folder / "queues.html")
    assert hit.score > 0
    assert "bounded queue tells its producers to slow down" in hit.snippet


def test_words_are_found_in_any_of_their_forms(index):
    assert found(index, "retrying")[0] == found(index, "RETRIED")[0] == "guides/retries.md"


def test_a_title_counts_more_than_a_text(tmp_path):
    root = tmp_path / "documents"
    root.mkdir()
    (root / "a.md").write_text("# Other\n\nleases " * 3 + "and many words more that say little")
    (root / "b.md").write_text("# Leases\n\nThis is about them, with as many words as the other has, or even more.")
    assert found(open_index(open_corpus(root), tmp_path / "index.db"), "lease")[0] == "b.md"


def test_documents_with_all_terms_come_before_documents_with_any(index):
    assert found(index, "deadline limit zebra queue")[0] in {"timeouts.rst", "queues.html"}
    assert found(index, "limits memory")[0] == "queues.html"
    assert len(found(index, "limits memory")) == 2


@pytest.mark.parametrize(
    "query",
    [
        'queue" OR "1',
        "queue*",
        "body : queue",
        "{title body}: queue",
        "NEAR(queue limit, 2)",
        "queue AND (",
        "AND queue OR NOT",
        "^queue",
        "-queue +",
        "queue; DROP TABLE documents",
        "queue\0",
        "queue \ud800",
        "'queue'' --",
        '"""queue',
        "\\queue\\",
        "queue " * 10_000,
        " ".join(f"word{n}" for n in range(5_000)) + " queue",
    ],
)
def test_no_query_is_syntax(index, query):
    assert set(found(index, query)) <= {"guides/retries.md", "queues.html", "timeouts.rst"}
    assert index.search("producers")


@pytest.mark.parametrize("query", ["", "   ", '"', "*", "()", "\0", "...", "' OR 1=1 --" * 0])
def test_a_query_without_a_word_finds_nothing(index, query):
    assert index.search(query) == []


def test_a_query_of_stop_words_alone_is_searched_with_them(index):
    assert match_expressions("to be or not") == ['"to" AND "be" AND "or" AND "not"', '"to" OR "be" OR "or" OR "not"']
    assert match_expressions("What is a queue?") == ['"queue"', '"queue"']


def test_joined_words_are_a_phrase_first_and_words_then():
    assert match_expressions("start_unix_server") == ['"start_unix_server"', '"start" OR "unix" OR "server"']


@pytest.mark.parametrize("limit", [0, -1, MAX_HITS + 1])
def test_a_limit_out_of_range_is_refused(index, limit):
    with pytest.raises(ValueError, match="1 to 100"):
        index.search("queue", limit)


def test_at_most_as_many_documents_as_asked_for(index):
    assert len(index.search("a limit for every queue and retry", 2)) == 2


def test_an_index_is_used_again_while_the_corpus_is_the_same(folder, tmp_path):
    path = tmp_path / "cache" / "index.db"
    progress = []
    open_index(open_corpus(folder), path, lambda done, total: progress.append((done, total)))
    assert progress == [(1, 3), (2, 3), (3, 3)]
    identity = path.stat().st_ino
    open_index(open_corpus(folder), path, lambda done, total: pytest.fail("built again"))
    assert path.stat().st_ino == identity


def test_an_index_is_built_again_when_the_corpus_has_changed(folder, tmp_path):
    path = tmp_path / "index.db"
    open_index(open_corpus(folder), path)
    (folder / "new.txt").write_text("The zqx9137 has come.")
    assert found(open_index(open_corpus(folder), path), "zqx9137 come")[0] == "new.txt"
    (folder / "new.txt").unlink()
    assert found(open_index(open_corpus(folder), path), "come") == []


def test_a_binary_file_is_left_out_of_the_index_and_counted(folder, tmp_path):
    (folder / "image.txt").write_bytes(b"queue\0queue")
    (folder / "empty.txt").write_bytes(b"")
    index = open_index(open_corpus(folder), tmp_path / "index.db")
    assert (index.document_count, index.left_out_count) == (3, 1)
    assert "image.txt" not in found(index, "queue")


def test_a_building_that_is_stopped_leaves_nothing_behind(folder, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    path = tmp_path / "cache" / "index.db"
    with pytest.raises(KeyboardInterrupt):
        open_index(open_corpus(folder), path, stop)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("contents", [b"my letters", b"SQLite format 3\0" + bytes(100)])
def test_a_file_that_is_no_index_is_never_replaced(folder, tmp_path, contents):
    path = tmp_path / "letters.db"
    path.write_bytes(contents)
    with pytest.raises(SearchUnavailable, match="is no search index"):
        open_index(open_corpus(folder), path)
    assert path.read_bytes() == contents


def test_a_database_of_somebody_else_is_never_replaced(folder, tmp_path):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE precious (x)")
    connection.close()
    with pytest.raises(SearchUnavailable):
        open_index(open_corpus(folder), path)


def test_a_damaged_index_is_an_error_in_a_search_and_is_built_anew_when_opened(index, folder):
    size = index.path.stat().st_size
    with index.path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (size - 100))
    with pytest.raises(SearchUnavailable, match="cannot be read"):
        index.search("queue")
    assert found(open_index(open_corpus(folder), index.path), "bounded queue")[0] == "queues.html"


def test_an_index_that_is_gone_is_a_clear_error(index):
    index.path.unlink()
    with pytest.raises(SearchUnavailable, match="cannot be read"):
        index.search("queue")


def test_a_place_that_cannot_be_written_is_a_clear_error(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SearchUnavailable, match="cannot be built"):
        open_index(open_corpus(folder), tmp_path / "file" / "index.db")


def test_threads_may_build_and_search_at_once(folder, tmp_path):
    path, answers = tmp_path / "index.db", []

    def build_and_search():
        answers.append(found(open_index(open_corpus(folder), path), "bounded queue")[0])

    threads = [threading.Thread(target=build_and_search) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["queues.html"] * 8
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_the_documentation_of_python_answers_questions(tmp_path):
    everything = open_corpus()
    chosen = tuple(each for each in everything.documents if each.name.startswith(("stdlib:asyncio/", "stdlib:json/")))
    corpus = Corpus("a part", (*chosen, everything.document("stdlib:getopt.py"), everything.document("package:typer")))
    index = open_index(corpus, tmp_path / "index.db")
    assert found(index, "asyncio queue")[0] == "stdlib:asyncio/queues.py"
    assert found(index, "how do I decode JSON?")[0].startswith("stdlib:json/")
    assert found(index, "build a command line app from type hints")[0] == "package:typer"
    shutil.rmtree(tmp_path)
