"""`podium executor MODULE`: the executor in a module of the user's."""

import itertools
import sys

import pytest

from service.cli.failures import CommandFailed, ExitCode
from service.cli.tools.executor_command import find_executor

_numbers = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module and returns its name."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(text, folder="."):
        name = f"user_module_{next(_numbers)}"
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.py").write_text(text)
        return name

    return write


def refusal(name, folder):
    with pytest.raises(CommandFailed) as caught:
        find_executor(name, folder)
    assert caught.value.code == ExitCode.BAD_INPUT
    return caught.value.text()


def test_the_only_executor_is_found(module, tmp_path):
    name = module("import podium\nanything = podium.Executor('billing')\nalso = anything\n")
    assert find_executor(name, tmp_path).name == "billing"


def test_one_of_several_is_named(module, tmp_path):
    name = module("import podium\na, b = podium.Executor('a'), podium.Executor('b')\n")
    assert find_executor(f"{name}:b", tmp_path).name == "b"
    assert f"{name}:a, {name}:b" in refusal(name, tmp_path)


def test_a_file_is_a_module_too(module, tmp_path):
    name = module("import podium\napp = podium.Executor('filed')\n", folder="shop")
    assert find_executor(f"shop/{name}.py", tmp_path).name == "filed"


def test_a_module_that_is_not_there_is_told(tmp_path):
    assert "there is no module nowhere.at_all" in refusal("nowhere.at_all", tmp_path)


def test_a_module_without_an_executor_is_told(module, tmp_path):
    name = module("app = 7\n")
    assert "has no podium.Executor" in refusal(name, tmp_path)
    assert "has no podium.Executor named app" in refusal(f"{name}:app", tmp_path)


@pytest.mark.parametrize("text", ["import not_there_at_all\n", "x = 1\nraise KeyError('y')\n", "def\n"])
def test_a_module_that_breaks_says_where(module, tmp_path, text):
    told = refusal(module(text), tmp_path)
    assert "importing" in told
    assert ", line " in told
