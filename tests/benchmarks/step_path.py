"""What a step costs on this machine: real service, real executor, real client, each in a process of its own.

Run it on a quiet machine: `.venv/bin/python tests/benchmarks/step_path.py`. It prints one JSON object. Times mean
little by themselves; beside them stands a loop of plain Python, timed in the same run, so that runs can be compared.
The counts are checked against the log: every step has its three events, and they are in the log.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import podium
from service.config import Listening, Settings, Storage
from service.main import Running, mint_token, serve
from store.sqlite_reader import SqliteReader

STEPS = 10
ROUNDS = 3
AT_ONCE = 50


def service(folder):
    """The service process: prints where it listens and an administrator's token."""
    settings = Settings(
        listening=Listening("127.0.0.1:0"), storage=Storage(f"sqlite:///{folder}/podium.db", Path(folder))
    ).checked()

    def ready(running: Running) -> None:
        print(running.address, mint_token(settings, subject="bench", roles=("admin",)), flush=True)

    serve(settings, on_ready=ready)


def executor(address, token):
    """The executor process: one tool that does nothing."""
    app = podium.Executor("bench", max_parallel=1000)

    @app.tool(read_only=True)
    async def noop(n: int) -> dict:
        """Do nothing."""
        return {"n": n}

    print("serves", flush=True)
    app.run(address, token)


def cpu_s(pid):
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loop_s():
    """Seconds for a fixed loop of plain Python: the unit that makes runs comparable."""
    started = time.perf_counter()
    total = 0
    for number in range(2_000_000):
        total += number & 7
    return time.perf_counter() - started


def chain():
    """A workflow of sequential steps, each with the output of the one before."""
    workflow = podium.Workflow("bench")
    step = workflow.step("noop", n=1)
    for _ in range(STEPS - 1):
        step = workflow.step("noop", n=step.output["n"])
    return workflow


async def measure(address, token, pids, database):
    """All figures."""
    async with podium.connect(address, token) as client:
        while not await client.tools():  # noqa: ASYNC110 - another process registers it
            await asyncio.sleep(0)
        await client.run(chain())
        one = []
        for _ in range(50):
            started = time.perf_counter()
            await client.run(chain())
            one.append(time.perf_counter() - started)
        calls = []
        for _ in range(100):
            started = time.perf_counter()
            await client.call("noop", n=1)
            calls.append(time.perf_counter() - started)
        many, before = [], [cpu_s(pid) for pid in pids]
        for _ in range(ROUNDS):
            started = time.perf_counter()
            await asyncio.gather(*(client.run(chain()) for _ in range(AT_ONCE * 4)))
            many.append(AT_ONCE * 4 * STEPS / (time.perf_counter() - started))
        used = [after - start for after, start in zip([cpu_s(pid) for pid in pids], before, strict=True)]
    steps = ROUNDS * AT_ONCE * 4 * STEPS
    async with SqliteReader(database) as log:
        workflows = await log.list_streams("wf_")
        events = [len(await log.read_stream(*stream)) for stream in workflows]
    assert set(events) == {3 * STEPS + 3}, "every workflow has three events a step and three of its own"
    return {
        "ten_steps_one_at_a_time_p50_ms": round(statistics.median(one) * 1e3, 2),
        "call_p50_ms": round(statistics.median(calls) * 1e3, 2),
        "many_at_once_steps_per_s": round(statistics.median(many)),
        "service_cpu_us_per_step": round(used[0] / steps * 1e6),
        "executor_cpu_us_per_step": round(used[1] / steps * 1e6),
        "events_per_workflow": events[0],
        "plain_loop_ms": round(min(loop_s() for _ in range(5)) * 1e3, 1),
    }


def main():
    """Start the processes, measure, end them."""
    with tempfile.TemporaryDirectory() as folder:
        me = [sys.executable, __file__]
        served = subprocess.Popen([*me, "service", folder], stdout=subprocess.PIPE, text=True)
        address, token = served.stdout.readline().split()
        works = subprocess.Popen([*me, "executor", address, token], stdout=subprocess.PIPE, text=True)
        works.stdout.readline()
        try:
            pids = [served.pid, works.pid]
            print(json.dumps(asyncio.run(measure(address, token, pids, Path(folder) / "podium.db")), indent=2))
        finally:
            for process in (works, served):
                process.terminate()
                process.wait(20)


if __name__ == "__main__":
    {"service": service, "executor": executor}.get(sys.argv[1], main)(*sys.argv[2:]) if sys.argv[1:] else main()
