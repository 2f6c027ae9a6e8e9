"""Any gRPC client can use the service: one that has grpcio and reflection, and nothing of this project, does."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.integration.rig.toolbox import toolbox

CLIENT = Path(__file__).with_name("reflecting_client.py")
PACKAGES = ("grpcio", "grpcio-reflection")


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """An interpreter with only grpcio and its reflection package, far from the checkout, and the program beside it."""
    home = tmp_path_factory.mktemp("outside")
    # The project's own pip installs into it, which is quicker than to give it a pip of its own.
    venv.create(home / "venv")
    python = home / "venv" / "bin" / "python"
    pinned = [f"{name}=={version(name)}" for name in PACKAGES]
    done = pip(python, "install", "-q", "--no-input", "--only-binary", ":all:", *pinned)
    assert done.returncode == 0, f"the package index does not give {', '.join(pinned)}: {done.stderr.strip()[-300:]}"
    shutil.copy(CLIENT, home)
    return python


def pip(python, *words):
    """Runs pip for the environment of this interpreter."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", *words]
    return subprocess.run(command, capture_output=True, text=True, env=clean(), check=False)


def clean():
    """An environment without the project's path."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PODIUM_", "VIRTUAL"))}


async def run(python, *arguments):
    home = python.parents[2]
    process = await asyncio.create_subprocess_exec(
        str(python),
        str(home / CLIENT.name),
        *arguments,
        cwd=home,
        env=clean(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


def test_its_environment_holds_nothing_else(bare_python):
    names = {each["name"] for each in json.loads(pip(bare_python, "list", "--format", "json").stdout)}
    assert names == {"grpcio", "grpcio-reflection", "protobuf", "typing_extensions"}


async def test_it_starts_a_workflow_and_watches_it_to_the_end(bare_python, service, caller, connect):
    tools = toolbox()
    await connect(tools)
    told = await run(bare_python, service.address, caller.token, "echo", json.dumps({"value": ["from", "outside"]}))
    assert told["state"] == "WORKFLOW_STATE_SUCCEEDED"
    assert json.loads(told["output"]) == ["from", "outside"]
    assert told["kinds"] == [
        "workflow_started",
        "steps_added",
        "permission_checked",
        "attempt_started",
        "step_succeeded",
        "workflow_succeeded",
    ]
    assert "podium.v1.WorkflowService" in told["services"]
    assert told["kinds"] == [event.WhichOneof("payload") for event in await caller.history(told["workflow_id"])]
    assert tools.ran() == ["step_1"]
