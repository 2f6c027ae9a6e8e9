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
    calls, seconds = 0, 0.0

    def timed(work, calls_each):
        def call(*arguments):
            nonlocal calls, seconds
            began = time.thread_time()
            result = work(*arguments)
            seconds += time.thread_time() - began
            calls += calls_each
            return result

        return call

    # The second part counts what has been admitted, once its attempt is started.
    Pipeline.admit = timed(Pipeline.admit, 1)
    Pipeline.started = timed(Pipeline.started, 0)
    served.main(database_url, folder, parent)
    Path(folder, RESULT).write_text(json.dumps({"calls": calls, "cpu_s": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
