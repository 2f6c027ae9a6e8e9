"""Commands: vectors of a listed program whose arguments fit, run for real to see what a shell would have done."""

import subprocess
import sys

import pytest

from podium.sanitizers import Rejected, SpecificationRefused, compile_sanitizer

PROGRAMS = {"git": ["log|show", "--oneline", "-n[0-9]{1,3}", "--", r"[\w./ -]+"], "/usr/bin/wc": ["-l", r"[^-].*"]}
ATTACKS = {
    ("sh", "-c", "id"): "COMMAND_PROGRAM",
    ("./git", "log"): "COMMAND_PROGRAM",
    ("/tmp/git", "log"): "COMMAND_PROGRAM",
    ("git ", "log"): "COMMAND_PROGRAM",
    ("GIT", "log"): "COMMAND_PROGRAM",
    ("wc", "-l"): "COMMAND_PROGRAM",
    ("git log",): "COMMAND_PROGRAM",
    ("git", "log", "--upload-pack=touch x"): "COMMAND_OPTION",
    ("git", "log", "-n5;id"): "COMMAND_OPTION",
    ("git", "log", "-O/tmp/x"): "COMMAND_OPTION",
    ("git", "log", "--oneline\n"): "COMMAND_OPTION",
    ("git", "log", "a;id"): "COMMAND_ARGUMENT",
    ("git", "log", "$(id)"): "COMMAND_ARGUMENT",
    ("git", "log", "`id`"): "COMMAND_ARGUMENT",
    ("git", "log", "a|id"): "COMMAND_ARGUMENT",
    ("git", "log", "a&&id"): "COMMAND_ARGUMENT",
    ("git", "log", "a\nid"): "COMMAND_ARGUMENT",
    ("git", "log", "ext::sh -c id"): "COMMAND_ARGUMENT",
    ("git", "log", "a\0b"): "CONTROL_CHARACTER",
    ("git", "log", "a\x1bb"): "CONTROL_CHARACTER",
    ("git", "log", ""): "COMMAND_ARGUMENT",
    ("git", *("log",) * 2000): "TOO_LONG",
    ("git", "a" * 40_000): "TOO_LONG",
}
HARMLESS = [
    ["git", "log", "--oneline", "-n10"],
    ["git", "show", "--", "src/a file.py"],
    ["git", "show", "--", "-leading-dash.txt"],
    ["/usr/bin/wc", "-l", "it's; rm -rf / && $(id) | `x`"],
]


@pytest.fixture(scope="module")
def command():
    return compile_sanitizer("command", {"programs": PROGRAMS})


def refusal(sanitizer, value):
    try:
        sanitizer.check(value)
    except Rejected as rejected:
        return rejected.reason
    return None


def test_each_attack_is_refused_with_its_reason(command):
    assert {attack: refusal(command, list(attack)) for attack in ATTACKS} == ATTACKS


def test_what_only_looks_like_an_attack_is_let_through_unchanged(command):
    assert [command.check(each) for each in HARMLESS] == HARMLESS


class Naive:
    """Looks at the first word and for a few characters that shells obey."""

    def check(self, value):
        if value[0].split()[0] not in ("git", "wc") or any(each in " ".join(value) for each in ";|&"):
            raise Rejected("command", "COMMAND_PROGRAM", "is not allowed")
        return value


def test_a_naive_check_lets_some_of_the_attacks_through():
    assert sum(refusal(Naive(), list(attack)) is None for attack in ATTACKS) > 5


def test_dashes_that_may_be_the_value_of_an_option_end_no_options(tmp_path):
    patterns, secret = tmp_path / "patterns", tmp_path / "secret"
    patterns.write_text("s\n")
    secret.write_text("secret\n")
    grep = compile_sanitizer("command", {"programs": {"grep": ["-e", "-n", "--regexp=.*", "--", ".*"]}})
    attack = ["grep", "-e", "--", f"-f{patterns}", str(secret)]
    assert refusal(grep, attack) == "COMMAND_OPTION"
    assert refusal(grep, ["grep", "-n", "x", "--", "-f"]) == "COMMAND_OPTION"
    assert grep.check(["grep", "--regexp=x", "--", "-f", "--"])
    # The program itself takes the file of patterns for an option.
    assert subprocess.run(attack, capture_output=True, check=True, text=True).stdout == "secret\n"


@pytest.mark.parametrize("value", ["git log", None, [], ["git", 1], {"git": 1}, ("git", "log")])
def test_only_a_list_of_texts_is_a_vector(command, value):
    assert refusal(command, value) in ("COMMAND_NOT_A_VECTOR", "NOT_A_TEXT")


def test_what_a_shell_would_obey_arrives_as_it_is(tmp_path):
    marker = tmp_path / "marker"
    argument = f"x; touch {marker} #"
    echo = "import sys; print(sys.argv[1], end='')"
    command = compile_sanitizer("command", {"programs": {sys.executable: ["-c", "import .*", "[^-].*"]}})
    vector = command.check([sys.executable, "-c", echo, argument])
    assert subprocess.run(vector, capture_output=True, check=True, text=True).stdout == argument
    assert not marker.exists()
    # The same words, joined and handed to a shell.
    subprocess.run(f"true {argument}", shell=True, check=True)
    assert marker.exists()


@pytest.mark.parametrize(
    ("programs", "named"),
    [
        ({}, "programs"),
        ({"bash": [".*"]}, "shell"),
        ({"/usr/bin/env": [".*"]}, "shell"),
        ({"taskset": [".*"]}, "shell"),
        ({"zsh-5.9": [".*"]}, "shell"),
        ({"/lib64/ld-linux-x86-64.so.2": [".*"]}, "shell"),
        ({"bin/tool": [".*"]}, "absolute"),
        ({"": []}, "shell"),
        ({"git": ["("]}, "git: a pattern"),
        ({"git": "log"}, "lists of texts"),
    ],
)
def test_a_wrong_declaration_is_refused(programs, named):
    with pytest.raises(SpecificationRefused, match=named):
        compile_sanitizer("command", {"programs": programs})
