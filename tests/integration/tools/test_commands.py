"""Programs through the service: those that are allowed, within their bounds, and nothing of them stays behind."""

import asyncio
import os
import signal
import uuid

import pytest

import podium
from tests.integration.rig.caller import step

WITHIN_S = 20


@pytest.fixture
def marker():
    """A word by which a test finds its own processes."""
    return f"podium-test-{uuid.uuid4().hex}"


@pytest.fixture
def commands(ground, serve):
    """Serves programs: `commands({"cat": CAT}, timeout="2s")`."""
    return lambda programs, **limits: serve(file_of(ground, programs, **limits))


def file_of(ground, programs, **limits):
    (ground.folder / "work").chmod(0o755)
    return ground.file(tools=["command_run"], commands={"directory": "work", "programs": programs, **limits})


CAT = {"path": "/bin/cat", "arguments": ["[a-z0-9_./-]+"]}


async def test_a_program_that_is_allowed_runs_and_its_output_is_kept(commands, client, ground):
    commands({"cat": CAT, "ls": {"path": "/bin/ls", "arguments": ["-1"]}})
    (ground.folder / "work" / "note.txt").write_text("a note\n")
    ran = await client.call("command_run", command=["cat", "note.txt"])
    assert (ran["exit_code"], ran["signal"], ran["stdout"], ran["stderr"]) == (0, None, "a note\n", "")
    assert (await client.call("command_run", command=["ls", "-1"]))["stdout"] == "note.txt\n"
    missing = await client.call("command_run", command=["cat", "missing.txt"])
    assert missing["exit_code"] == 1
    assert "missing.txt" in missing["stderr"]


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "-c", "id"],
        ["/bin/cat", "note.txt"],
        ["cat", "note.txt; id"],
        ["cat", "$(id)"],
        ["cat", "--help"],
        ["cat", "a\nb"],
        [],
    ],
)
async def test_any_other_program_or_argument_is_refused(commands, client, command):
    commands({"cat": CAT})
    with pytest.raises(podium.PodiumError) as refused:
        await client.call("command_run", command=command)
    assert refused.value.reason == "INPUT_REJECTED", refused.value


async def test_a_program_reaches_its_folder_and_no_other_file(commands, client, ground):
    process = commands({"cat": CAT})
    outside = await client.call("command_run", command=["cat", "../secret.txt"])
    assert outside["exit_code"] == 1
    if process.ready["files_confined"]:
        outside = await client.call("command_run", command=["cat", str(ground.folder / "secret.txt")])
        assert "secret beside" not in outside["stdout"]


async def test_a_program_sees_nothing_of_the_executors_environment(ground, serve_program, client, script):
    look = script("look", "env\necho parent:\ncat /proc/$PPID/environ\n")
    serve_program(file_of(ground, {"look": look}, environment={"TZ": "UTC"}))
    ran = await client.call("command_run", command=["look"])
    names, _, parent = ran["stdout"].partition("parent:\n")
    assert {line.partition("=")[0] for line in names.splitlines()} - {"PWD", "_", "OLDPWD", "SHLVL"} == {
        "HOME",
        "LANG",
        "PATH",
        "TZ",
    }
    assert parent == ""
    assert "environ" in ran["stderr"]


async def test_what_takes_too_long_is_ended_with_all_that_it_started(commands, client, script, marker, is_alone):
    # Its child leaves the process group and its parent, as a daemon does, and so does the child's.
    daemon = script(
        "daemon",
        "(setsid sh -c 'setsid sh -c \"sleep 600; :\" $0 & sleep 600; :' $1 &)\necho started\nsleep 600\n:\n",
    )
    commands({"daemon": daemon}, timeout="2s")
    with pytest.raises(podium.TimedOut, match="the program was ended"):
        await client.call("command_run", command=["daemon", marker])
    assert is_alone(marker)


async def test_what_a_program_leaves_running_ends_with_it(commands, client, script, marker, is_alone):
    leaver = script("leaver", "setsid sh -c 'sleep 600; :' $1 &\necho gone\nexit 3\n")
    commands({"leaver": leaver})
    ran = await client.call("command_run", command=["leaver", marker])
    assert (ran["exit_code"], ran["stdout"]) == (3, "gone\n")
    assert is_alone(marker)


async def test_a_signal_that_ends_a_program_is_told(commands, client, script):
    commands({"suicide": script("suicide", "kill -SEGV $$\n")})
    ran = await client.call("command_run", command=["suicide"])
    assert (ran["exit_code"], ran["signal"]) == (None, "SIGSEGV")


async def test_a_cancelled_step_ends_its_program(commands, caller, script, marker, is_alone):
    process = commands({"waits": script("waits", "echo started\nsleep 600\n:\n")})
    workflow_id = await caller.start(step("command_run", {"command": ["waits", marker]}))
    await until(lambda: not is_alone(marker))
    await caller.cancel(workflow_id)
    await caller.ended(workflow_id)
    await until(lambda: is_alone(marker))
    assert process.process.poll() is None, "the executor goes on"


async def test_a_fork_bomb_runs_into_its_limit(commands, client, script, marker, is_alone):
    bomb = script(
        "bomb", "i=0\nwhile [ $i -lt 300 ]; do echo $i; sh -c 'sleep 600; :' $1 & i=$((i + 1)); done\nsleep 600\n"
    )
    commands({"bomb": bomb}, processes=12, timeout="10s")
    ran = await client.call("command_run", command=["bomb", marker])
    assert ran["exit_code"] != 0
    assert "fork" in ran["stderr"]
    assert len(ran["stdout"].splitlines()) < 50
    assert is_alone(marker)


async def test_a_flood_of_output_is_ended(commands, client, script, marker, is_alone):
    commands({"flood": script("flood", "yes\n")}, max_output="64KiB")
    with pytest.raises(podium.ToolFailed) as ended:
        await client.call("command_run", command=["flood", marker])
    assert ended.value.reason == "TOO_LARGE"
    assert is_alone(marker)


async def test_memory_is_bounded_and_a_folder_is_not_written_unless_that_is_said(commands, client, script, ground):
    greedy = script(
        "greedy", "head -c 300000000 /dev/zero | tail -c 290000000 > /dev/null\necho $?\ntouch made\necho $?\n"
    )
    commands({"greedy": greedy}, memory="64MiB", timeout="20s")
    ran = await client.call("command_run", command=["greedy"])
    assert ran["stdout"] == "1\n1\n"
    assert "memory" in ran["stderr"]
    assert list((ground.folder / "work").iterdir()) == []


async def test_when_the_executor_is_killed_its_programs_end(commands, caller, script, marker, is_alone):
    process = commands({"waits": script("waits", "echo started\nsleep 600\n:\n")})
    workflow_id = await caller.start(step("command_run", {"command": ["waits", marker]}))
    await until(lambda: not is_alone(marker))
    await asyncio.to_thread(process.end, signal.SIGKILL)
    await until(lambda: is_alone(marker))
    await caller.cancel(workflow_id)


async def until(true):
    """Waits for what another process does, of which nothing tells."""
    async with asyncio.timeout(WITHIN_S):
        while not true():
            await asyncio.to_thread(os.sched_yield)
