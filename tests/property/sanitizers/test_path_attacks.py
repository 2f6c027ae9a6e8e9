"""Generated paths: what is let through stays beneath the root, whoever decodes or normalises it afterwards."""

import posixpath
import unicodedata
from urllib.parse import unquote, unquote_to_bytes

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from podium.sanitizers import Rejected, compile_sanitizer

ROOT = "/srv/data"
PATH = compile_sanitizer("path", {"roots": [ROOT]})
SEARCH = settings(max_examples=1_000, phases=[Phase.generate], database=None, derandomize=True)

dots = st.sampled_from(
    [
        ".",
        "..",
        "...",
        "....",
        "%2e",
        "%2E",
        "%252e",
        "%25252e",
        "%c0%2e",
        "%c0%ae",
        "%e0%80%ae",
        "%u002e",
        "%uff0e",
        "\uff0e",
        "\u2024",
        "\u2025",
        "\ufe52",
        "&#46;",
        "0x2e",
        "\\x2e",
        "%%32%65",
        "%2%65",
    ]
)
separators = st.sampled_from(
    [
        "/",
        "//",
        "/./",
        "\\",
        "%2f",
        "%5c",
        "%252f",
        "%255c",
        "%c0%af",
        "%c1%9c",
        "%e0%80%af",
        "%u2215",
        "%u2216",
        "\uff0f",
        "\u2215",
        "\u2044",
        "\uff3c",
        "0x2f",
        "0x5c",
        "%%32%66",
        "%2%66",
        ";/",
        " /",
        "\t/",
        "\n/",
    ]
)
names = st.sampled_from(
    ["etc", "passwd", "windows", "a", "a b", "~", "~root", "C:", "file:", "x:y", "x::$DATA", "\0", "%00", ""]
)
starts = st.sampled_from(["", "/", "//", "\\\\", ROOT, f"{ROOT}/", "/srv/database", "C:\\", "~", "file://", "\\\\?\\"])
attacks = st.tuples(starts, st.lists(dots | separators | names, max_size=14)).map(
    lambda each: each[0] + "".join(each[1])
)


def readings(path):
    """What others may take a path for: decoded, overlong, normalised, with Windows' separators, without parameters."""
    found = {path}
    for _ in range(4):
        for each in list(found):
            found |= {unquote(each), unquote(each, encoding="latin-1"), unicodedata.normalize("NFKC", each)}
            overlong = unquote_to_bytes(each).replace(b"\xc0\xae", b".").replace(b"\xc0\xaf", b"/")
            found.add(overlong.decode(errors="replace"))
            found.add(each.replace("\\", "/"))
            found.add("/".join(part.split(";")[0].rstrip(" ") or part for part in each.split("/")))
    return found


def leads_out(path):
    """Whether any reading of the path lies outside of the root, or ends early."""
    for each in readings(path):
        place = posixpath.normpath(posixpath.join(ROOT, each))
        if not (place == ROOT or place.startswith(f"{ROOT}/")) or "\0" in each:
            return True
    return False


def accepts(check, path):
    try:
        check(path)
    except Rejected:
        return False
    return True


@given(attacks)
@settings(max_examples=800, deadline=None)
def test_no_path_that_anybody_could_take_for_one_outside_is_let_through(path):
    assert not (accepts(PATH.check, path) and leads_out(path))


def naive(path):
    """Removes what is known to be bad, and asks for the root in front."""
    cleaned = path.replace("../", "").replace("..\\", "")
    if cleaned.startswith("/") and not cleaned.startswith(ROOT):
        raise Rejected("path", "PATH_OUTSIDE_ROOTS", "lies outside")


def lexical(path):
    """Resolves the dots that it sees, and compares."""
    if not posixpath.normpath(posixpath.join(ROOT, path)).startswith(ROOT):
        raise Rejected("path", "PATH_OUTSIDE_ROOTS", "lies outside")


@pytest.mark.parametrize("check", [naive, lexical])
def test_the_search_finds_what_gets_past_weaker_checks(check):
    assert find(attacks, lambda path: accepts(check, path) and leads_out(path), settings=SEARCH)


def test_the_search_finds_nothing_where_nothing_is_let_through():
    def nothing(_):
        raise Rejected("path", "EMPTY", "never")

    with pytest.raises(NoSuchExample):
        find(attacks, lambda path: accepts(nothing, path) and leads_out(path), settings=SEARCH)


plain_names = st.text("abcXYZ0189 ._-+,=@()[]äß日%~$&'#!", min_size=1, max_size=12).filter(
    lambda name: name[-1] not in ". " and not name.startswith(("~", "..")) and "%" not in name
)


@given(st.lists(plain_names, min_size=1, max_size=6), st.booleans())
@settings(max_examples=200, deadline=None)
def test_paths_of_plain_names_are_let_through(parts, absolute):
    path = "/".join([ROOT, *parts] if absolute else parts)
    assert PATH.check(path) == path
