"""How `podium cache` tells sizes."""

import pytest

from service.cli.operation.cache_commands import short_size


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 KiB"),
        (512, "0.5 KiB"),
        (1_056, "1.0 KiB"),
        (10_188, "9.9 KiB"),
        (10_189, "10 KiB"),
        (10_752, "10 KiB"),
        (11_000, "11 KiB"),
        (1_048_576, "1024 KiB"),
    ],
)
def test_a_size_is_told_to_the_nearest(size_bytes, text):
    assert short_size(size_bytes) == text
