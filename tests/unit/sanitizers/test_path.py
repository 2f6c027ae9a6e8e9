"""Paths: what is refused, what is let through, and that the same attacks get past a naive check."""

import pytest

from podium.sanitizers import Rejected, SpecificationRefused, compile_sanitizer

# One of each kind that public lists hold thousands of.
ATTACKS = {
    "../../etc/passwd": "PATH_TRAVERSAL",
    "/srv/data/../../etc/passwd": "PATH_TRAVERSAL",
    "a/..": "PATH_TRAVERSAL",
    "....//....//etc/passwd": "PATH_TRAVERSAL",
    "..;/..;/etc/passwd": "PATH_TRAVERSAL",
    ".. /etc": "PATH_TRAVERSAL",
    "/.../.../etc": "PATH_TRAVERSAL",
    "/%25%5c..%25%5c..": "PATH_ENCODED",
    "\u2026..\\\u2026..\\": "PATH_ENCODED",
    "..%5c..%5cboot.ini": "PATH_TRAVERSAL",
    "/./././etc/passwd": "PATH_OUTSIDE_ROOTS",
    "c:WINDOWS/system32/": "PATH_NOT_PLAIN",
    "%0a/bin/cat%20/etc/passwd": "CONTROL_CHARACTER",
    "..././etc": "PATH_TRAVERSAL",
    "%2e%2e%2fetc%2fpasswd": "PATH_ENCODED",
    "a%2f..%2f..%2fetc": "PATH_ENCODED",
    "%252e%252e%252fetc": "PATH_ENCODED",
    "%%32%65%%32%65/etc": "PATH_ENCODED",
    "a/%c0%ae%c0%ae/etc": "PATH_ENCODED",
    "a/%e0%80%ae/etc": "PATH_ENCODED",
    "a/%u002e%u002e/etc": "PATH_ENCODED",
    "a/%ef%bc%8e%ef%bc%8e/etc": "PATH_TRAVERSAL",
    "0x2e0x2e0x2fetc": "PATH_ENCODED",
    "..0x2fetc0x2fpasswd": "PATH_ENCODED",
    "0x2f.txt": "PATH_ENCODED",
    "\uff0e\uff0e/etc": "PATH_TRAVERSAL",
    "a\u2215b": "PATH_ENCODED",
    "a\uff0fb": "PATH_ENCODED",
    "..\\..\\windows\\win.ini": "PATH_ENCODED",
    "C:/windows/win.ini": "PATH_NOT_PLAIN",
    "//server/share/x": "PATH_NOT_PLAIN",
    "file:///etc/passwd": "PATH_NOT_PLAIN",
    "web.config::$DATA": "PATH_NOT_PLAIN",
    "report.txt:hidden.exe": "PATH_NOT_PLAIN",
    "a/CON": "PATH_NOT_PLAIN",
    "nul.tar.gz": "PATH_NOT_PLAIN",
    "/srv/data/Lpt1 .txt/x": "PATH_NOT_PLAIN",
    "com\u00b9": "PATH_NOT_PLAIN",
    "%43ON": "PATH_NOT_PLAIN",
    "secret.txt.": "PATH_NOT_PLAIN",
    "folder /x": "PATH_NOT_PLAIN",
    "~/.ssh/id_rsa": "PATH_NOT_PLAIN",
    "~other/x": "PATH_NOT_PLAIN",
    "a.txt\0.png": "CONTROL_CHARACTER",
    "a%00.png": "CONTROL_CHARACTER",
    "a\nb": "CONTROL_CHARACTER",
    "a\u202egnp.exe": "CONTROL_CHARACTER",
    "/etc/passwd": "PATH_OUTSIDE_ROOTS",
    "/srv/database/x": "PATH_OUTSIDE_ROOTS",
    "/srv": "PATH_OUTSIDE_ROOTS",
    "": "EMPTY",
    "a" * 256: "TOO_LONG",
    "a/" * 4000: "TOO_LONG",
    "a\ud800": "NOT_UNICODE",
}
HARMLESS = [
    "report.txt",
    "/srv/data",
    "/srv/data/",
    "/srv/data/./a//b.txt",
    "/srv/more/x",
    "..data/current",
    "a..b/c...d",
    ".hidden/.env.example",
    "50%.txt",
    "a%20b",
    "backup~",
    "console/auxiliary.c",
    "com10/nullable.py",
    "2026-11-23T01:24:58.json",
    "Foo::Bar.3pm.gz",
    "libc6:amd64.list",
    "Übersicht 日本語 (1) [x] {y} #&;$!'.txt",
    "wait…what.md",
    "|cat",
    "contracts/0x2fc617e933a52713247ce25730f6695920b3befe.json",
    "0x2Edeadbeef",
]


@pytest.fixture(scope="module")
def path():
    return compile_sanitizer("path", {"roots": ["/srv/data", "/srv/more"]})


def refusal(sanitizer, value):
    try:
        sanitizer.check(value)
    except Rejected as rejected:
        return rejected.reason
    return None


def test_each_attack_is_refused_with_its_reason(path):
    assert {attack: refusal(path, attack) for attack in ATTACKS} == ATTACKS


def test_what_only_looks_like_an_attack_is_let_through_unchanged(path):
    assert [path.check(each) for each in HARMLESS] == HARMLESS


class Naive:
    """What is found in many a code base."""

    kind = "path"

    def check(self, value):
        cleaned = value.replace("../", "")
        if cleaned.startswith("/") and not cleaned.startswith("/srv/data"):
            raise Rejected("path", "PATH_OUTSIDE_ROOTS", "lies outside")
        return cleaned


def test_a_naive_check_lets_most_of_the_attacks_through():
    assert sum(refusal(Naive(), attack) is None for attack in ATTACKS) > len(ATTACKS) / 2


@pytest.mark.parametrize("value", [None, 7, ["a"], b"a"])
def test_what_is_no_text_is_refused(path, value):
    assert refusal(path, value) == "NOT_A_TEXT"


def test_a_message_never_holds_the_value(path):
    for attack in ATTACKS:
        with pytest.raises(Rejected) as raised:
            path.check(attack)
        assert not attack or attack not in str(raised.value)


def test_a_path_is_located_beneath_its_root(path):
    assert path.locate("a//b/./c") == ("/srv/data", "a/b/c")
    assert path.locate("/srv/more/x/y") == ("/srv/more", "x/y")
    assert path.locate("/srv/data/") == ("/srv/data", ".")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "path.roots"),
        ({"roots": []}, "path.roots"),
        ({"roots": "/srv"}, "path.roots"),
        ({"roots": ["data"]}, "path.roots"),
        ({"roots": ["/"]}, "path.roots"),
        ({"roots": ["/srv/../etc"]}, "path.roots"),
        ({"roots": ["/srv"], "modes": ["execute"]}, "path.modes"),
        ({"roots": ["/srv"], "max_length": 0}, "path.max_length"),
        ({"roots": ["/srv"], "root": "/srv"}, "path.root"),
    ],
)
def test_a_wrong_declaration_is_refused_and_names_the_option(options, named):
    with pytest.raises(SpecificationRefused, match=named):
        compile_sanitizer("path", options)
