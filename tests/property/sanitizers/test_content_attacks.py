"""Generated markup, texts, JSON and commands, each judged by something that has nothing to do with the sanitizer."""

import json
import re
import subprocess
import sys
import unicodedata

import orjson
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from podium.sanitizers import Rejected, compile_sanitizer
from podium.sanitizers.html_nesting import DEPTH_MAX, is_nested_too_deeply
from tests.property.sanitizers.markup import active_content

SEARCH = settings(max_examples=2_000, phases=[Phase.generate], database=None, derandomize=True)
HTML = compile_sanitizer("html", {})
TEXT = compile_sanitizer("text", {})
JSON = compile_sanitizer("json", {})

tags = st.sampled_from(
    "p b a img table td svg math mtext mglyph malignmark style script noscript template textarea title xmp iframe form "
    "input desc foreignObject annotation-xml select option details x-y br".split()
)
attributes = st.sampled_from(
    ["", " href='javascript:alert(1)'", " href=\"data:text/html,x\"", " onerror=alert(1)", " src=x", " style='x:y'",
     " title='</style><img src=x onerror=alert(1)>'", " id='--><script>'", " xlink:href=javascript:alert(1)",
     " href='&#x6a;avascript:1'", " href=' jAvAsCrIpT:1'", " href='java\nscript:1'", "/onload=alert(1)",
     " encoding='text/html'", " srcdoc='<script>'", " title=`x` ", " a=\"'>\" ", " \0onclick=1"]
)  # fmt: skip
pieces = st.one_of(
    st.builds("<{}{}>".format, tags, attributes),
    st.builds("</{}>".format, tags),
    st.sampled_from(
        ["<!--", "-->", "--!>", "<![CDATA[", "]]>", "<!doctype html>", "<?x", "text", "&lt;", "<", ">", "&#60;script>"]
    ),
)
markup = st.lists(pieces, max_size=12).map("".join)


@given(markup)
@settings(max_examples=400, deadline=None)
def test_no_markup_comes_out_with_anything_active_and_what_comes_out_is_stable(given_markup):
    try:
        cleaned = HTML.check(given_markup)
    except Rejected:
        return
    assert active_content(cleaned) == []
    assert HTML.check(cleaned) == cleaned


def without_scripts(text):
    return re.sub(r"(?is)<script.*?(</script>|$)|\son\w+=\S+", "", text)


def test_the_search_finds_markup_that_gets_past_regular_expressions():
    assert find(markup, lambda each: active_content(without_scripts(each)) != [], settings=SEARCH)


@given(st.text(max_size=60) | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Mn", "Lo"]), max_size=20))
@settings(max_examples=400, deadline=None)
def test_text_that_is_let_through_is_normal_and_drives_no_terminal(text):
    try:
        cleaned = TEXT.check(text)
    except Rejected:
        return
    assert unicodedata.is_normalized("NFC", cleaned)
    assert all(unicodedata.category(each) != "Cc" or each in "\t\n\r\x0c\x85" for each in cleaned)
    assert not any(
        unicodedata.bidirectional(each) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        for each in cleaned
    )
    cleaned.encode()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_json_of_any_value_is_let_through(value):
    text = json.dumps(value)
    assert JSON.check(text) == text


@given(
    json_values.map(json.dumps),
    st.integers(0, 200),
    st.sampled_from(['"', "{", "[", ",", ":", "}", "\\", "NaN", '"a":1,', "1e999", "\0"]),
)
@settings(max_examples=400, deadline=None)
def test_json_that_is_let_through_has_one_reading(text, place, damage):
    damaged = text[:place] + damage + text[place:]
    try:
        JSON.check(damaged)
    except Rejected:
        return
    assert orjson.loads(damaged) == json.loads(damaged)


ECHO = compile_sanitizer("command", {"programs": {"echo": ["-n", "--", "(?s).*"]}})
words = st.text(";|&$`'\"\\<>(){}*?~! \n\tab-=#%", max_size=8)


@given(st.lists(words, max_size=5))
@settings(max_examples=200, deadline=None)
def test_no_operand_becomes_an_option(arguments):
    try:
        ECHO.check(["echo", *arguments])
    except Rejected:
        return
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    assert all(not each.startswith("-") or each in ("-n", "--") for each in before)


def test_generated_arguments_arrive_as_they_are(tmp_path):
    hostile = [";id", "$(id)", "`id`", "|id", "&&id", "\nid", "> x", "*", "~", "'", '"', "${IFS}id", "a\tb", "%0aid"]
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    command = compile_sanitizer("command", {"programs": {sys.executable: ["-c", "import json.*", "(?s)[^-].*"]}})
    vector = command.check([sys.executable, "-c", show, *hostile])
    assert json.loads(subprocess.run(vector, capture_output=True, check=True, cwd=tmp_path).stdout) == hostile
    assert list(tmp_path.iterdir()) == []


def depth_of(markup):
    """How deep a parser that has nothing to do with the bound nests it, as far as anybody wants to know."""
    pending, deepest = [(LexborHTMLParser(markup).root, 1)], 0
    while pending and deepest <= DEEPEST:
        node, depth = pending.pop()
        deepest = max(deepest, depth)
        child = node.child
        while child is not None:
            pending.append((child, depth + 1))
            child = child.next
    return deepest


# What is counted may hold a flat element or two, and a parser makes some of its own.
DEEPEST = 3 * DEPTH_MAX + 20
nesting_names = st.sampled_from(
    "div span p b a li ul dd table td tr select option svg math mi desc title style script textarea form applet "
    "button template h1 ruby rt path g xmp".split()
)
nesting_pieces = st.one_of(
    st.builds("<{}>".format, nesting_names),
    st.builds("</{}>".format, nesting_names),
    st.builds("<{}/>".format, nesting_names),
    st.builds("<{} title='</div>'>".format, nesting_names),
    st.sampled_from(["<!--", "-->", "<!-->", "<a b='", "'>", "<![CDATA[", "]]>", '<b ="</b>', "<i a=b/>", "<?", "x"]),
)
repeated_markup = st.tuples(
    st.lists(nesting_pieces, max_size=3).map("".join), st.lists(nesting_pieces, min_size=1, max_size=6).map("".join)
).map(lambda parts: parts[0] + parts[1] * (DEEPEST + 100))


@settings(max_examples=120, deadline=None)
@given(repeated_markup)
def test_no_markup_that_passes_the_bound_nests_deeper(markup):
    if not is_nested_too_deeply(markup):
        assert depth_of(markup) <= DEEPEST


def test_a_bound_that_believes_every_end_is_found_out():
    markup = "<div><!--</div>-->" * (DEEPEST + 100)
    assert len(re.findall("<[a-z]", markup)) == len(re.findall("</[a-z]", markup))
    assert depth_of(markup) > DEEPEST
    assert is_nested_too_deeply(markup)
