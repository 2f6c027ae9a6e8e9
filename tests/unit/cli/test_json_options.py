"""JSON on the command line."""

import io

import pytest

from service.cli.failures import CommandFailed, ExitCode
from service.cli.json_options import arguments_option, json_option, read_as_json


def refusal(call, *arguments):
    with pytest.raises(CommandFailed) as caught:
        call(*arguments)
    assert caught.value.code == ExitCode.BAD_INPUT
    return caught.value.message


def test_a_value_is_given_as_it_is():
    assert json_option('{"a": [1, null]}', "--input") == {"a": [1, None]}


def test_a_value_is_given_in_a_file(tmp_path):
    (tmp_path / "input.json").write_text('{"ä": 1}')
    assert json_option(f"@{tmp_path}/input.json", "--input") == {"ä": 1}


def test_a_value_is_given_on_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("[1]"))
    assert json_option("-", "--input") == [1]


@pytest.mark.parametrize("text", ["{", "NaN", "nothing", ""])
def test_what_is_no_json_is_refused_with_the_option(text):
    assert refusal(json_option, text, "--input").startswith("--input is not valid JSON")


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert "nowhere.json cannot be read" in refusal(json_option, "@nowhere.json", "--input")


def test_arguments_are_json_where_they_can_be_and_text_otherwise():
    pairs = ["n=3", "yes=true", "text=retry with backoff", "list=[1]", "zip=01234", 'word="true"', "empty=", "e=a=b"]
    assert arguments_option('{"n": 1, "other": 2}', pairs) == {
        "n": 3,
        "other": 2,
        "yes": True,
        "text": "retry with backoff",
        "list": [1],
        "zip": "01234",
        "word": "true",
        "empty": "",
        "e": "a=b",
    }


def test_what_is_read_as_json_is_known_as_it_was_typed():
    assert read_as_json(["n=1e3", "yes=true", "none=null", "text=a", "zip=01", 'word="1"', "m=1", "m=a"]) == {
        "n": "1e3",
        "yes": "true",
        "none": "null",
    }


@pytest.mark.parametrize("pair", ["query", "=x"])
def test_what_is_no_pair_is_refused(pair):
    assert "is not NAME=VALUE" in refusal(arguments_option, None, [pair])


def test_arguments_that_are_no_object_are_refused():
    assert "must be a JSON object" in refusal(arguments_option, "[1]", [])
