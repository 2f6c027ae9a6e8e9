"""The tools of `make check` hold what the project thinks they hold: each is shown to fail on a breach.

A rule that is configured away by mistake stays green; these tests turn red. The samples live in a synthetic checkout.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.checkout import ROOT

TOOLS = Path(sys.executable).parent


def run(folder, *command, source=None):
    """The exit code of one of the environment's tools in `folder`, and all it printed; `source` is its input."""
    environment = {**os.environ, "PYTHONPATH": "clients/python", "NO_COLOR": "1", "COLUMNS": "400"}
    finished = subprocess.run(
        [TOOLS / command[0], *command[1:]],
        cwd=folder,
        env=environment,
        input=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return finished.returncode, finished.stdout


@pytest.fixture
def checkout(tmp_path):
    """Empty packages as docs/architecture.md has them, under this project's own configuration."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    packages = [
        "admission",
        "api",
        "cli",
        "cli/bench",
        "cli/demo",
        "domain",
        "engine",
        "executors",
        "projections",
        "telemetry",
        "tools",
    ]
    modules = [f"service/{package}/{name}.py" for package in packages for name in ("__init__", "module")]
    modules += [
        "service/__init__.py",
        "service/access.py",
        "service/assembly.py",
        "service/main.py",
        "store/__init__.py",
        "store/contract.py",
        "store/postgres.py",
        "store/sqlite.py",
    ]
    modules += [f"clients/python/podium/{name}.py" for name in ("__init__", "client", "v1/__init__", "v1/events_pb2")]
    for name in modules:
        write(tmp_path, name, "")
    return tmp_path


def write(folder, name, text):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


BANNED = [
    ("asyncio", "asyncio.create_task(work())"),
    ("asyncio", "asyncio.ensure_future(work())"),
    ("datetime", "datetime.datetime.now(datetime.UTC)"),
    ("datetime", "datetime.datetime.utcnow()"),
    ("os", "os.environ['PODIUM_STORE']"),
    ("os", "os.getenv('PODIUM_STORE')"),
    ("os", "os.urandom(8)"),
    ("random", "random.random()"),
    ("secrets", "secrets.token_hex()"),
    ("time", "time.monotonic()"),
    ("time", "time.time()"),
    ("uuid", "uuid.uuid4()"),
]


def banned(path, module, expression):
    """Whether ruff's ban finds something in a file at `path` that evaluates `expression`."""
    command = ["ruff", "check", "--no-cache", "--select=TID251", f"--stdin-filename={path}", "-"]
    code, printed = run(ROOT, *command, source=f"import {module}\n\nvalue = {expression}\n")
    assert (code, "TID251" in printed) in {(0, False), (1, True)}, printed
    return code == 1


@pytest.mark.parametrize(("module", "expression"), BANNED)
@pytest.mark.parametrize("path", ["service/engine/mailbox.py", "store/writer.py", "clients/python/podium/client.py"])
def test_time_chance_environment_and_loose_tasks_are_banned(path, module, expression):
    assert banned(path, module, expression)


FORBIDDEN = {
    "Imports point inwards": [
        "service.domain.module -> service.engine.module",
        "service.admission.module -> service.executors.module",
        "service.engine.module -> service.api.module",
        "service.engine.module -> service.projections.module",
        "service.engine.module -> service.executors.module",
        "service.api.module -> service.cli.module",
        "service.api.module -> service.main",
        "service.main -> service.cli.module",
        "service.tools.module -> service.engine.module",
        "service.tools.module -> service.domain.module",
    ],
    "The command line is a client": [
        "service.cli.module -> service.api.module",
        "service.cli.bench.module -> store.contract",
    ],
    "The domain is pure": [
        "service.domain.module -> store.contract",
        "service.domain.module -> podium.client",
        "service.domain.module -> grpc",
        "service.domain.module -> time",
    ],
    "The store knows neither": [
        "store.contract -> service.domain.module",
        "store.contract -> podium.client",
        "store.contract -> grpc",
    ],
    "The client stands alone": [
        "podium.client -> service.domain.module",
        "podium.client -> store.contract",
    ],
    "Only service.main picks a backend": ["service.engine.module -> store.sqlite"],
}


@pytest.mark.parametrize("contract", FORBIDDEN)
def test_a_forbidden_import_breaks_its_contract(checkout, contract):
    for edge in FORBIDDEN[contract]:
        importer, imported = edge.split(" -> ")
        place = importer.replace(".", "/").replace("podium", "clients/python/podium")
        with (checkout / f"{place}.py").open("a") as module:
            module.write(f"import {imported}\n")
    code, printed = run(checkout, "lint-imports", "--no-cache")
    assert code == 1
    broken, report = printed.split("Broken contracts")
    assert any(line.startswith(contract) and "BROKEN" in line for line in broken.splitlines()), printed
    assert [edge for edge in FORBIDDEN[contract] if edge not in report] == []


def test_rooms_of_the_command_line_that_import_each_other_break_their_contract(checkout):
    write(checkout, "service/cli/bench/module.py", "import service.cli.demo.module\n")
    write(checkout, "service/cli/demo/module.py", "import service.cli.bench.module\n")
    code, printed = run(checkout, "lint-imports", "--no-cache")
    assert (code, "in a circle BROKEN" in printed, "1 broken" in printed) == (1, True, True), printed


def test_the_imports_that_the_design_wants_break_no_contract(checkout):
    write(checkout, "service/cli/module.py", "import podium.client\nimport service.main\n")
    write(checkout, "service/cli/demo/module.py", "import service.cli.bench.module\nimport service.cli.module\n")
    write(checkout, "service/main.py", "import service.api.module\nimport service.engine.module\nimport store.sqlite\n")
    write(checkout, "service/engine/module.py", "import service.admission.module\nimport store.contract\n")
    write(checkout, "service/domain/module.py", "import dataclasses\nfrom podium.v1 import events_pb2\n")
    write(checkout, "store/contract.py", "from podium.v1 import events_pb2\n")
    code, printed = run(checkout, "lint-imports", "--no-cache")
    assert (code, "0 broken" in printed) == (0, True), printed


def test_a_forgotten_case_and_a_name_that_may_be_unbound_are_type_errors(checkout):
    source = (
        "from enum import Enum\n\n\n"
        "class State(Enum):\n    OPEN = 1\n    CLOSED = 2\n\n\n"
        "def describe(state: State, known: bool) -> str:\n"
        "    match state:\n        case State.OPEN:\n            text = 'open'\n"
        "    if known:\n        reason = 'known'\n"
        "    return text + reason\n"
    )
    write(checkout, "service/domain/module.py", source)
    code, printed = run(checkout, "mypy", "--cache-dir", os.devnull, "-p", "service.domain")
    assert code == 1
    assert "[exhaustive-match]" in printed
    assert "[possibly-undefined]" in printed
