import os
import sys

import pytest
from research.corpus import open_corpus
from research.documents import MAX_DOCUMENT_BYTES, MediaType
from research.errors import ResearchError, SourceNotFound, UnknownDocument, UnreadableDocument
from research.folder import FolderLimits
from research.python_documentation import module_documentation, package_description


def names(corpus):
    return [document.name for document in corpus.documents]


def test_a_folder_gives_text_markdown_and_html_by_their_paths(folder):
    corpus = open_corpus(folder)
    assert names(corpus) == ["guides/retries.md", "queues.html", "timeouts.rst"]
    assert [document.media_type for document in corpus.documents] == list(
        map(MediaType, ["text/markdown", "text/html", "text/plain"])
    )
    assert corpus.document("queues.html").path == folder / "queues.html"
    assert "bounded queue" in corpus.document("queues.html").text()


def test_other_files_and_hidden_ones_are_no_documents(folder):
    for place in ("code.py", "picture.png", ".hidden.md", ".git/notes.md", "node_modules/x/readme.md"):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("zqx9137")
    corpus = open_corpus(folder)
    assert len(corpus.documents) == 3
    assert corpus.left_out_count == 0


def test_a_readme_without_an_ending_is_plain_text(folder):
    (folder / "README").write_text("Read me.")
    assert open_corpus(folder).document("README").media_type is MediaType.PLAIN


def test_links_that_lead_out_of_the_folder_are_left_out(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.txt").write_text("zqx9137 secret")
    (folder / "key.txt").symlink_to(secret / "key.txt")
    (folder / "more").symlink_to(secret, target_is_directory=True)
    (folder / "again.md").symlink_to(folder / "guides" / "retries.md")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "gone.txt").symlink_to(folder / "nowhere.txt")
    corpus = open_corpus(folder)
    assert names(corpus) == ["again.md", "guides/retries.md", "queues.html", "timeouts.rst"]
    assert corpus.left_out_count == 2


def test_a_file_that_becomes_a_link_to_outside_after_listing_is_not_read(folder, tmp_path):
    document = open_corpus(folder).document("timeouts.rst")
    (tmp_path / "secret.txt").write_text("zqx9137 secret")
    document.path.unlink()
    document.path.symlink_to(tmp_path / "secret.txt")
    with pytest.raises(UnreadableDocument, match="leads out"):
        document.text()


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "guides/../queues.html", ""])
def test_only_a_listed_name_opens_a_document(folder, name):
    with pytest.raises(UnknownDocument):
        open_corpus(folder).document(name)


def test_a_pipe_is_neither_listed_nor_waited_for(folder):
    os.mkfifo(folder / "pipe.txt")
    corpus = open_corpus(folder)
    assert len(corpus.documents) == 3
    document = corpus.document("timeouts.rst")
    document.path.unlink()
    os.mkfifo(document.path)
    with pytest.raises(UnreadableDocument, match="regular"):
        document.text()


def test_a_large_file_is_left_out_and_one_that_grew_is_refused(folder):
    (folder / "large.txt").write_bytes(b"x" * (MAX_DOCUMENT_BYTES + 1))
    corpus = open_corpus(folder)
    assert "large.txt" not in names(corpus)
    assert corpus.left_out_count == 1
    (folder / "timeouts.rst").write_bytes(b"x" * (MAX_DOCUMENT_BYTES + 1))
    with pytest.raises(UnreadableDocument, match="larger"):
        corpus.document("timeouts.rst").text()


def test_what_is_over_a_limit_is_left_out_and_counted(folder):
    two = open_corpus(folder, FolderLimits(documents=2))
    assert (len(two.documents), two.left_out_count) == (2, 1)
    sizes = {path.name: path.stat().st_size for path in folder.rglob("*.*")}
    fits = open_corpus(folder, FolderLimits(total_bytes=sum(sizes.values()) - 1))
    assert (len(fits.documents), fits.left_out_count) == (2, 1)
    assert len(open_corpus(folder, FolderLimits(entries=1)).documents) == 1


def test_a_binary_file_with_the_name_of_a_text_is_unreadable(folder):
    (folder / "image.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 20)
    with pytest.raises(UnreadableDocument, match="binary"):
        open_corpus(folder).document("image.txt").text()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_is_read_in_the_encodings_that_files_come_in(folder, encoding):
    (folder / "cafe.txt").write_bytes("Ein Café über alles.".encode(encoding))
    assert open_corpus(folder).document("cafe.txt").text() == "Ein Café über alles."


def test_the_fingerprint_changes_with_any_file_and_only_then(folder):
    before = open_corpus(folder).fingerprint
    assert open_corpus(folder).fingerprint == before
    (folder / "timeouts.rst").write_text("Shorter.")
    assert open_corpus(folder).fingerprint != before


def test_a_source_that_is_no_folder_is_a_clear_error(folder):
    for source in (folder / "nowhere", folder / "queues.html"):
        with pytest.raises(SourceNotFound, match="is not a folder"):
            open_corpus(source)
    assert issubclass(SourceNotFound, ResearchError)


def test_without_a_source_there_is_the_documentation_of_this_python():
    corpus = open_corpus()
    queues = corpus.document("stdlib:asyncio/queues.py")
    assert queues.media_type is MediaType.PLAIN
    assert "Queue.get\n---------" in queues.text()
    assert queues.path.is_file()
    assert corpus.document("package:typer").media_type is MediaType.MARKDOWN
    assert corpus.document("package:typer").text().startswith("# typer: ")
    assert 200 < len(corpus.documents) < 2000
    assert all(document.path.is_file() and document.path.is_absolute() for document in corpus.documents)


def test_no_module_of_the_standard_library_is_imported_to_read_its_documentation():
    document = open_corpus().document("stdlib:antigravity.py")  # importing it opens a browser
    document.text()
    assert "antigravity" not in sys.modules


def test_a_modules_documentation_is_that_of_its_public_classes_and_functions():
    source = '''"""Overview."""
class Queue:
    """A line."""
    def put(self):
        """Stand in it."""
    def _hidden(self):
        """Not told."""
async def run():
    """Run."""
'''
    text = module_documentation("line", source)
    assert text.split("\n\n") == [
        "line: Overview.\n===============",
        "Overview.",
        "Queue\n-----",
        "A line.",
        "Queue.put\n---------",
        "Stand in it.",
        "run\n---",
        "Run.",
    ]
    assert module_documentation("empty", "x = 1") == ""


def test_a_module_that_does_not_parse_is_unreadable():
    with pytest.raises(UnreadableDocument, match="broken"):
        module_documentation("broken", "def (")


def test_a_description_is_found_in_the_body_or_in_the_header_of_old():
    new = "Metadata-Version: 2.1\nName: a\nSummary: S\nDescription-Content-Type: text/markdown\n\n# A\n\nBody.\n"
    old = "Metadata-Version: 1.1\nName: a\nSummary: S\nDescription: First.\n        \n        Second.\n\n"
    assert package_description(new) == "# a: S\n\n# A\n\nBody.\n"
    assert package_description(old) == "a: S\n====\n\nFirst.\n\nSecond.\n"
