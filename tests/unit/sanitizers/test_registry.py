"""Kinds, the extra they need, and what the package costs whoever only declares."""

import subprocess
import sys

import pytest

from podium.sanitizers import KINDS, SpecificationRefused, compile_sanitizer

BLOCKED = "google httpcore idna jsonschema_rs nh3 re2 sqlglot".split()
OPTIONS = {
    "path": {"roots": ["/srv"]},
    "sql": {"dialect": "sqlite"},
    "command": {"programs": {"ls": []}},
}


def run(code):
    """The code in a process of its own, where the libraries of the extra cannot be imported."""
    blocker = f"import sys; sys.modules.update(dict.fromkeys({[each for each in BLOCKED if each != 'google']!r}))\n"
    return subprocess.run([sys.executable, "-c", blocker + code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_compiles_and_knows_its_name(kind):
    assert compile_sanitizer(kind, OPTIONS.get(kind, {})).kind == kind


@pytest.mark.parametrize("kind", KINDS)
def test_an_option_that_is_not_known_is_refused(kind):
    with pytest.raises(SpecificationRefused, match=f"{kind}.rootz: is unknown"):
        compile_sanitizer(kind, {**OPTIONS.get(kind, {}), "rootz": []})


def test_a_kind_that_is_not_known_is_refused():
    with pytest.raises(SpecificationRefused, match="there are text, html"):
        compile_sanitizer("regex", {})


def test_options_that_are_no_object_are_refused():
    with pytest.raises(SpecificationRefused, match="must be an object"):
        compile_sanitizer("text", ["max_length"])


def test_declaring_needs_no_library_and_a_missing_one_is_named_with_the_remedy():
    declared = run("import podium; print(podium.sanitize.sql(dialect='sqlite')['x-podium-sanitize'])")
    assert declared.stdout == "{'sql': {'dialect': 'sqlite'}}\n", declared.stderr
    for kind, options, library in (("html", {}, "nh3"), ("sql", {"dialect": "sqlite"}, "sqlglot")):
        compiled = run(f"from podium.sanitizers import compile_sanitizer; compile_sanitizer({kind!r}, {options!r})")
        assert f"needs {library}: install podium-client[sanitizers]" in compiled.stderr


def test_paths_and_texts_need_no_library():
    done = run("from podium.sanitizers import compile_sanitizer as c; c('path', {'roots': ['/srv']}); c('text', {})")
    assert done.returncode == 0, done.stderr
