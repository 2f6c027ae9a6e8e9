"""The service of a benchmark that also times admission: `python -m tests.benchmarks.timed_admission`, as served.py.

At its end it leaves FOLDER/admission.json with how many attempts were admitted, and their CPU seconds. Nothing else
is timed on this service: looking at the clock costs as well.
"""

import json
import sys
import time
from pathlib import Path

from service.admission.pipeline import Pipeline
from tests.benchmarks import served

RESULT = "admission.json"


def main(database_url, folder, parent):
    """Serve until SIGTERM, with every guard's work on the clock of its thread."""
    admit = Pipeline.admit
    calls, seconds = 0, 0.0

    def timed(*arguments):
        nonlocal calls, seconds
        started = time.thread_time()
        admission = admit(*arguments)
        seconds += time.thread_time() - started
        calls += 1
        return admission

    Pipeline.admit = timed
    served.main(database_url, folder, parent)
    Path(folder, RESULT).write_text(json.dumps({"calls": calls, "cpu_s": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
