"""A real service in a process of its own, on a database of its own, that a test can stop, kill and start again."""

import json
import signal
import subprocess
from pathlib import Path

from service.config import Settings
from service.main import mint_token
from service.settings.storage import Storage
from tests.integration.rig.forked_process import ForkedProcess, environment
from tests.ports import free_port

CHILD = "tests.integration.rig.serve_child"
ENDS_WITHIN_S = 30.0


class ServiceProcess:
    """The service. Its files stay in `directory` over restarts; settings are those of service.config, by field.

    Its database is a file there, or what an address names.
    """

    child = CHILD
    """The program."""

    def __init__(self, directory, database=None, **settings):
        self.directory = directory
        self.database = database or directory / "podium.db"
        self.log = directory / "service.log"
        self.points = directory / "points"
        self._settings = settings
        self.child_variables = {}
        """What it is told in its environment beside its settings."""
        self._process = None
        self._port = free_port()
        self._listens_on = ""

    def configure(self, **settings):
        """Changes settings for the next start; an empty one is as good as unset."""
        self._settings |= settings
        return self

    def listen_on(self, port):
        """Listens there from the next start on."""
        self._port = port

    def start(self, *, points=False, fault=None):
        """Starts it and waits until it serves, on the same port every time.

        With a fault of serve_child's by name, it has that.
        """
        named = {f"PODIUM_{name.upper()}": str(value) for name, value in self._settings.items()}
        named |= {"TEST_POINTS_FILE": str(self.points)} if points else {}
        named |= {fault: "1"} if fault else {}
        database_is_file = isinstance(self.database, Path)
        with self.log.open("ab") as log:
            self._process = ForkedProcess(
                self.child,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.directory,
                env=environment(
                    **{
                        "PODIUM_LISTEN_ADDRESS": f"127.0.0.1:{self._port}",
                        "PODIUM_DATABASE_URL": f"sqlite:///{self.database}" if database_is_file else self.database,
                        "PODIUM_STATE_DIRECTORY": str(self.directory / "state"),
                        **named,
                        **self.child_variables,
                    }
                ),
            )
        line = self._process.stdout.readline()
        if not line:
            self.ended()
            raise RuntimeError(f"the service did not start:\n{self.log.read_text()}")
        self._listens_on = json.loads(line)["address"]
        if not self._listens_on.startswith("unix:"):
            self._port = int(self._listens_on.rpartition(":")[2])
        return self

    @property
    def address(self):
        return self._listens_on if self._listens_on.startswith("unix:") else f"127.0.0.1:{self._port}"

    @property
    def port(self):
        return self._port

    @property
    def process_id(self):
        return self._process.pid

    def signal(self, number):
        self._process.send_signal(number)

    def ended(self):
        """Waits until it has ended, and returns its exit code."""
        try:
            return self._process.wait(ENDS_WITHIN_S)
        finally:
            self.kill()

    def kill(self):
        """Ends it as a power cut would."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process = None

    def stop(self):
        """Asks it to end, and waits until it has."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        self.ended()

    def token(self, subject="ana", *, roles=("admin",), **claims):
        """A token signed with the service's own key."""
        settings = Settings(storage=Storage(state_directory=self.directory / "state"))
        return mint_token(settings, subject=subject, roles=tuple(roles), **claims)

    def commits(self):
        """How many group commits there were."""
        return self.points.read_text().splitlines().count("committed")

    def complaints(self):
        """The lines of its log that speak of an error. That a client hung up while it was written to is none."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if line.startswith(("ERROR", "CRITICAL")) and "ExecuteBatchError" not in line]
