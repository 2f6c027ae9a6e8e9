"""Tools with isolation="process": the same as in a thread, and they can be killed."""

import asyncio
import json
import os
import subprocess
import sys

from podium.v1 import executor_service_pb2 as pb
from tests.unit.sdk import process_tools
from tests.unit.sdk.executor_peer import assignment, running_peer, serving


async def test_a_process_answers_is_used_again_and_can_be_killed():
    async with running_peer() as peer, serving(process_tools.app, peer) as session:
        # Its signs of life cross the pipe.
        await session.send(assign=assignment("add", '{"a": 1, "b": 2}'))
        items = {}
        while "result" not in items:
            item = await session._items.get()  # noqa: SLF001 -- the peer's own queue
            items[item.WhichOneof("item")] = item
        first = json.loads(items["result"].result.output.json)
        assert (first["sum"], first["key"]) == (3, "wf/step_1")
        assert first["pid"] != os.getpid()
        assert items["progress"].progress.message == "adding"

        # The same process streams.
        await session.send(assign=assignment("count", '{"to": 2}', step="step_2"))
        await session.receive("accepted")
        assert [(await session.receive("chunk")).data for _ in range(2)] == [b"0 ", b"1 "]
        assert (await session.receive("result")).output.json == "2"

        # A cancel kills it in the middle of anything.
        await session.send(assign=assignment("hang", step="step_3"))
        accepted = await session.receive("accepted")
        await session.receive("chunk")
        await session.send(cancel=pb.CancelAttempt(attempt=accepted.attempt))
        assert (await session.receive("failure")).failure.reason == "CANCELED"

        # The next one has a process of its own, and its failure comes back as it was raised.
        await session.send(assign=assignment("fail", step="step_4"))
        await session.receive("accepted")
        failure = (await session.receive("failure")).failure
        assert (failure.reason, failure.retryable, failure.retry_after_ms) == ("NO_MONEY", False, 1000)

        # A process that dies takes only its attempt with it.
        await session.send(assign=assignment("crash", step="step_5"))
        await session.receive("accepted")
        failure = (await session.receive("failure")).failure
        assert (failure.reason, failure.message) == ("EXECUTOR_LOST", "the tool's process ended with exit code -9")
        await session.send(assign=assignment("add", '{"a": 1, "b": "x"}', step="step_6"))
        await session.receive("accepted")
        assert (await session.receive("failure")).failure.reason == "INVALID_ARGUMENTS"


def test_a_program_that_runs_itself_on_import_is_told_why_that_cannot_be(tmp_path):
    # The mistake is in the main module, so it takes a program to make it.
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, podium\n"
        "from podium.worker_process import Worker, Job\n"
        "async def main():\n"
        "    async with podium.connect('127.0.0.1:1'): pass\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        Worker().call(Job(print, '{}', None, False, False), print, None)\n"
        "    except podium.ToolFailed as error:\n"
        "        print('parent:', error.reason)\n"
        "else:\n"
        "    asyncio.run(main())\n"
    )
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=False, env=path)
    assert "put the last lines under if __name__" in done.stderr
    assert "parent: EXECUTOR_LOST" in done.stdout


async def test_a_program_of_its_own_leaves_on_sigterm(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import podium\n"
        "app = podium.Executor('alone')\n"
        "@app.tool\n"
        "async def greet() -> str:\n"
        "    return 'hello'\n"
        "if __name__ == '__main__':\n"
        "    app.run()\n"
        "    print('left')\n"
    )
    async with running_peer() as peer:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PODIUM_ADDRESS": peer.address,
            "PODIUM_TOKEN": "t",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, program, env=environment, stdout=asyncio.subprocess.PIPE
        )
        session = await peer.session()
        await session.welcome()
        await session.send(assign=assignment("greet"))
        result = await session.receive("result")
        process.terminate()
        await session.receive("leaving")
        await session.acknowledge(result)
        printed, _ = await process.communicate()
    assert (process.returncode, printed) == (0, b"left\n")
