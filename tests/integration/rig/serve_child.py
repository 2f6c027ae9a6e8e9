"""The service as a process of a test: `python -m` this module, with its settings in the environment.

Prints one line of JSON when it serves. It ends with SIGTERM, or when whoever started it is gone: then its standard
input is at its end. With TEST_POINTS_FILE every point that a group commit passes is written there, a line each;
TEST_LOG_LEVEL is how much it logs. With TEST_DIES_REVOKING it is killed when a revocation has committed and nothing has
followed from it yet; with TEST_HANGS_DRAINING its loop hangs when it drains; with TEST_HANGS_ENDING a thread hangs when
all is closed; with TEST_FORGETS_REVOKED, a negative control, no workflow compares itself with what is revoked. With
TEST_SAYS_ITS_LOAD it is as full as the file `load` in its directory says.
"""

import json
import logging
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path

from service import stop_signals
from service.config import load_settings
from service.draining import Drain
from service.engine.engine import Engine
from service.engine.revoking import Revoker
from service.engine.turn_taker import TurnTaker
from service.log_format import begin_logging
from service.main import open_log, serve


def end_with_whoever_started_this():
    while os.read(sys.stdin.fileno(), 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def announce(running):
    sys.stdout.write(json.dumps({"address": running.address, "pid": running.pid}) + "\n")
    sys.stdout.flush()


def telling_points(path):
    """Opens the log as the service does, and tells the points of its commits."""
    points = path.open("a", buffering=1)

    def on_point(point):
        points.write(f"{point}\n")

    return partial(open_log, on_point=on_point)


def main():
    settings, level = load_settings(), os.environ.get("TEST_LOG_LEVEL", "INFO")
    if settings.telemetry.log_format == "json":
        begin_logging("json", level)
    else:
        logging.basicConfig(level=level, format="%(levelname)s %(name)s %(message)s")
    threading.Thread(target=end_with_whoever_started_this, daemon=True).start()
    if os.environ.get("TEST_DIES_REVOKING"):
        Revoker._take_effect = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # noqa: SLF001 - the very moment
    if os.environ.get("TEST_FORGETS_REVOKED"):
        TurnTaker._cancel_revoked = lambda *_: None  # noqa: SLF001 - the negative control
    if os.environ.get("TEST_HANGS_DRAINING"):
        Drain.run = lambda *_: threading.Event().wait()
        stop_signals.CLOSING_S = 0.2
    if os.environ.get("TEST_HANGS_ENDING"):
        threading.Thread(target=threading.Event().wait).start()
        stop_signals.CLOSING_S = 2.0
    if os.environ.get("TEST_SAYS_ITS_LOAD"):
        Engine.fill = property(lambda _engine: float(Path("load").read_text()))
    points = os.environ.get("TEST_POINTS_FILE")
    make_log = telling_points(Path(points)) if points else open_log
    serve(settings, on_ready=announce, make_log=make_log)


if __name__ == "__main__":
    main()
