"""`podium dev`, `serve` and `executor`: processes that go on until somebody ends them."""

import asyncio
import json
import os
import signal
import stat

import pytest

import podium

TOOLS = """\
import asyncio, pathlib, podium
app = podium.Executor("shop")

@app.tool(read_only=True)
async def price(item: str) -> int:
    "Tell a price."
    return len(item)

@app.tool(read_only=True)
async def wait_for(started: str, file: str) -> str:
    "Wait until somebody writes into a pipe."
    pathlib.Path(started).write_text("started")
    return await asyncio.to_thread(pathlib.Path(file).read_text)
"""


@pytest.fixture
def dev_file(tmp_path, monkeypatch):
    monkeypatch.delenv("PODIUM_ADDRESS", raising=False)
    monkeypatch.delenv("PODIUM_TOKEN", raising=False)
    monkeypatch.setenv("PODIUM_DEV_FILE", str(tmp_path / "dev.json"))
    return tmp_path / "dev.json"


@pytest.fixture
def dev(program, dev_file, tmp_path):
    """A development server that is ready."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    server = program("dev", "--json", "--port", "0", PODIUM_DEV_FILE=str(dev_file), TMPDIR=str(folder))
    server.ready = json.loads(server.says())
    server.temporary = folder
    return server


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "shop.py").write_text(TOOLS)
    return tmp_path / "shop.py"


async def test_the_sdk_finds_a_development_server_by_itself(dev, dev_file):
    assert dev.ready["ready"]
    assert stat.S_IMODE(dev_file.stat().st_mode) == 0o600
    app = podium.Executor("mine")

    @app.tool
    async def double(n: int) -> int:
        return 2 * n

    async with podium.connect(serve=app) as client:
        assert await client.call("double", n=21) == 42


async def test_a_development_server_leaves_nothing_behind(dev, dev_file):
    assert list(dev.temporary.iterdir())
    assert await asyncio.to_thread(dev.end, signal.SIGINT) == 0
    assert not dev_file.exists()
    assert not list(dev.temporary.iterdir())
    with pytest.raises(podium.Unavailable):
        async with podium.connect():
            pass


async def test_two_development_servers_do_not_disturb_each_other(dev, program, tmp_path, dev_file):
    other = program("dev", "--json", PODIUM_DEV_FILE=str(tmp_path / "other.json"))
    assert json.loads(other.says())["address"] != dev.ready["address"]
    assert other.end() == 0
    assert dev_file.exists()


async def test_an_executor_may_be_there_before_its_server(program, shop, dev_file):
    executor = program("executor", str(shop), "--json", PODIUM_DEV_FILE=str(dev_file))
    server = program("dev", "--json", "--port", "0", PODIUM_DEV_FILE=str(dev_file))
    server.says()
    ready = json.loads(await asyncio.to_thread(executor.says))
    assert ready == {"ready": True, "executor": "shop", "tools": ["price", "wait_for"]}
    async with podium.connect() as client:
        assert await client.call("price", item="sofa") == 4
    assert executor.end() == 0


async def test_an_executor_that_is_asked_to_end_finishes_what_runs(program, shop, dev, dev_file, tmp_path):
    started, go = tmp_path / "started", tmp_path / "go"
    os.mkfifo(started)
    os.mkfifo(go)
    executor = program("executor", str(shop), "--json", PODIUM_DEV_FILE=str(dev_file))
    await asyncio.to_thread(executor.says)
    async with podium.connect() as client:
        call = asyncio.ensure_future(client.call("wait_for", started=str(started), file=str(go)))
        assert await asyncio.to_thread(started.read_text) == "started"
        executor.process.terminate()
        await asyncio.to_thread(go.write_text, "waited")
        assert await call == "waited"
    assert await asyncio.to_thread(executor.process.wait, 30) == 0


async def test_an_executor_that_need_not_wait_fails_at_once(podium_command, shop, dev_file):
    ended = await asyncio.to_thread(podium_command, "executor", shop, "--no-wait", PODIUM_DEV_FILE=str(dev_file))
    assert (ended.code, ended.out) == (5, "")


async def test_an_executor_without_the_permission_is_refused(program, podium_command, shop, tmp_path):
    words = ("--database", tmp_path / "podium.db", "--state-dir", tmp_path / "state")
    server = program("serve", "--json", "--listen", "127.0.0.1:0", *words)
    address = json.loads(server.says())["address"]
    minted = podium_command("token", "mint", "--subject", "eve", "--role", "viewer", "--state-dir", tmp_path / "state")
    ended = podium_command("executor", shop, PODIUM_ADDRESS=address, PODIUM_TOKEN=minted.out.strip())
    assert (ended.code, "tools." in ended.err) == (3, True)


async def test_a_server_says_in_a_line_that_it_is_ready(program, tmp_path, podium_command):
    words = ("--database", tmp_path / "podium.db", "--state-dir", tmp_path / "state")
    server = program("serve", "--listen", "127.0.0.1:0", *words)
    assert server.says().startswith("podium serves on 127.0.0.1:")
    second = podium_command("serve", "--listen", "127.0.0.1:0", *words)
    assert (second.code, second.out) == (1, "")
    assert "is in use" in second.err
    assert len(second.err.splitlines()) == 1
    assert server.end() == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--listen", "everywhere"), "is neither"),
        (("--listen", "0.0.0.0:7233"), "no TLS"),
        (("--database", "mysql://x"), "neither sqlite:/// nor postgresql://"),
        (("--database", "host=db user=podium password=hunter2"), "postgresql://USER@HOST/NAME"),
    ],
)
def test_settings_that_make_no_sense_are_bad_input(podium_command, words, problem, tmp_path):
    ended = podium_command("serve", *words, cwd=tmp_path)
    assert (ended.code, problem in ended.err) == (2, True)
    assert f"  {words[0]} " in ended.err, "it is called as it was set"
    assert "hunter2" not in ended.out + ended.err
    assert list(tmp_path.iterdir()) == [], "no log is begun"


def test_what_the_environment_sets_is_called_by_its_variable(podium_command, tmp_path):
    ended = podium_command("serve", cwd=tmp_path, PODIUM_DATABASE_URL="mysql://bob:hunter2@x")
    assert (ended.code, "  PODIUM_DATABASE_URL " in ended.err, "--database" in ended.err) == (2, True, False)
    assert "hunter2" not in ended.out + ended.err
