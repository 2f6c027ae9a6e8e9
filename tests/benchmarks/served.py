"""The service of a benchmark, in a process of its own: `python -m tests.benchmarks.served DATABASE-URL FOLDER PARENT`.

When it serves it prints a line of JSON: where, and an administrator's token.
"""

import json
import sys
from pathlib import Path

from service.cli.child_processes import end_with
from service.config import CheckpointSettings, Settings
from service.main import Running, mint_token, serve
from service.settings.listening import Listening
from service.settings.storage import Storage


def main(database_url, folder, parent):
    """Serve until SIGTERM, or until the process `parent` has ended."""
    end_with(int(parent))
    settings = settings_of(database_url, folder)

    def ready(running: Running) -> None:
        token = mint_token(settings, subject="bench", roles=("admin",))
        print(json.dumps({"address": running.address, "token": token}), flush=True)

    serve(settings, on_ready=ready)


def settings_of(database_url, folder):
    """The defaults of the service, on a port that is free, with the checkpoints kept outside of the database too."""
    return Settings(
        listening=Listening("127.0.0.1:0"),
        storage=Storage(database_url, Path(folder)),
        checkpoints=CheckpointSettings(checkpoint_file=Path(folder, "checkpoints")),
    ).checked()


if __name__ == "__main__":
    main(*sys.argv[1:])
