"""The process of the built-in tools: its limits, what it gave up, and that it refuses to be more than it must."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import podium
from tests.integration.rig.forked_process import environment


@pytest.fixture
def run_builtin(ground):
    """Runs `podium builtin` to its end."""

    def run(*words):
        command = (sys.executable, "-P", "-m", "service.cli", "builtin", *map(str, words))
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment())

    return run


def test_its_limits_are_the_kernels(ground, serve_program):
    process = serve_program(
        ground.file(
            tools=["html_sanitize", "file_write"],
            process={"memory": "700MiB", "open_files": 300},
            files={"roots": [{"path": "out", "modes": ["write"]}], "max_write": "2MiB"},
        ),
        logged=False,
    )
    limits = process.limits()
    assert limits["Max data size"] == (str(700 << 20),) * 2
    assert limits["Max open files"] == ("300", "300")
    assert limits["Max file size"] == (str(2 << 20),) * 2
    assert limits["Max core file size"] == ("0", "0")
    assert "NoNewPrivs:\t1" in Path(f"/proc/{process.pid}/status").read_text()


@pytest.mark.parametrize(
    "tools", [{}, {"files": {"roots": [{"path": "out", "modes": ["write"]}], "max_write": "1KiB"}}]
)
async def test_what_it_says_may_go_to_a_file_however_long_that_is(ground, service, tenant, client, tmp_path, tools):
    file = ground.file(tools=["html_sanitize", *(["file_write"] if tools else [])], **tools)
    log = tmp_path / "builtin.log"
    log.write_bytes(b"said before\n" * 100)
    words = ("serve", str(file), "--json", "--allow-root", "--address", service.address)
    token = service.token("builtin", roles=["executor"], tenant=tenant)
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "service.cli", "builtin", *words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(PODIUM_TOKEN=token),
        )
    try:
        while process.returncode is None and b'"ready"' not in log.read_bytes():
            await client.tools()
        assert process.returncode is None, log.read_text()
        assert (await client.call("html_sanitize", markup="<b>x</b>"))["changed"] is False
        if tools:
            # What the tool allows itself holds without the kernel's word.
            with pytest.raises(podium.ToolFailed) as refused:
                await client.call("file_write", path="new.txt", content="x" * 2000)
            assert refused.value.reason == "TOO_LARGE"
    finally:
        if process.returncode is None:
            process.terminate()
        assert await process.wait() == 0


def test_a_bound_on_files_would_end_it_without_a_word(tmp_path):
    code = (
        "from service.tools.confinement import *; limit_resources(Resources(file_bytes=0)); print('ready', flush=True)"
    )
    with (tmp_path / "log").open("wb") as output:
        ended = subprocess.run(
            [sys.executable, "-c", code], stdout=output, stderr=output, check=False, env=environment(), timeout=60
        )
    assert ended.returncode != 0
    assert not (tmp_path / "log").read_bytes()


async def test_a_program_has_a_bound_on_its_files_also_where_its_executor_has_none(
    ground, serve_program, client, script
):
    (ground.folder / "work").chmod(0o777)
    programs = {"fill": script("fill", "head -c 100000 /dev/zero > big\nexit 7\n")}
    commands = {"directory": "work", "programs": programs, "writable": True, "file_size": "10KiB"}
    process = serve_program(ground.file(tools=["command_run"], commands=commands))
    assert process.limits()["Max file size"] == ("unlimited",) * 2
    await client.call("command_run", command=["fill"])
    assert (ground.folder / "work" / "big").stat().st_size == 10 << 10


async def test_nothing_of_its_environment_is_left_to_its_tools(ground, serve_program, client, script):
    programs = {"show": script("show", "env\ncat /proc/*/environ\n")}
    serve_program(
        ground.file(tools=["command_run"], commands={"directory": "work", "programs": programs}),
        HTTPS_PROXY="http://127.0.0.1:1",
        SHOP_PASSWORD="hunter2",
    )
    ran = await client.call("command_run", command=["show"])
    assert "hunter2" not in ran["stdout"]
    assert "PODIUM_TOKEN" not in ran["stdout"]
    assert "PROXY" not in ran["stdout"]


def test_root_is_refused_unless_it_is_said(ground, run_builtin):
    if os.geteuid() != 0:
        return
    ended = run_builtin("serve", ground.file(tools=["html_sanitize"]), "--address", "127.0.0.1:1", "--token", "x")
    assert ended.returncode == 2
    assert "--allow-root" in ended.stderr


async def test_a_tool_that_is_not_named_is_not_served(ground, serve_program, client):
    process = serve_program(ground.file(tools=["file_read"], files={"roots": [{"path": "data"}]}))
    assert process.ready["tools"] == ["file_read"]
    with pytest.raises(podium.PodiumError):
        await client.call("file_list")
    assert process.end() == 0


def test_a_check_tells_everything_that_is_wrong_at_once(ground, run_builtin):
    file = ground.file(
        tools=["file_read", "file_wirte", "sql_query", "http_request"],
        files={"roots": [{"path": "/"}, {"path": "data", "modes": ["rw"]}], "max_raed": 3},
        http={"hosts": ["bad host"], "timeout": "x"},
        databases={"shop": {"url_variable": "NOT_SET", "kinds": ["drop"]}},
        commands={"directory": "work", "programs": {"sh": {"path": "sh", "arguments": ["("]}}},
    )
    ended = run_builtin("check", file, "--json")
    assert ended.returncode == 2
    fields = [violation["field"] for violation in json.loads(ended.stderr)["error"]["violations"]]
    assert fields == [
        "files.max_raed",
        "files.roots[0].path",
        "files.roots[1].modes",
        "http.timeout",
        "http",
        "databases.shop.url_variable",
        "databases.shop",
        "commands.programs.sh.path",
        "commands.programs",
        "tools",
    ]


def test_a_check_lists_what_would_be_served(ground, run_builtin):
    file = ground.file(tools=["file_read", "text_extract"], files={"roots": [{"path": "data"}]})
    ended = run_builtin("check", file, "--json")
    assert ended.returncode == 0, ended.stderr
    assert [json.loads(line)["name"] for line in ended.stdout.splitlines()] == ["file_read", "text_extract"]


def test_a_folder_or_a_program_that_is_not_there_is_told(ground, run_builtin):
    missing = ground.file(tools=["file_read"], files={"roots": [{"path": "nowhere"}]})
    ended = run_builtin("check", missing)
    assert ended.returncode == 2
    assert "nowhere" in ended.stderr
    programs = {"tool": {"path": "/nowhere/tool", "arguments": []}}
    missing = ground.file(tools=["command_run"], commands={"directory": "work", "programs": programs})
    assert "/nowhere/tool is no program" in run_builtin("check", missing).stderr
