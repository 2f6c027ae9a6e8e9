"""The bare prototype is a yardstick: it never changes, and nobody answers in its place."""

import hashlib
import socket

import pytest

from tests.benchmarks import prototype
from tests.benchmarks.prototype import PrototypeError, median_steps_per_s, require_free_port

# What Podium is measured against must be the same in every version, or the ratios say nothing of it.
DIGESTS = {
    "b9_pipeline.py": "4aa2666294cdef4ba2445868f3dc478655b0e059b59a36265419c9683a4ee8d2",
    "common.py": "946c0767742a2ae7d4a647734269910e049f4ca93de38b24a9fb143f0d92a4d5",
}
LINE = '{"bench": "pipeline", "conc50": {"steps_per_s": {"median": 22500.0, "min": 1, "max": 3, "runs": 3}}}\n'


def test_the_yardstick_is_what_it_was():
    files = {path.name: path.read_bytes() for path in prototype.SCRIPT.parent.glob("*.py")}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} == DIGESTS


def test_its_line_tells_the_median():
    assert median_steps_per_s(LINE) == 22500.0


@pytest.mark.parametrize("printed", ["", "started\n" + LINE, '{"conc1": {}}\n', "[]\n"])
def test_other_words_are_no_figures(printed):
    with pytest.raises(PrototypeError, match="something else"):
        median_steps_per_s(printed)


def test_a_port_that_is_taken_is_refused(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(prototype, "PORT", other.getsockname()[1])
        with pytest.raises(PrototypeError, match="is taken"):
            require_free_port()
    require_free_port()
