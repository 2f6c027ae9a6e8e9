"""The bare prototype: what gRPC, protobuf and a group commit cost with no graph, no admission and no leases.

`bare/b9_pipeline.py` is an upper bound of Podium's own path and never changes: a test pins its bytes. It is run with
this interpreter, batched, with one commit a step and 50 workflows of 10 steps at once.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("bare") / "b9_pipeline.py"
PORT = 50963
"""Where it listens: fixed in the script."""
AT_ONCE = 50
STORES = {"sqlite": "sqlite", "postgres": "pg"}
"""What the script calls them."""
RUN_WITHIN_S = 120


class PrototypeError(Exception):
    """The prototype could not be run. The message is for whoever runs the benchmark."""


def steps_per_s(store, folder, postgres_url=None):
    """Run the prototype once; durable steps a second, the median of its three runs.

    Args:
        store: "sqlite", or "postgres" with a `postgres_url`.
        folder: Where its database is, on the disk that is measured.
        postgres_url: A database in which it may drop and make a table `events`.

    Raises PrototypeError.
    """
    require_free_port()
    environment = {**os.environ, "BENCH_TMP": str(folder)}
    if store == "postgres":
        environment["BENCH_PG"] = postgres_url
    command = [sys.executable, str(SCRIPT), STORES[store], "uvloop", "1", "batch", str(AT_ONCE)]
    try:
        ran = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=RUN_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise PrototypeError(f"the prototype did not end within {RUN_WITHIN_S} s") from None
    if ran.returncode != 0:
        raise PrototypeError(f"the prototype ended with {ran.returncode}: {ran.stderr.strip()[-2000:]}")
    return median_steps_per_s(ran.stdout)


def median_steps_per_s(printed):
    """Read the figure from the one JSON line that the prototype prints. Raises PrototypeError."""
    try:
        [line] = printed.strip().splitlines()
        return json.loads(line)[f"conc{AT_ONCE}"]["steps_per_s"]["median"]
    except (ValueError, LookupError, TypeError) as error:
        raise PrototypeError(f"the prototype printed something else than its figures: {printed[:200]!r}") from error


def require_free_port():
    """Raise PrototypeError when somebody listens where the prototype would: it would answer in its place."""
    with socket.socket() as probe:
        # Connections of the run before may linger on it; only a listener is in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            raise PrototypeError(
                f"port {PORT} of 127.0.0.1, which is fixed in the prototype, is taken: free it"
            ) from None
