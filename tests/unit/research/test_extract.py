import pytest
from research.corpus import open_corpus
from research.documents import MediaType
from research.errors import UnreadableDocument
from research.extract import extract, extract_sections


@pytest.fixture
def extract_file(folder):
    corpus = open_corpus(folder)

    def extract_named(name, **options):
        document = corpus.document(name)
        return extract(document.text(), document.media_type, **options)

    return extract_named


def test_html_becomes_its_title_and_paragraphs_without_scripts_and_navigation(extract_file):
    extracted = extract_file("queues.html")
    assert extracted.title == "Queues & pressure"
    assert extracted.text.split("\n\n") == [
        "Queues",
        "A bounded queue tells its producers to slow down. An unbounded queue hides the trouble until memory is gone.",
        "Back-pressure & limits belong together.",
    ]
    assert extracted.word_count == len(extracted.text.split())


def test_markdown_becomes_its_paragraphs_and_keeps_the_marks_of_code(extract_file):
    extracted = extract_file("guides/retries.md")
    assert extracted.title == "Retries"
    assert "The `backoff` retry policy waits twice as long after every failure." in extracted.text
    assert extracted.text.endswith("Never retry a call that is not idempotent.\n\nGive up when the budget is spent.")
    assert "picture" not in extracted.text


def test_plain_text_has_headings_and_directives_but_no_literal_blocks(extract_file):
    extracted = extract_file("timeouts.rst")
    assert extracted.title == "Timeouts"
    assert extracted.text.split("\n\n")[2:] == ["A deadline travels with the call.", "Example::"]


@pytest.mark.parametrize(
    ("source", "blocks"),
    [
        ("Say so:\n>>> say()\n'so'\n\nDone.", ["Say so:", "Done."]),
        ("=====\nTitle\n=====\nText.", ["Title", "Text."]),
        (":param x: the one\n:param y: the other", [":param x: the one", ":param y: the other"]),
        ("1. First\n   still.\n2. Second.", ["First still.", "Second."]),
        (".. comment\n\n   hidden\n\n.. deprecated:: 3.8\n   Use another.", ["3.8 Use another."]),
        ("+---+---+\n|   |   |\n+---+---+", []),
        ("zqx9137", ["zqx9137"]),
    ],
)
def test_the_conventions_of_docstrings_are_understood(source, blocks):
    assert extract(source, MediaType.PLAIN).text == "\n\n".join(blocks)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("queues.html", "queue.put(1)"),
        ("guides/retries.md", "retry(forever=True)"),
        ("timeouts.rst", "wait(timeout=5)"),
    ],
)
def test_code_is_left_out_unless_asked_for(extract_file, name, code):
    assert code not in extract_file(name).text
    assert code in extract_file(name, with_code=True).text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>one<p>two<b>bold", "one\n\ntwobold"),
        ("<div>a<div>b</div>c</div>", "a\n\nb\n\nc"),
        ("<<<p>x & y &bogus; &#0;", "<<\n\nx & y &bogus; \ufffd"),
        ("</div></p>end", "end"),
        ("<table><td>cell<tr>stray", "stray\n\ncell"),
        ("<script>never closed <p>text", ""),
        ("<!-- never closed <p>text", ""),
        ("a<br>b", "a b"),
        ("plain", "plain"),
        ("", ""),
        ("<nav><nav><p>in</nav></nav>out", "out"),
        ("<p hidden>no</p><div role=navigation>no</div><p>yes<a class=headerlink>¶</a></p>", "yes"),
    ],
)
def test_broken_html_is_read_as_browsers_read_it(source, text):
    assert extract(source, MediaType.HTML).text == text


def test_html_nested_beyond_reason_is_refused_at_once():
    with pytest.raises(UnreadableDocument, match="deep"):
        extract("<div></span>" * 100_000, MediaType.HTML)
    assert extract("<ul>" + "<li>item" * 5_000 + "</ul>", MediaType.HTML).word_count == 5_000


def test_html_in_markdown_is_read_as_html():
    source = '---\ntitle: x\n---\n<p align="center">\n  <em>Framework</em>\n</p>\n\nText with <b>bold</b> &amp; [link](http://x).'
    assert extract(source, MediaType.MARKDOWN).text == "Framework\n\nText with bold & link."


def test_a_markdown_paragraph_of_brackets_is_not_parsed_for_ever():
    assert extract("[" * 500_000, MediaType.MARKDOWN).word_count > 0


@pytest.mark.parametrize("media_type", MediaType)
def test_sections_joined_are_the_whole_text(media_type):
    source = "\n\n".join(f"Title {n}\n=======\n\n" + f"Sentence {n} of many. " * 120 for n in range(20))
    if media_type is MediaType.HTML:
        source = "<h2>Long</h2><p>" + source.replace("\n\n", "</p><p>")
    sections = list(extract_sections(source, media_type))
    assert "\n\n".join(section.text for section in sections) == extract(source, media_type).text
    assert len(sections) >= 10
    assert all(len(section.text) <= 12_000 for section in sections)
    assert sum(section.word_count for section in sections) == extract(source, media_type).word_count


def test_sections_come_one_by_one_under_their_headings():
    sections = extract_sections("# One\n\nFirst.\n\n## Two\n\nSecond.\n", MediaType.MARKDOWN)
    assert next(sections).heading == "One"
    assert next(sections).text == "Two\n\nSecond."


def test_one_endless_paragraph_is_cut_between_words_into_sections():
    sections = list(extract_sections("word " * 40_000, MediaType.PLAIN))
    assert len(sections) > 10
    assert {word for section in sections for word in section.text.split()} == {"word"}
