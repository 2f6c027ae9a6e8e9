"""The package's face: light to import, complete, and without the service."""

import ast
import importlib
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import podium
from podium.durations import milliseconds, seconds


def modules_after(statement):
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=path)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import podium",
        "from podium.v1 import events_pb2",
        "import podium; app = podium.Executor('e'); podium.Context; podium.Workflow; podium.ToolFailed",
    ],
)
def test_what_needs_no_connection_does_not_load_grpc(statement):
    assert "grpc" not in modules_after(statement)


def test_the_events_do_not_load_the_sdk():
    loaded = {name for name in modules_after("from podium.v1 import events_pb2") if name.startswith("podium")}
    assert {name for name in loaded if not name.startswith("podium.v1")} == {"podium"}


def test_everything_named_is_there_and_every_name_is_known_to_type_checkers():
    tree = ast.parse(Path(podium.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in guarded.body for alias in node.names}
    assert sorted(podium.__all__) == sorted(typed) == sorted(dir(podium))
    for name, module in typed.items():
        assert getattr(podium, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = podium.nonsense


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("10s", 10),
        ("1m30s", 90),
        ("2m 5s", 125),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("1d", 86400),
        (3, 3),
        (0.25, 0.25),
        (timedelta(minutes=2), 120),
    ],
)
def test_durations_are_written_as_people_write_them(duration, expected):
    assert seconds(duration) == pytest.approx(expected)


@pytest.mark.parametrize("duration", ["", "10", "10x", "-1s", "s", -1, float("inf"), float("nan"), "1s2"])
def test_what_is_no_duration_is_refused(duration):
    with pytest.raises(ValueError, match="is no duration"):
        seconds(duration)


def test_a_short_duration_never_becomes_the_default():
    assert [milliseconds(each) for each in (None, 0, "1ms", 0.0001, "0.3s")] == [0, 0, 1, 1, 300]
