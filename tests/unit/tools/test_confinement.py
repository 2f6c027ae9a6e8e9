"""What a process gives up, seen from within one that gave it up; each with a process that kept it as the control."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BEGIN = "import json, os, sys, socket\nfrom service.tools.confinement import *\n"


def attempts(folder, *, confined, tries):
    """What a process may do, by name, after it confined itself to the folder `in` (and reads `seen`), or did not."""
    text = BEGIN
    if confined:
        text += f"give_up_privileges()\nassert confine_files([{str(folder / 'seen')!r}], [{str(folder / 'in')!r}])\n"
    text += f"os.chdir({str(folder)!r})\nresults = {{}}\n"
    for name, code in tries.items():
        text += f"try:\n    {code}\n    results[{name!r}] = True\nexcept OSError:\n    results[{name!r}] = False\n"
    text += "print(json.dumps(results))\n"
    ended = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    return json.loads(ended.stdout)


TRIES = {
    "read what it may read": "open('seen/a').read()",
    "write where it may write": "open('in/new', 'w').write('x')",
    "remove where it may write": "os.remove('in/new')",
    "write what it may only read": "open('seen/a', 'a').write('x')",
    "make a file where it may only read": "open('seen/new', 'w').close()",
    "read another file": "open('out/a').read()",
    "list another folder": "os.listdir('out')",
    "write another file": "open('out/a', 'a').close()",
    "remove another file": "os.remove('out/b')",
    "move a file away": "os.rename('in/c', 'out/c')",
    "signal its parent": "os.kill(os.getppid(), 0)",
}


@pytest.fixture
def ground(tmp_path):
    for name in ("seen/a", "in/a", "in/c", "out/a", "out/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def has_landlock():
    code = f"{BEGIN}give_up_privileges()\nprint(confine_files([], []))"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    return ended.stdout.strip() == "True"


def test_a_confined_process_reaches_what_it_was_given_and_nothing_else(ground):
    allowed = {"read what it may read", "write where it may write", "remove where it may write"}
    free = attempts(ground, confined=False, tries=TRIES)
    assert all(free.values()), free
    for name in ("out/b", "in/c"):
        (ground / name).write_text("again")
    if has_landlock():
        bound = attempts(ground, confined=True, tries=TRIES)
        assert {name for name, done in bound.items() if done} == allowed


def test_limits_cannot_be_raised_again(tmp_path):
    code = (
        f"{BEGIN}import resource\n"
        "limit_resources(Resources(memory_bytes=200 << 20, open_files=20, file_bytes=1000, cpu_s=5))\n"
        "results = []\n"
        "try: bytearray(400 << 20)\n"
        "except MemoryError: results.append('memory')\n"
        "try: [os.dup(0) for _ in range(30)]\n"
        "except OSError: results.append('files')\n"
        f"try:\n    with open({str(tmp_path / 'x')!r}, 'wb', 0) as file:\n"
        "        file.write(bytes(2000)); file.write(b'x')\n"
        "except OSError: results.append('size')\n"
        "print(json.dumps([results, resource.getrlimit(resource.RLIMIT_CORE)]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr
    results, core = json.loads(ended.stdout)
    assert results == ["memory", "files", "size"]
    assert core == [0, 0]
