"""Text out of documents: what a reader sees, and in a time that grows with the document alone."""

import json

import pytest

from podium.sanitizers.html_nesting import is_nested_too_deeply
from service.tools.document_text import Unreadable, text_of_document


@pytest.mark.parametrize(
    ("kind", "content", "title", "text"),
    [
        ("html", "<title>A  page</title><h1>Head</h1><p>one\ntwo<br>three</p>", "A page", "Head\n\none two\nthree"),
        ("html", "<ul><li>a<li>b</ul><pre>x\n y</pre>", "", "a\nb\n\nx\ny"),
        ("html", "<p>a<script>b()</script><style>c{}</style><!-- d -->e", "", "ae"),
        ("html", "&lt;b&gt; &amp; &copy;", "", "<b> & ©"),
        ("html", "", "", ""),
        (
            "markdown",
            "# Head\n\nsome *text* [link](http://x.example)\n\n- a\n- b",
            "Head",
            "Head\n\nsome text link\n\na\nb",
        ),
        ("markdown", "<script>x</script>", "", "<script>x</script>"),
        ("json", '{"a": [1, {"b": "x"}], "c": null}', "", "a[0]: 1\na[1].b: x\nc: null"),
        ("json", '"word"', "", "word"),
        ("csv", 'a;b\n1;"2;3"\n', "", "a\tb\n1\t2;3"),
        ("text", "  as it is\n", "", "as it is"),
    ],
)
def test_the_text_of_a_document(kind, content, title, text):
    assert text_of_document(content, kind) == (title, text)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("json", "{"),
        ("json", "[" * 100_000),
        ("json", json.dumps({"n" * 90: {"m" * 90: {"o" * 90: [1] * 5_000}}})),
        ("html", "<div>" * 5_000),
        ("html", "<b>" * 900 + "<p>x" * 100_000),
    ],
)
def test_what_would_take_for_ever_is_unreadable(kind, content):
    with pytest.raises(Unreadable) as refused:
        text_of_document(content, kind)
    assert content[:20] not in str(refused.value)


def test_long_names_are_cut_and_repeated_names_are_no_problem():
    long = text_of_document(json.dumps({"n" * 16_000: [0] * 4_000}), "json")[1]
    assert long.startswith(f"{'n' * 100}…[0]: 0\n")
    assert len(long) < 1_000_000
    rows = json.dumps({"metadata": {"items": [{"annotation": 1}] * 20_000}})
    assert text_of_document(rows, "json")[1].endswith("metadata.items[19999].annotation: 1")


def test_ordinary_pages_are_not_nested_too_deeply():
    page = "<div><section><ul>" + "<li><a href=x>one</a> <b>two</b>" * 20_000 + "</ul></section></div>"
    assert not is_nested_too_deeply(page)
    assert not is_nested_too_deeply("<p>" * 50_000)
    assert is_nested_too_deeply("<div>" * 1_001)
    assert not is_nested_too_deeply("<div></div>" * 50_000)
