"""The systems that are compared, and how a round of each is run: on a fresh database, at its durable defaults."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from service.cli.bench.load import percentile
from tests.benchmarks import prototype
from tests.benchmarks.peers import environments
from tests.benchmarks.rig import database, deployed, refuse_memory

HERE = Path(__file__).parent
ROUND_WITHIN_S = 180
WARM_UP_WORKFLOWS = 50


class RoundFailedError(Exception):
    """A system did not do what it was given to do. The message says what it printed."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one round of a system found. None: it is not measured at that."""

    steps_per_s: float
    ten_steps_p50_ms: float | None = None
    fan_out_p50_ms: float | None = None
    cpu_us_per_step: Mapping[str, float] = field(default_factory=dict)
    """By part: server, service, executor, database or process."""

    @property
    def total_cpu_us_per_step(self):
        """Of all parts together; None where that is not known."""
        return sum(self.cpu_us_per_step.values()) if self.cpu_us_per_step else None


@dataclass(frozen=True, slots=True)
class System:
    """Something that is measured, on one store."""

    name: str
    store: str
    """sqlite, postgres, or empty for one with a store of its own."""
    run: Callable[[float], Figures]
    """Runs a round; the argument makes it smaller."""
    install: Callable[[], object] = lambda: None
    """Brings what it needs, once, before the first round. Raises environments.CannotInstallError."""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self):
        """Names it among all systems."""
        return f"{self.name} {self.store}".strip()


def all_systems():
    """Every system, in the order in which a round goes through them."""
    return [
        _restate("restate tuned", partitions="1"),
        _restate("restate default", partitions=""),
        *(
            system
            for store in ("sqlite", "postgres")
            for system in (_podium(store), _bare(store), _dbos(store), _langgraph(store))
        ),
    ]


def _podium(store):
    def run(scale):
        with database(store) as on, deployed(on) as rig:
            rig.load("a", workflows=WARM_UP_WORKFLOWS)
            before = rig.cpu()
            many = rig.load("a", workflows=round(1000 * scale))
            used = rig.cpu() - before
            alone = rig.load("b", workflows=round(50 * scale))
            fans = rig.load("c", workflows=round(10 * scale))
        return Figures(
            many.figures["steps_per_s"],
            percentile(alone.latencies_ms, 0.5),
            percentile(fans.latencies_ms, 0.5),
            {
                "service": used.service_s / many.steps * 1e6,
                "executor": used.executor_s / many.steps * 1e6,
                "database": used.database_s / many.steps * 1e6,
            },
        )

    return System("podium", store, run)


def _bare(store):
    def run(_scale):
        with database(store) as on:
            return Figures(prototype.steps_per_s(store, on.folder, on.url))

    return System("bare prototype", store, run)


def _restate(name, partitions):
    def install():
        environments.restate_server()
        environments.python_of("restate")

    def run(scale):
        with _folder() as folder:
            arguments = [environments.restate_server(), folder, str(round(1000 * scale)), partitions]
            return _program("restate", "restate_peer.py", arguments)

    versions = {"restate-server": environments.RESTATE_SERVER.rpartition("@")[2]} | environments.versions_of("restate")
    return System(name, "", run, install, versions)


def _dbos(store):
    def run(scale):
        with database(store) as on:
            url = on.url if store == "postgres" else f"sqlite:///{on.folder}/dbos.sqlite"
            arguments = [url, str(round(100 * scale)), *_server(on)]
            return _program("dbos", "dbos_peer.py", arguments)

    return System("dbos", store, run, lambda: environments.python_of("dbos"), environments.versions_of("dbos"))


def _langgraph(store):
    def run(scale):
        with database(store) as on:
            place = on.url if store == "postgres" else f"{on.folder}/langgraph.sqlite"
            arguments = [place, str(round(100 * scale)), *_server(on)]
            return _program("langgraph", "langgraph_peer.py", arguments)

    install = lambda: environments.python_of("langgraph")  # noqa: E731 - as the others
    return System("langgraph", store, run, install, environments.versions_of("langgraph"))


def _server(on):
    """The database server's process, whose CPU counts too, where there is one."""
    return [] if on.server_pid is None else [str(on.server_pid)]


def _folder():
    folder = tempfile.TemporaryDirectory(prefix="podium-bench-", ignore_cleanup_errors=True)
    refuse_memory(Path(folder.name))
    return folder


def _program(peer, name, arguments):
    """Run a peer's program in its own environment, and read its last line. Raises RoundFailedError."""
    command = [environments.python_of(peer), HERE / name, *arguments]
    # Where this project's modules are found, the peer's must not be looked for.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        ran = subprocess.run(
            [str(word) for word in command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=ROUND_WITHIN_S,
            check=False,
        )
        if ran.returncode != 0:
            raise RoundFailedError(f"{name} ended with {ran.returncode}: {ran.stderr.strip()[-1000:]}")
        return Figures(**json.loads(ran.stdout.strip().splitlines()[-1]))
    except subprocess.TimeoutExpired:
        raise RoundFailedError(f"{name} did not end within {ROUND_WITHIN_S} s") from None
    except (ValueError, IndexError, TypeError) as error:
        raise RoundFailedError(f"{name} printed something else than its figures: {ran.stdout[-200:]!r}") from error
