"""Records the golden files of samples that have none; what is recorded stays as it is. From the checkout:

PYTHONPATH=.:clients/python .venv/bin/python tests/golden/events/record_new.py
"""

import json
import textwrap
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from tests.golden.events.samples import SAMPLES

FOLDER = Path(__file__).parent
LINE = 96


def readable(event):
    """An event as JSON values, with the names of the contract."""
    return MessageToDict(event, preserving_proto_field_name=True)


def record_new(samples, folder):
    """Write the files of samples that have none. Returns their names."""
    written = []
    for name, event in samples.items():
        record = folder / f"{name}.hex"
        if record.exists():
            continue
        text = event.SerializeToString(deterministic=True).hex()
        record.write_text("\n".join(textwrap.wrap(text, LINE)) + "\n")
        shown = json.dumps(readable(event), indent=2, ensure_ascii=False)
        (folder / f"{name}.json").write_text(shown + "\n")
        written.append(name)
    return written


if __name__ == "__main__":
    print(*record_new(SAMPLES, FOLDER) or ["nothing is new"], sep="\n")  # noqa: T201 - what a command says
