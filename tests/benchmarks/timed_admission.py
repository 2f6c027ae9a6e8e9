"""The service of a benchmark that also times admission: `python -m tests.benchmarks.timed_admission`, as served.py.

At its end it leaves FOLDER/admission.json with how many attempts were admitted, and the CPU seconds of one in the
median. Nothing else is timed on this service: looking at the clock costs as well.
"""

import json
import statistics
import sys
import time
from array import array
from pathlib import Path

from service.admission.pipeline import Pipeline
from tests.benchmarks import served

RESULT = "admission.json"


def main(database_url, folder, parent):
    """Serve until SIGTERM, with every guard's work on the clock of its thread."""
    admit, started = Pipeline.admit, Pipeline.started
    admitted_s, counted_s = array("d"), array("d")

    def timed_admit(*arguments):
        began = time.thread_time()
        admission = admit(*arguments)
        admitted_s.append(time.thread_time() - began)
        return admission

    def timed_started(*arguments):
        began = time.thread_time()
        started(*arguments)
        counted_s.append(time.thread_time() - began)

    Pipeline.admit = timed_admit
    Pipeline.started = timed_started
    served.main(database_url, folder, parent)
    # An attempt is admitted, and counted once it starts.
    found = {"calls": len(admitted_s), "cpu_s": statistics.median(admitted_s) + statistics.median(counted_s)}
    Path(folder, RESULT).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
