"""The deployment that is measured: service, executor and load each in a process of their own, on a real database.

Invariant: whatever was started here has ended when its block is left, and only that.
"""

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from service.cli.bench.target import Round
from service.cli.child_processes import podium_command
from tests.postgres import PostgresServer

END_WITHIN_S = 30
_IN_MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True)
class Database:
    """A database that no service uses yet, at its durable defaults."""

    store: str
    url: str
    folder: Path
    """For the service's keys, and on SQLite the file itself."""
    versions: dict
    server_pid: int | None = None

    def cpu_s(self):
        """CPU seconds of all processes of a database server so far; SQLite's are the service's."""
        return 0.0 if self.server_pid is None else family_cpu_s(self.server_pid)


@contextlib.contextmanager
def database(store):
    """An empty database on a real disk: a SQLite file, or a Postgres server with fsync on. Its version beside it."""
    with tempfile.TemporaryDirectory(prefix="podium-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        refuse_memory(folder)
        if store == "sqlite":
            yield Database(store, f"sqlite:///{folder}/podium.db", folder, {"sqlite": sqlite3.sqlite_version})
            return
        server = PostgresServer(fsync=True)
        stack.callback(server.close)
        url = asyncio.run(server.create_database(migrated=False))
        yield Database(store, url, folder, {"postgres": asyncio.run(_postgres_version(url))}, server.pid)


async def _postgres_version(url):
    connection = await asyncpg.connect(url)
    try:
        found = connection.get_server_version()
    finally:
        await connection.close()
    return f"{found.major}.{found.minor}"


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds that each part has used so far."""

    service_s: float
    executor_s: float
    database_s: float

    def __sub__(self, earlier):
        return Cpu(
            self.service_s - earlier.service_s,
            self.executor_s - earlier.executor_s,
            self.database_s - earlier.database_s,
        )

    @property
    def total_s(self):
        """Of all parts together."""
        return self.service_s + self.executor_s + self.database_s


class Rig:
    """A deployment that serves: made by `deployed`."""

    def __init__(self, on, address, token, service_pid, executor_pid, load):
        self.database = on
        self.address = address
        self.token = token
        self.service_pid = service_pid
        self.executor_pid = executor_pid
        self._load = load

    @property
    def store(self):
        """sqlite or postgres."""
        return self.database.store

    @property
    def versions(self):
        """The database's version, for measurements."""
        return self.database.versions

    def cpu(self):
        """What service, executor and database have used so far; in steps of 10 ms."""
        return Cpu(cpu_s(self.service_pid), cpu_s(self.executor_pid), self.database.cpu_s())

    def flushes(self):
        """How often the disk was flushed so far, by everybody on this machine; None where that is not known."""
        return disk_flushes(self.database.folder)

    def load(self, name, **sizes):
        """Put a load on the deployment and return its Round: a letter of service.cli.bench.measures, or echo."""
        self._load.stdin.write(json.dumps({"load": name, "sizes": sizes}) + "\n")
        self._load.stdin.flush()
        line = self._load.stdout.readline()
        if not line:
            raise RuntimeError(f"the load {name} ended with exit code {self._load.wait(END_WITHIN_S)}")
        return Round(**json.loads(line))


@contextlib.contextmanager
def deployed(on, *, executor=True, service="tests.benchmarks.served"):
    """Serve on a database: the service, an executor with the tools of podium bench, and the process of the load.

    `service` is the module that is run as the service.
    """
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(_process("-m", service, on.url, str(on.folder), _me()))
        ready = json.loads(_line(served))
        address, token = ready["address"], ready["token"]
        executor_pid = load = None
        if executor:
            environment = {"PODIUM_ADDRESS": address, "PODIUM_TOKEN": token}
            words = podium_command("executor", "service.cli.bench.executor:app", "--json", "--parent", _me())
            works = stack.enter_context(_process(*words[1:], environment=environment))
            _line(works)
            executor_pid = works.pid
            load = stack.enter_context(_process("-m", "tests.benchmarks.load", address, token, _me()))
            _line(load)
        yield Rig(on, address, token, served.pid, executor_pid, load)


@contextlib.contextmanager
def echo_server():
    """A bare gRPC server that answers with the request; its address, for the load `echo`."""
    with _process("-m", "tests.benchmarks.echo", _me()) as process:
        yield json.loads(_line(process))["address"]


@contextlib.contextmanager
def _process(*words, environment=None):
    """Run Python with some words beside this process for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | (environment or {}),
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdin.close()
        process.stdout.close()


def _line(process):
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{' '.join(process.args[1:3])} ended with exit code {process.wait(END_WITHIN_S)}")
    return line


def _me():
    return str(os.getpid())


def cpu_s(pid):
    """User and system seconds of a process so far; 0 for none."""
    return 0.0 if pid is None else sum(_cpu_ticks(pid)[:2]) / os.sysconf("SC_CLK_TCK")


def family_cpu_s(pid):
    """User and system seconds of a process, of the children it has, and of those it had."""
    ticks = sum(_cpu_ticks(pid))
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            ticks += sum(_cpu_ticks(child))
    return ticks / os.sysconf("SC_CLK_TCK")


def _cpu_ticks(pid):
    """User and system time of a process, then those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(field) for field in fields[11:15]]


def resident_bytes(pid):
    """The memory that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def disk_flushes(folder):
    """How often the disk that holds a folder was told to flush; None where the system does not say."""
    device = Path(folder).stat().st_dev
    try:
        fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
        return int(fields[15])
    except (OSError, IndexError):
        return None


def refuse_memory(folder, mounts=Path("/proc/mounts")):
    """Raise RuntimeError for a folder that lies in memory: what is durable there costs nothing."""
    best = ("", "")
    for line in mounts.read_text().splitlines() if mounts.exists() else []:
        _, point, kind, *_ = line.split()
        if f"{folder.resolve()}/".startswith(f"{point.rstrip('/')}/") and len(point) > len(best[0]):
            best = (point, kind)
    if best[1] in _IN_MEMORY:
        raise RuntimeError(f"{folder} lies in memory ({best[1]}): name a folder on a disk with TMPDIR")


def free_bytes(folder):
    """What is free on the disk that holds a folder."""
    return shutil.disk_usage(folder).free
